"""Outlines: how large a surface must be, and what lies beside it."""

from dataclasses import replace

import pytest
import torch
import trimesh

from gen3d.pipeline.meshing.outlines import best_forward, best_outward, forwarded, outline_error, traced, within_outlines
from gen3d.pipeline.meshing.pictures import Pictures
from gen3d.pipeline.objects.rendering import sphere_cameras
from gen3d.renderers.mesh import Mesh
from gen3d.renderers.mesh_renderer import render_mesh

pytest.importorskip("embreex", reason="embreex is not installed")

VOXEL = 0.02


def sphere(radius=1.0, centre=(0.0, 0.0, 0.0)):
    solid = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return Mesh(torch.tensor(solid.vertices).float() + torch.tensor(centre), torch.tensor(solid.faces).long())


def both(first, second):
    return Mesh(torch.cat([first.vertices, second.vertices]), torch.cat([first.faces, second.faces + len(first.vertices)]))


@pytest.fixture(scope="module")
def pictures():
    """A ball of radius 1 whose depths lie three voxels too deep, as those of soft splats do."""
    cameras = sphere_cameras(16, radius=3.5, fov=40.0, size=128)
    drawn = render_mesh(sphere(), cameras, supersample=1)
    depth = torch.where(drawn.depth > 0, drawn.depth + 3 * VOXEL, 0.0)
    return Pictures(cameras, drawn.rgb, depth)


def test_the_true_surface_has_the_least_error(pictures):
    errors = [outline_error(sphere(radius), pictures) for radius in (0.94, 1.0, 1.06)]
    assert errors[1] < 0.001
    assert min(errors[0], errors[2]) > 10 * errors[1] + 0.01


def test_depths_come_forward_until_the_outlines_are_filled(pictures):
    def extract(given):
        """The ball whose nearest point is as far from the cameras as the nearest depth."""
        return sphere(3.5 - float(given.depth[given.depth > 0].min()))

    mesh, forward = best_forward(extract, pictures, VOXEL)
    assert forward == pytest.approx(3 * VOXEL)
    assert mesh.vertices.norm(dim=-1).max() == pytest.approx(1.0, abs=2e-3)


def test_what_lies_right_is_not_moved(pictures):
    _, forward = best_forward(lambda given: sphere(1.0 - float((pictures.depth - given.depth).max())), pictures, VOXEL)
    assert forward == 0.0


@pytest.mark.parametrize("missing", [0.0, 0.75, 1.0, 2.25])
def test_points_move_outwards_until_the_outlines_are_filled(pictures, missing):
    """Each surface takes seconds, so that the distance is foretold from the first."""
    asked = []

    def extract(outward):
        asked.append(outward / VOXEL)
        return sphere(1.0 - missing * VOXEL + outward)

    mesh, outward = best_outward(extract, pictures, VOXEL)
    assert outward / VOXEL == pytest.approx(missing, abs=0.26)
    assert mesh.vertices.norm(dim=-1).max() == pytest.approx(1.0, abs=0.27 * VOXEL)
    assert asked == pytest.approx([1.0, outward / VOXEL] if abs(missing - 1) > 0.5 else [1.0])


def test_empty_pixels_stay_empty_when_depths_come_forward(pictures):
    nearer = forwarded(pictures, 0.5).depth
    assert torch.equal(nearer > 0, pictures.depth > 0)
    assert torch.allclose(nearer[nearer > 0], pictures.depth[pictures.depth > 0] - 0.5)


def test_floaters_beside_the_thing_go_and_the_thing_stays(pictures):
    kept = within_outlines(both(sphere(), sphere(0.05, (0.0, 1.2, 0.0))), pictures, reach=2 * VOXEL)
    assert len(kept.faces) == len(sphere().faces)
    assert kept.vertices.norm(dim=-1).max() < 1.01


def test_a_wide_reach_keeps_what_is_near(pictures):
    assert len(within_outlines(both(sphere(), sphere(0.05, (0.0, 1.2, 0.0))), pictures, reach=0.4).faces) == 2 * len(sphere().faces)
    assert len(within_outlines(sphere(), pictures, reach=1e3).faces) == len(sphere().faces)


def test_one_view_that_looks_past_is_not_enough(pictures):
    blind = replace(pictures, depth=pictures.depth.clone())
    blind.depth[0] = 0
    assert len(within_outlines(sphere(), blind, reach=2 * VOXEL).faces) == len(sphere().faces)


def test_traced_depths_are_those_of_the_mesh_where_something_was_seen(pictures):
    depth = traced(pictures, sphere()).depth
    assert ((depth > 0) <= (pictures.depth > 0)).all()
    assert (pictures.depth - depth)[depth > 0].median() == pytest.approx(3 * VOXEL, abs=1e-4)
