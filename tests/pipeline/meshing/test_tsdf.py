import sys
from dataclasses import replace

import pytest
import torch
import trimesh

from gen3d.errors import BadInput, MissingDependency
from gen3d.pipeline.meshing.pictures import Pictures
from gen3d.pipeline.meshing.report import report, welded
from gen3d.pipeline.meshing.tsdf import tsdf_mesh
from gen3d.pipeline.objects.rendering import sphere_cameras
from gen3d.renderers.cameras import orbit
from gen3d.renderers.mesh import Mesh
from gen3d.renderers.mesh_renderer import render_mesh

pytest.importorskip("embreex", reason="embreex is not installed")
pytest.importorskip("open3d", reason="open3d is not installed")


def pictures_of(solid, cameras, colors):
    mesh = Mesh(torch.tensor(solid.vertices).float(), torch.tensor(solid.faces), colors=colors(torch.tensor(solid.vertices).float()))
    drawn = render_mesh(mesh, cameras, supersample=1)
    return Pictures(cameras, drawn.rgb, drawn.depth)


@pytest.fixture(scope="module")
def ball():
    cameras = sphere_cameras(20, radius=3.0, fov=45.0, size=200)
    return pictures_of(trimesh.creation.icosphere(5), cameras, lambda vertices: (vertices + 1) / 2)


def test_a_ball_comes_back_closed_at_its_place_and_coloured(ball):
    mesh = tsdf_mesh(ball, voxel=0.03)
    facts = report(mesh)
    assert (facts.watertight, facts.euler, facts.components) == (True, 2, 1)
    assert facts.volume == pytest.approx(4 / 3 * torch.pi, rel=0.02)
    assert facts.volume > 0  # faces look outwards
    radii = mesh.vertices.norm(dim=-1)
    assert (radii - 1).abs().mean() < 0.005
    assert abs(welded(mesh).center_mass).max() < 0.001
    assert (mesh.colors - (mesh.vertices + 1) / 2).abs().mean() < 0.02


def test_a_plane_seen_from_one_side_is_an_open_sheet():
    camera = orbit(torch.tensor([-10.0, 0.0, 10.0]), torch.zeros(3), radius=3.0, fov=45.0, width=160, height=160)
    mesh = tsdf_mesh(pictures_of(trimesh.creation.box((2, 2, 0.001)), camera, lambda v: torch.full_like(v, 0.25)), voxel=0.05)
    assert not report(mesh).watertight
    assert report(mesh).area == pytest.approx(4, rel=0.1)
    assert mesh.vertices[:, 2].abs().max() < 0.05
    assert (mesh.colors - 0.25).abs().max() < 0.02


def test_a_view_that_sees_nothing_changes_nothing(ball):
    """Photos of a scene that look elsewhere have no depth left after the crop; Open3D alone stops at them."""
    blind = replace(ball, depth=ball.depth.clone())
    blind.depth[3] = 0
    without = ball.select([view for view in range(20) if view != 3])
    first, second = (report(tsdf_mesh(pictures, voxel=0.05)) for pictures in (blind, without))
    assert first.faces == second.faces
    assert first.area == pytest.approx(second.area, rel=1e-6)


def test_what_gives_no_surface_is_said(ball, monkeypatch):
    with pytest.raises(ValueError, match="voxel is 0; it must be above 0"):
        tsdf_mesh(ball, voxel=0)
    with pytest.raises(BadInput, match="no view sees anything"):
        tsdf_mesh(replace(ball, depth=torch.zeros_like(ball.depth)), voxel=0.1)
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(MissingDependency, match="fusing depths needs the package open3d"):
        tsdf_mesh(ball, voxel=0.1)
