import struct

import numpy as np
import pytest
import torch

from gen3d.errors import BadInput
from gen3d.pipeline.scenes.point_ply import read_point_ply

HEADER = b"ply\nformat %s 1.0\ncomment by hand\nelement vertex %d\nproperty float x\nproperty float y\nproperty float z\n"
COLORS = b"property uchar red\nproperty uchar green\nproperty uchar blue\n"
FACES = b"element face 1\nproperty list uchar int vertex_indices\n"
POINTS = [(1.0, 2.0, 3.0), (-4.0, 5.5, 6.0)]


def write(tmp_path, content):
    path = tmp_path / "points.ply"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("kind", "order"), [(b"binary_little_endian", "<"), (b"binary_big_endian", ">")])
def test_binary(kind, order, tmp_path):
    body = b"".join(struct.pack(f"{order}3f3B", *point, 255, 0, 51) for point in POINTS)
    cloud = read_point_ply(write(tmp_path, HEADER % (kind, 2) + COLORS + FACES + b"end_header\n" + body + b"\x03extra"))
    assert cloud.points.tolist() == [list(point) for point in POINTS]
    assert torch.allclose(cloud.colors, torch.tensor([1.0, 0.0, 0.2]).expand(2, 3))


def test_ascii_with_windows_line_ends(tmp_path):
    content = HEADER % (b"ascii", 2) + COLORS + b"end_header\n1 2 3 255 0 51\n-4 5.5 6 0 0 0\n"
    cloud = read_point_ply(write(tmp_path, content.replace(b"\n", b"\r\n")))
    assert cloud.points.tolist() == [list(point) for point in POINTS]
    assert cloud.colors[0].tolist() == pytest.approx([1.0, 0.0, 0.2])


def test_points_without_colour_are_grey_and_bad_ones_are_left_out(tmp_path):
    body = struct.pack("<3f", 1, 2, 3) + struct.pack("<3f", float("nan"), 0, 0)
    cloud = read_point_ply(write(tmp_path, HEADER % (b"binary_little_endian", 2) + b"end_header\n" + body))
    assert cloud.points.tolist() == [[1.0, 2.0, 3.0]]
    assert cloud.colors.tolist() == [[0.5, 0.5, 0.5]]


def test_vertices_need_not_come_first_nor_in_order(tmp_path):
    header = b"ply\nformat binary_big_endian 1.0\nelement camera 2\nproperty short id\nelement vertex 1\nproperty double z\n"
    header += b"property float red\nproperty float y\nproperty float green\nproperty float x\nproperty float blue\nend_header\n"
    cloud = read_point_ply(write(tmp_path, header + struct.pack(">2hd5f", 7, 8, 3, 0.25, 2, 0.5, 1, 1)))
    assert cloud.points.tolist() == [[1.0, 2.0, 3.0]]
    assert cloud.colors.tolist() == [[0.25, 0.5, 1.0]]


def test_no_vertices_are_no_points(tmp_path):
    assert read_point_ply(write(tmp_path, HEADER % (b"ascii", 0) + b"end_header\n")) is None


def test_reads_what_trimesh_writes(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    points = np.random.default_rng(0).normal(size=(50, 3))
    colors = np.random.default_rng(1).integers(0, 255, (50, 4), dtype=np.uint8)
    content = trimesh.PointCloud(points, colors).export(file_type="ply")
    cloud = read_point_ply(write(tmp_path, content))
    assert np.allclose(cloud.points, points, atol=1e-5)
    assert np.allclose(cloud.colors * 255, colors[:, :3], atol=1e-3)


@pytest.mark.parametrize(
    "content",
    [
        b"solid stl\n",
        HEADER % (b"ascii", 2),
        HEADER % (b"binary_little_endian", 2) + b"end_header\n" + b"\0" * 20,
        HEADER % (b"binary_little_endian", 10**17) + b"end_header\n" + b"\0" * 24,
        HEADER % (b"ascii", 10**17) + b"end_header\n1 2 3\n",
        HEADER % (b"ascii", 2) + b"end_header\n1 2 3\n4 5\n",
        HEADER % (b"ascii", 1) + b"end_header\n1 2 three\n",
        HEADER % (b"ascii", -1) + b"end_header\n",
        HEADER % (b"utf-8", 1) + b"end_header\n1 2 3\n",
        HEADER % (b"ascii", 1) + b"property list uchar int x\nend_header\n1 2 3\n",
        HEADER % (b"ascii", 1) + b"property float x\nend_header\n1 2 3 4\n",
        b"ply\nformat ascii 1.0\n" + FACES + b"end_header\n",
        b"ply\nend_header\n",
    ],
)
def test_damaged_files_are_refused(content, tmp_path):
    with pytest.raises(BadInput, match=r"points\.ply"):
        read_point_ply(write(tmp_path, content))
