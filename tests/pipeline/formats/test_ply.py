import io
import re
import tracemalloc

import numpy as np
import pytest
import torch

from gen3d.errors import BadInput
from gen3d.pipeline.formats import ply
from gen3d.pipeline.formats.contents import SplatContents
from gen3d.renderers.gaussians import Gaussians

TENSORS = ("means", "scales", "quats", "opacities", "sh")


def encoded(gaussians: Gaussians, **labels: str) -> bytes:
    stream = io.BytesIO()
    ply.encode(stream, SplatContents(gaussians, **labels))
    return stream.getvalue()


def body_of(data: bytes) -> tuple[list[str], np.ndarray]:
    """Property names and the float32 table of one of our own files."""
    header, _, body = data.partition(b"end_header\n")
    names = re.findall(rb"property float (\S+)", header)
    return [name.decode() for name in names], np.frombuffer(body, "<f4").reshape(-1, len(names))


def rewritten(gaussians: Gaussians, form: str, kind: str = "float", *, shuffle: bool = False, newline: str = "\n") -> bytes:
    """The same splats as another program might write them."""
    names, table = body_of(encoded(gaussians))
    order = np.random.default_rng(0).permutation(len(names)) if shuffle else np.arange(len(names))
    lines = ["ply", f"format {form} 1.0", f"element vertex {len(table)}"]
    lines += [f"property {kind} {names[i]}" for i in order]
    text = newline.join([*lines, "end_header", ""]).encode()
    columns = table[:, order].astype({"float": "f4", "double": "f8"}[kind])
    if form == "ascii":
        rows = (" ".join(repr(float(value)) for value in row) for row in columns)
        return text + newline.join(rows).encode()
    return text + columns.astype(columns.dtype.newbyteorder(">" if "big" in form else "<")).tobytes()


