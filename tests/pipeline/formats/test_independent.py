"""Other people's readers and writers agree with ours."""

import io

import numpy as np
import pytest
import torch

from gen3d.pipeline.formats.registry import read_gaussians, write_gaussians

TENSORS = ("means", "scales", "quats", "opacities", "sh")


@pytest.fixture(scope="module")
def forge():
    return pytest.importorskip("gaussforge").GaussForge()


def test_trimesh_sees_the_points(tmp_path, splats):
    trimesh = pytest.importorskip("trimesh")
    before = splats(30, 3)
    write_gaussians(tmp_path / "x.ply", before, frame="gltf")
    cloud = trimesh.load(io.BytesIO((tmp_path / "x.ply").read_bytes()), file_type="ply")
    np.testing.assert_allclose(cloud.vertices, before.means.numpy(), atol=1e-6)


@pytest.mark.parametrize("degree", [1, 2, 3])  # gaussforge 0.6 cannot hand over splats without harmonics
def test_gaussforge_reads_our_values(tmp_path, splats, forge, degree):
    before = splats(30, degree)
    write_gaussians(tmp_path / "x.ply", before, frame="gltf")
    found = forge.read((tmp_path / "x.ply").read_bytes(), "ply")["data"]
    values = {name: torch.frombuffer(bytearray(found[name]), dtype=torch.float32).reshape(30, -1) for name in ("positions", "sh")}
    values |= {name: torch.frombuffer(bytearray(found[name]), dtype=torch.float32).reshape(30, -1) for name in ("scales", "rotations")}
    values |= {name: torch.frombuffer(bytearray(found[name]), dtype=torch.float32).reshape(30, -1) for name in ("alphas", "colors")}
    close = torch.testing.assert_close
    close(values["positions"], before.means)
    close(values["scales"].exp(), before.scales)
    close(values["rotations"], before.quats)
    close(values["alphas"][:, 0].sigmoid(), before.opacities)
    close(values["colors"], before.sh[:, 0])
    close(values["sh"].reshape(30, -1, 3), before.sh[:, 1:])
    assert found["meta"]["shDegree"] == degree


@pytest.mark.parametrize("degree", range(4))
def test_we_read_the_ply_of_gaussforge(tmp_path, splats, forge, degree):
    before = splats(30, degree)
    write_gaussians(tmp_path / "x.ply", before, frame="gltf")
    (tmp_path / "y.ply").write_bytes(forge.convert((tmp_path / "x.ply").read_bytes(), "ply", "ply")["data"])
    after, facts = read_gaussians(tmp_path / "y.ply", frame="gltf")
    for name in TENSORS:
        torch.testing.assert_close(getattr(after, name), getattr(before, name), msg=name)
    assert any("GaussForge" in comment for comment in facts.comments)


def test_we_read_the_splat_of_gaussforge(tmp_path, splats, forge, psnr):
    before = splats(100, 0)
    write_gaussians(tmp_path / "x.ply", before)
    (tmp_path / "y.splat").write_bytes(forge.convert((tmp_path / "x.ply").read_bytes(), "ply", "splat")["data"])
    after, _ = read_gaussians(tmp_path / "y.splat")
    torch.testing.assert_close(after.means.sort(0).values, before.means.sort(0).values)
    assert psnr(before, after) > 45
