"""Splats on shapes that are known, and pictures of the shapes themselves."""

import math
import sys
from dataclasses import replace

import pytest
import torch
import trimesh

from gen3d.errors import BadInput, MissingDependency
from gen3d.pipeline.meshing.pictures import Pictures
from gen3d.pipeline.meshing.poisson import poisson_mesh
from gen3d.pipeline.meshing.report import report, welded
from gen3d.pipeline.objects.rendering import sphere_cameras
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.harmonics import rgb_to_sh0
from gen3d.renderers.mesh import Mesh
from gen3d.renderers.mesh_renderer import render_mesh
from gen3d.renderers.quaternions import matrix_to_quaternion
from gen3d.renderers.sphere import fibonacci_sphere

pytest.importorskip("embreex", reason="embreex is not installed")
pytest.importorskip("open3d", reason="open3d is not installed")
CAMERAS = sphere_cameras(12, radius=4.0, fov=40.0, size=96)


def splats(means, normals, scales=(0.05, 0.03, 1e-4)):
    """Disks on a surface, their shortest axis along the normal, up or down at random."""
    means, normals, generator = means.float(), normals.float(), torch.Generator().manual_seed(0)
    across = torch.linalg.cross(normals, torch.randn(len(means), 3, generator=generator))
    across = torch.nn.functional.normalize(across, dim=-1)
    down = torch.where(torch.rand(len(means), 1, generator=generator) < 0.5, -normals, normals)
    turns = torch.stack([across, torch.linalg.cross(down, across), down], -1)
    return Gaussians(
        means=means,
        scales=torch.tensor(scales).repeat(len(means), 1),
        quats=matrix_to_quaternion(turns),
        opacities=torch.full((len(means),), 0.05),
        sh=rgb_to_sh0((means + 1) / 2)[:, None],
    )


def pictures_of(solid):
    drawn = render_mesh(Mesh(torch.tensor(solid.vertices).float(), torch.tensor(solid.faces)), CAMERAS, supersample=1)
    return Pictures(CAMERAS, drawn.rgb, drawn.depth)


@pytest.fixture(scope="module")
def ball():
    return pictures_of(trimesh.creation.icosphere(4))


@pytest.mark.parametrize("scales", [(0.05, 0.03, 1e-4), (0.03, 0.03, 0.03)])
def test_flat_and_round_splats_on_a_ball_give_a_closed_ball(ball, scales):
    means = fibonacci_sphere(1500)
    mesh = poisson_mesh(splats(means, means, scales), ball, depth=6)
    facts = report(mesh)
    assert (facts.watertight, facts.euler, facts.components) == (True, 2, 1)
    assert facts.volume == pytest.approx(4 / 3 * math.pi, rel=0.02)
    assert welded(mesh).volume > 0  # faces look outwards
    assert (mesh.vertices.norm(dim=-1) - 1).abs().mean() < 0.01
    assert (mesh.colors - (mesh.vertices + 1) / 2).abs().mean() < 0.02


def test_it_comes_out_the_same_again_and_moves_outwards(ball):
    means = fibonacci_sphere(1500)
    first, second, larger = (poisson_mesh(splats(means, means), ball, depth=6, outward=outward) for outward in (0.0, 0.0, 0.1))
    assert torch.equal(first.vertices, second.vertices)
    assert torch.equal(first.faces, second.faces)
    assert float(larger.vertices.norm(dim=-1).mean()) == pytest.approx(1.1, abs=0.01)


def test_what_no_picture_sees_counts_for_nothing(ball):
    means = torch.cat([fibonacci_sphere(1500), 0.5 * fibonacci_sphere(500), torch.tensor([[0.0, 1.6, 0.0]])])
    mesh = poisson_mesh(splats(means, torch.nn.functional.normalize(means, dim=-1)), ball, depth=6)
    assert (mesh.vertices.norm(dim=-1) - 1).abs().max() < 0.1


def test_a_bridge_that_pictures_see_through_is_trimmed():
    ring = trimesh.creation.torus(0.8, 0.25)
    points, faces = trimesh.sample.sample_surface(ring, 3000, seed=0)
    cloud = splats(torch.tensor(points), torch.tensor(ring.face_normals[faces]))
    half = cloud.select(cloud.means[:, 0] > 0)  # the cut ends are bridged
    seen = pictures_of(trimesh.Trimesh(ring.vertices, ring.faces[ring.triangles_center[:, 0] > 0], process=False))
    whole, trimmed = (poisson_mesh(half, seen, depth=6, trim=trim) for trim in (0.0, 0.3))
    assert (whole.vertices[:, 0] < -0.1).any()
    assert not (trimmed.vertices[:, 0] < -0.15).any()
    assert len(trimmed.vertices) > 0.7 * len(whole.vertices)


def test_wrong_numbers_and_a_missing_package_are_said(ball, monkeypatch):
    means = fibonacci_sphere(1500)
    cloud = splats(means, means)
    with pytest.raises(ValueError, match="depth is 0"):
        poisson_mesh(cloud, ball, depth=0)
    with pytest.raises(ValueError, match="trim is 2"):
        poisson_mesh(cloud, ball, trim=2)
    with pytest.raises(BadInput, match="the pictures see 10 splats and a Poisson surface needs at least 16"):
        poisson_mesh(cloud.select(torch.arange(10)), ball)
    with pytest.raises(BadInput, match="the pictures see 0 splats"):
        poisson_mesh(replace(cloud, opacities=0 * cloud.opacities), ball)
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(MissingDependency, match="Poisson reconstruction needs the package open3d"):
        poisson_mesh(cloud, ball)
