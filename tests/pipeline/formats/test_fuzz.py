"""Files of strangers: whatever the bytes are, a reader gives what it is for or one sentence, and takes little memory."""

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
from gen3d.pipeline.formats.mesh_files import MESH_FORMATS, write_mesh
from gen3d.pipeline.formats.meshes import read_mesh
from gen3d.pipeline.formats.registry import SPLAT_FORMATS

WORDS = [
    *(b"ply\n", b"end_header\n", b"element vertex 3\n", b"element face 2\n", b"element vertex 99999999999\n", b"property float x\n"),
    *(b"property list uchar int i\n", b"property uchar red\n", b"format ascii 1.0\n", b"binary_big_endian", b"ascii", b"-", b"\r", b"\0"),
    *(b"comment gen3d frame moon\n", b"comment gen3d\n", b"nan", b"1e999", b"\xff\xff\xff\xff", b"\x00\x00\xc0\x7f", b"\xc3\x28"),
]
NUMBERS = [b"-1", b"99999999999", b"4294967295", b"1e999", b"1e200", b"nan", b"0", b"null", b"[]", b"{}", b'"a"', b"NaN", b"5121", b"5126"]
OBJ_WORDS = [b"\nf 1 2 3 4\n", b"\nf 1//\n", b"\nf\n", b"\nv 1\n", b"\nusemtl x\n", b"\no x\n", b"\\\n", b"/", b" ", b"\n"]
EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 40), st.one_of(st.sampled_from(WORDS), st.binary(max_size=8))), min_size=1, max_size=4
)
MESH_EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 12), st.one_of(st.sampled_from(WORDS + NUMBERS + OBJ_WORDS), st.binary(max_size=8))),
    min_size=1,
    max_size=3,
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


@pytest.fixture(scope="session")
def mesh_folder(box, tmp_path_factory):
    """Every mesh format with every look, and a place to damage them."""
    folder = tmp_path_factory.mktemp("meshes")
    for suffix in MESH_FORMATS:
        for looks in ((), ("colors",), ("texture",), ("cutout", "colors")):
            path = folder / f"{'-'.join(looks) or 'plain'}{suffix}"
            write_mesh(path, box(*looks))
            assert len(read_mesh(path).faces) == 12  # and what a reader imports takes its memory now
    return folder


def within_json(data: bytes, edits) -> bytes:
    """A GLB with edits in its JSON and the lengths right, so that they are not all that is wrong."""
    end = 20 + int.from_bytes(data[12:16], "little")
    text = edited(data[20:end], edits)
    text += b" " * (-len(text) % 4)
    length = (20 + len(text) + len(data) - end).to_bytes(4, "little")
    return data[:8] + length + len(text).to_bytes(4, "little") + data[16:20] + text + data[end:]


@given(choice=st.integers(0, 100), edits=MESH_EDITS, in_json=st.booleans())
@settings(max_examples=300, deadline=None)
def test_damaged_meshes(mesh_folder, choice, edits, in_json):
    files = sorted(path for path in mesh_folder.iterdir() if not path.stem.startswith("damaged"))
    original = files[choice % len(files)]
    data = original.read_bytes()
    damaged = within_json(data, edits) if in_json and original.suffix == ".glb" else edited(data, edits)
    target = mesh_folder / f"damaged{original.suffix}"
    if original.suffix in (".mtl", ".png"):  # read through an OBJ
        target = mesh_folder / "damaged.obj"
        own, other = f"{original.stem}.mtl".encode(), b"damaged.mtl"
        target.write_bytes(original.with_suffix(".obj").read_bytes().replace(own, other))
        materials = damaged if original.suffix == ".mtl" else original.with_suffix(".mtl").read_bytes()
        (mesh_folder / "damaged.mtl").write_bytes(materials.replace(f"{original.stem}.png".encode(), b"damaged.png"))
        (mesh_folder / "damaged.png").write_bytes(damaged if original.suffix == ".png" else original.with_suffix(".png").read_bytes())
    else:
        target.write_bytes(damaged)
    tracemalloc.start()
    try:
        mesh = result_or_none(lambda: read_mesh(target))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000
    if mesh is not None:
        assert mesh.vertices.isfinite().all()
        assert mesh.faces.numel()
        assert 0 <= mesh.faces.min() <= mesh.faces.max() < len(mesh.vertices)
        assert (mesh.texture is None) == (mesh.uvs is None)
        if mesh.uvs is not None:
            assert mesh.uvs.shape == (len(mesh.vertices), 2)
            assert mesh.uvs.isfinite().all()
        if mesh.colors is not None:
            assert mesh.colors.shape == mesh.vertices.shape
            assert 0 <= mesh.colors.min() <= mesh.colors.max() <= 1


@given(suffix=st.sampled_from([".glb", ".gltf", ".obj", ".ply", ".stl"]), data=st.binary(min_size=1, max_size=300))
@settings(max_examples=150, deadline=None)
def test_arbitrary_bytes_as_meshes(mesh_folder, suffix, data):
    path = mesh_folder / f"damaged{suffix}"
    path.write_bytes(data)
    result_or_none(lambda: read_mesh(path))
