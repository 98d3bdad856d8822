"""Files of strangers: whatever the bytes are, a reader gives splats or one sentence, and takes little memory."""

import io
import tracemalloc
from contextlib import suppress

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gen3d.errors import BadInput
from gen3d.pipeline.formats import images
from gen3d.pipeline.formats.contents import SplatContents, cleaned, finite
from gen3d.pipeline.formats.registry import SPLAT_FORMATS

WORDS = [
    *(b"ply\n", b"end_header\n", b"element vertex 3\n", b"element face 2\n", b"element vertex 99999999999\n", b"property float x\n"),
    *(b"property list uchar int i\n", b"property uchar red\n", b"format ascii 1.0\n", b"binary_big_endian", b"ascii", b"-", b"\r", b"\0"),
    *(b"comment gen3d frame moon\n", b"comment gen3d\n", b"nan", b"1e999", b"\xff\xff\xff\xff", b"\x00\x00\xc0\x7f", b"\xc3\x28"),
]
EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 40), st.one_of(st.sampled_from(WORDS), st.binary(max_size=8))), min_size=1, max_size=4
)


def edited(data: bytes, edits) -> bytes:
    """`data` after cutting some bytes out at relative places and putting others in."""
    for place, removed, inserted in edits:
        at = int(place * len(data))
        data = data[:at] + inserted + data[at + removed :]
    return data


def result_or_none(read):
    """What `read` returns, or None where it refuses with BadInput; any other exception fails the test."""
    with suppress(BadInput):
        return read()
    return None


def reads_or_refuses(decode, data: bytes) -> None:
    tracemalloc.start()
    try:
        contents = result_or_none(lambda: decode(data, "x"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000 + 100 * len(data)
    if contents is not None:
        kept = cleaned(contents.gaussians, finite(contents.gaussians))
        assert kept.means.isfinite().all()
        assert ((kept.quats.norm(dim=-1) - 1).abs() < 1e-5).all()


@pytest.fixture(scope="session")
def valid_files(splats):
    """One small file of each format and degree."""
    files = []
    for suffix, kind in SPLAT_FORMATS.items():
        for degree in range(kind.degree + 1):
            stream = io.BytesIO()
            kind.encode(stream, SplatContents(splats(3, degree), "ply", "metre"))
            files.append((suffix, stream.getvalue()))
    return files


@given(choice=st.integers(0, 100), edits=EDITS, header_only=st.booleans())
@settings(max_examples=400, deadline=None)
def test_damaged_files(valid_files, choice, edits, header_only):
    suffix, data = valid_files[choice % len(valid_files)]
    cut = data.find(b"end_header\n") + 11 if header_only and suffix == ".ply" else len(data)
    reads_or_refuses(SPLAT_FORMATS[suffix].decode, edited(data[:cut], edits) + data[cut:])


@given(suffix=st.sampled_from(sorted(SPLAT_FORMATS)), data=st.binary(min_size=1, max_size=400))
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes(suffix, data):
    reads_or_refuses(SPLAT_FORMATS[suffix].decode, data)


@given(kind=st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM"]), edits=EDITS)
@settings(max_examples=200, deadline=None)
def test_damaged_pictures(kind, edits):
    from PIL import Image

    stream = io.BytesIO()
    Image.effect_mandelbrot((24, 16), (-2, -1, 1, 1), 20).convert("RGB").save(stream, kind)
    assert images.decode_image(stream.getvalue(), "x")[0].shape == (16, 24, 3)
    pixels = result_or_none(lambda: images.decode_image(edited(stream.getvalue(), edits), "x"))
    if pixels is not None:
        rgb, alpha = pixels
        assert rgb.dtype == torch.uint8
        assert alpha is None or alpha.shape == rgb.shape[:2]
