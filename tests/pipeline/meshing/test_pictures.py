from dataclasses import replace

import pytest
import torch

from gen3d.errors import BadInput
from gen3d.pipeline.meshing.pictures import take_pictures, views_around
from gen3d.renderers.harmonics import rgb_to_sh0
from gen3d.renderers.projection import world_to_camera


def test_every_view_holds_the_whole_object_and_fills_its_picture(ball):
    cameras = views_around(ball, 12, size=64)
    for view in range(12):
        camera = cameras.select([view])
        points = world_to_camera(ball.means, camera)
        pixels = points[:, :2] / points[:, 2:] * camera.intrinsics[0, 0, 0]
        assert 16 < pixels.abs().max() < 32


def test_depths_and_colours_are_those_of_the_surface(ball):
    cameras = views_around(ball, 6, size=64)
    pictures = take_pictures(ball, cameras)
    for view in range(6):
        pose = cameras.world_to_camera[view]
        middle = pictures.depth[view, 32, 32]
        distance = float((cameras.positions[view] - torch.tensor([3.0, 0, 0])).norm())
        assert float(middle) == pytest.approx(distance - 1, abs=0.05)
        seen = -pose[2, :3]  # the side of the sphere that faces the camera
        assert (pictures.rgb[view, 32, 32] - (seen + 1) / 2).abs().max() < 0.06
    assert (pictures.depth[:, 0, 0] == 0).all()
    assert (pictures.rgb[:, 0, 0] == 0).all()


def test_a_soft_edge_keeps_its_colour(ball):
    white = replace(ball, sh=rgb_to_sh0(torch.ones(ball.count, 1, 3)), opacities=torch.full((ball.count,), 0.1))
    pictures = take_pictures(white, views_around(ball, 2, size=64))
    seen = pictures.depth > 0
    assert 0 < seen.float().mean() < 1
    assert (pictures.rgb[seen] > 0.98).all()


def test_what_has_no_extent_is_said(ball):
    with pytest.raises(BadInput, match="there are no splats"):
        views_around(ball.select(torch.zeros(0, dtype=torch.long)), 4, size=32)
    with pytest.raises(BadInput, match="within a sphere of radius 0"):
        views_around(ball.select(torch.tensor([5])), 4, size=32)
