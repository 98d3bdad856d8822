"""Which part of a scene becomes a mesh, and what is held back for the check."""

import pytest
import torch

from gen3d.pipeline.meshing.pictures import take_pictures
from gen3d.pipeline.meshing.placement import cropped, footprint_of, held_out, spread_views, subject_box
from gen3d.renderers.cameras import Cameras, look_at, orbit, pinhole
from gen3d.renderers.gaussians import Gaussians


def inwards(count=12, radius=4.0):
    angles = torch.arange(count) * (360 / count)
    return orbit(angles, torch.full((count,), 10.0), radius=radius, fov=40, width=64, height=48)


def outwards(count=12):
    angles = torch.arange(count) * (2 * torch.pi / count)
    away = torch.stack([angles.sin(), torch.zeros(count), angles.cos()], -1)
    matrix = pinhole(100.0, 64, 48)
    return Cameras(look_at(away * 0.1, away), matrix.expand(count, 3, 3), 64, 48)


def cloud(means):
    count = len(means)
    quats = torch.tensor([1.0, 0, 0, 0]).expand(count, 4)
    return Gaussians(means, torch.full((count, 3), 0.03), quats, torch.full((count,), 0.9), torch.zeros(count, 1, 3))


@pytest.fixture(scope="module")
def scene():
    """A cube of splats in the middle and a wall all around behind the cameras."""
    generator = torch.Generator().manual_seed(0)
    middle = torch.rand(2_000, 3, generator=generator) - 0.5
    wall = 8 * torch.nn.functional.normalize(torch.randn(2_000, 3, generator=generator), dim=-1)
    return cloud(torch.cat([middle, wall]))


def test_the_subject_is_what_the_photos_share(scene):
    lower, upper = subject_box(scene, inwards())
    assert (lower > -0.7).all()
    assert (upper < 0.7).all()
    assert (upper - lower > 0.9).all()


def test_photos_that_look_outwards_share_nothing(scene):
    assert subject_box(scene, outwards()) is None


def test_a_crop_keeps_depths_inside_of_the_box_only(scene):
    pictures = take_pictures(scene, inwards(), backend="reference")
    box = torch.tensor([-0.6, -0.6, -0.6]), torch.tensor([0.6, 0.6, 0.6])
    kept = cropped(pictures, box).depth
    assert kept.max() < 5.2
    assert kept[:, 24, 32].min() > 0  # the middle of each picture shows the cube
    assert pictures.depth.max() > 7


def test_every_eighth_camera_is_held_out():
    used, held = held_out(inwards(20))
    assert (used.shape[0], held.shape[0]) == (18, 2)
    assert not {tuple(p) for p in used.positions.tolist()} & {tuple(p) for p in held.positions.tolist()}


def test_few_cameras_serve_for_both():
    used, held = held_out(inwards(3))
    assert used.shape == held.shape == (3,)


def test_views_are_spread_and_shrunk():
    views = spread_views(inwards(20), 5, size=32)
    assert (views.shape[0], views.width, views.height) == (5, 32, 24)
    assert torch.equal(views.positions, inwards(20).positions[::4])
    assert spread_views(inwards(4), 9, size=999).width == 64


def test_a_pixel_of_the_photos_measures_distance_over_focal_length():
    cameras = inwards()
    assert footprint_of(cameras, torch.zeros(3)) == pytest.approx(4.0 / float(cameras.intrinsics[0, 0, 0]), rel=1e-4)
