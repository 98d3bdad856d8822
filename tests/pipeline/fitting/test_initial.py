from dataclasses import replace

import pytest
import torch

from gen3d.pipeline.fitting.initial import common_view, guess_points, initial_gaussians, splats_at
from gen3d.pipeline.fitting.sweep import project
from gen3d.renderers.cameras import Cameras, pinhole
from gen3d.renderers.mesh import PointCloud


def test_splats_are_as_large_as_their_neighbourhood():
    axis = torch.arange(4.0)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    splats = splats_at(PointCloud(grid, torch.rand(64, 3)), lone=1.0)
    assert torch.allclose(splats.scales, torch.ones(64, 3))
    assert splats.degree == 0
    assert (splats.opacities == 0.1).all()


def test_a_stray_point_does_not_become_fog():
    points = torch.cat([torch.rand(500, 3), torch.full((1, 3), 1e4)])
    splats = splats_at(PointCloud(points, torch.rand(501, 3)), lone=1.0)
    assert splats.scales.max() < 100


def test_coincident_points_have_a_size():
    splats = splats_at(PointCloud(torch.zeros(10, 3), torch.rand(10, 3)), lone=1.0)
    assert (splats.scales > 0).all()


def test_points_of_the_scene_are_used(scene):
    splats = initial_gaussians(scene, count=7, cap=1000, sh_degree=2, seed=0)
    assert torch.equal(splats.means, scene.points.points)
    assert splats.degree == 2
    assert (splats.sh[:, 1:] == 0).all()


def test_points_beyond_the_cap_are_thinned_out(scene):
    splats = initial_gaussians(scene, count=7, cap=50, sh_degree=0, seed=0)
    assert splats.count == 50
    assert torch.isin(splats.means[:, 0], scene.points.points[:, 0]).all()


@pytest.mark.parametrize("cap", [1, 2, 3])
def test_a_handful_of_splats_is_as_large_as_the_scene(scene, cap):
    _, radius = common_view(scene)
    for start in (scene, replace(scene, points=None)):
        splats = initial_gaussians(start, count=7, cap=cap, sh_degree=0, seed=0)
        assert splats.scales.shape == (cap, 3)
        assert ((splats.scales > 0.05 * radius) & (splats.scales < 4 * radius)).all()


def test_guessing_finds_the_object_and_its_colours(cut_out):
    points = guess_points(replace(cut_out, points=None), count=300, seed=0)
    assert len(points.points) == 300
    truth = cut_out.points.points
    inside = (torch.cdist(points.points, truth).min(1).values < 0.25).float().mean()
    anywhere = 2 * torch.rand(1000, 3, generator=torch.Generator().manual_seed(0)) - 1
    by_chance = (torch.cdist(anywhere, truth).min(1).values < 0.25).float().mean()
    assert inside > 0.75 > 2 * by_chance
    assert torch.equal(points.points, guess_points(replace(cut_out, points=None), count=300, seed=0).points)
    assert not torch.equal(points.points, guess_points(replace(cut_out, points=None), count=300, seed=1).points)


def test_guessing_does_not_look_behind_masks(cut_out):
    masked, spoilt = [], []
    for view in cut_out.train:
        mask = torch.full_like(view.alpha, 255)
        mask[:, :20] = 0
        masked.append(replace(view, mask=mask))
        spoilt.append(replace(view, mask=mask, image=view.image.where(mask[..., None] > 0, 255), alpha=view.alpha.where(mask > 0, 255)))
    points = guess_points(replace(cut_out, train=tuple(masked)), count=300, seed=0)
    assert len(points.points) == 300
    assert torch.equal(points.points, guess_points(replace(cut_out, train=tuple(spoilt)), count=300, seed=0).points)


def test_common_view_is_what_the_cameras_look_at(scene):
    centre, radius = common_view(scene)
    assert centre.norm() < 0.05
    assert 0.8 < radius < 2.0


def test_projection_of_known_points():
    camera = Cameras(torch.eye(4)[None], pinhole(10.0, 20, 10)[None], 20, 10)
    points = torch.tensor([[0.0, 0.0, 1.0], [0.55, -0.25, 1.0], [0.0, 0.0, -1.0], [5.0, 0.0, 1.0]])
    visible, row, column = project(points, camera)
    assert visible.tolist() == [True, True, False, False]
    assert (row[0], column[0]) == (5, 10)
    assert (row[1], column[1]) == (2, 15)