def assert_equal(left: Gaussians, right: Gaussians, tolerance: float = 1e-5) -> None:
    for name in TENSORS:
        torch.testing.assert_close(getattr(left, name), getattr(right, name), rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize("degree", range(4))
def test_every_degree_comes_back(splats, degree):
    before = splats(50, degree)
    assert_equal(before, ply.decode(encoded(before), "x.ply").gaussians)


@pytest.mark.parametrize("kind", ["float", "double"])
@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_other_writers_are_read(splats, form, kind, newline):
    before = splats(20, 1)
    assert_equal(before, ply.decode(rewritten(before, form, kind, shuffle=True, newline=newline), "x.ply").gaussians)


def test_layout_is_the_usual_one(splats):
    before = splats(3, 1)
    names, table = body_of(encoded(before))
    rest = [f"f_rest_{i}" for i in range(9)]
    assert names == [
        *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"),
        *rest,
        *("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
    ]
    column = dict(zip(names, torch.from_numpy(table.copy()).unbind(1), strict=True))
    assert torch.equal(column["f_rest_4"], before.sh[:, 2, 1]), "harmonics are stored channel by channel"
    torch.testing.assert_close(column["scale_1"].exp(), before.scales[:, 1])
    torch.testing.assert_close(column["opacity"].sigmoid(), before.opacities)
    assert torch.equal(column["rot_0"], before.quats[:, 0])
    assert not column["nx"].any()


def test_labels_and_comments(splats):
    data = encoded(splats(2, 0), frame="zup", unit="metre").replace(b"element", b"comment SplatRenderMode: mip\nelement", 1)
    contents = ply.decode(data, "x.ply")
    assert (contents.frame, contents.unit, contents.comments) == ("zup", "metre", ("SplatRenderMode: mip",))


def test_a_label_cannot_break_the_header(splats):
    before = splats(2, 0)
    contents = ply.decode(encoded(before, unit="metre\nelement face 9"), "x.ply")
    assert contents.unit == "metre element face 9"
    assert_equal(before, contents.gaussians)


def test_extra_properties_and_elements_are_ignored(splats):
    before = splats(4, 0)
    names, table = body_of(encoded(before))
    header = ["ply", "format binary_little_endian 1.0", "element camera 2", "property uchar id", "property double focal"]
    header += ["element vertex 4", "property uchar flag", *(f"property float {name}" for name in names), "property short tag"]
    header += ["element face 3", "property list uchar int vertex_indices", "end_header", ""]
    rows = np.zeros(4, [("flag", "u1"), ("row", "<f4", len(names)), ("tag", "<i2")])
    rows["row"], rows["flag"], rows["tag"] = table, 200, -5
    assert_equal(before, ply.decode("\n".join(header).encode() + bytes(18) + rows.tobytes() + b"\3", "x.ply").gaussians)


def test_byte_valued_properties(splats):
    names, table = body_of(encoded(splats(3, 0)))
    rows = np.zeros(3, [(name, "u1" if name == "opacity" else "<f4") for name in names])
    for i, name in enumerate(names):
        rows[name] = 2 if name == "opacity" else table[:, i]
    header = ["ply", "format binary_little_endian 1.0", "element vertex 3"]
    header += [f"property {'uchar' if name == 'opacity' else 'float'} {name}" for name in names]
    data = "\n".join([*header, "end_header", ""]).encode() + rows.tobytes()
    torch.testing.assert_close(ply.decode(data, "x.ply").gaussians.opacities, torch.full((3,), 2.0).sigmoid())


def replaced(old: bytes, new: bytes):
    return lambda data: data.replace(old, new, 1)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda data: b"solid cube", "not a PLY file"),
        (lambda data: data[:100], "no end_header"),
        (lambda data: data[:-1], "promises 5 rows and holds 4"),
        (lambda data: b"ply\n" + b"comment x\n" * 10_000 + data[4:], "no end_header"),
        (replaced(b"vertex 5", b"vertex -5"), "'element vertex -5'"),
        (replaced(b"vertex 5", b"vertex 5.0"), "'element vertex 5.0'"),
        (replaced(b"vertex 5", b"vertex 999999999999"), "promises 999,999,999,999 rows and holds 5"),
        (replaced(b"vertex 5", b"vertex 9999999999999"), "breaks the PLY format"),
        (replaced(b"vertex 5", b"vertex 0"), "no vertices"),
        (replaced(b"element vertex", b"element point"), "no vertices"),
        (replaced(b"format binary_little_endian 1.0\n", b""), "no format line"),
        (replaced(b"binary_little_endian", b"zip"), "'format zip 1.0'"),
        (replaced(b"property float opacity", b"property float opaque"), "has no opacity in its vertices"),
        (replaced(b"property float scale_2", b"property float x"), "'property float x'"),
        (replaced(b"property float nx", b"property list uchar int nx"), "lists in its element vertex"),
        (replaced(b"element vertex", b"element face 1\nproperty list uchar int i\nelement vertex"), "lists in its element face"),
        (replaced(b"property float f_rest_8", b"property float f_rest_9"), "f_rest_"),
        (replaced(b"property float f_rest_8", b"property float other"), "8 harmonics"),
        (replaced(b"f_dc_0", b"red"), "point cloud or mesh and not splats"),
        (replaced(b"float x\n", b"uint packed_position\n"), "compressed PLY"),
        (replaced(b"binary_little_endian", b"ascii"), "too short|row 0"),
    ],
)
def test_bad_files_end_in_one_sentence(splats, damage, sentence):
    with pytest.raises(BadInput, match=sentence) as caught:
        ply.decode(damage(encoded(splats(5, 1))), "some.ply")
    assert str(caught.value).startswith("some.ply ")
    assert "\n" not in str(caught.value)


def test_text_with_a_bad_row(splats):
    data = rewritten(splats(5, 0), "ascii")
    for damaged in (data[:-30], data + b" 7", data.replace(b"\n0", b"\nzero").replace(b"\n-", b"\nminus")):
        with pytest.raises(BadInput, match=r"in row \d of 5|too short"):
            ply.decode(damaged, "x.ply")


def test_lying_counts_allocate_nothing(splats):
    data = encoded(splats(5, 0)).replace(b"vertex 5", b"vertex 900000000000")
    for lie in (data, data.replace(b"binary_little_endian", b"ascii"), data.replace(b"element", b"element a 900000000000\nelement", 1)):
        tracemalloc.start()
        with pytest.raises(BadInput):
            ply.decode(lie, "x.ply")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 5_000_000
