from dataclasses import replace

import pytest
import torch

from gen3d.pipeline.scenes.scene import Scene, View, stacked_cameras
from gen3d.renderers.cameras import Cameras, pinhole, rigid_inverse


def view(name, position):
    pose = torch.eye(4)
    pose[:3, 3] = torch.tensor(position)
    camera = Cameras(rigid_inverse(pose)[None], pinhole(20.0, 16, 16)[None], 16, 16)
    return View(name, torch.zeros(16, 16, 3, dtype=torch.uint8), None, None, camera)


def scene(train, test=()):
    return Scene(tuple(train), tuple(test), None, torch.eye(4, dtype=torch.float64))


def test_extent_is_the_radius_of_the_training_cameras():
    train = [view("a", (10.0, 0.0, 0.0)), view("b", (14.0, 0.0, 0.0))]
    assert scene(train, [view("far", (500.0, 0.0, 0.0))]).extent == pytest.approx(2.2)


def test_extent_is_never_zero():
    assert scene([view("a", (1.0, 2.0, 3.0))] * 2).extent > 0


def test_views_are_training_then_test():
    train, test = [view("b", (0.0, 0.0, 0.0))], [view("a", (1.0, 0.0, 0.0))]
    assert [each.name for each in scene(train, test).views] == ["b", "a"]


def test_a_photo_over_a_colour():
    photo = view("a", (0.0, 0.0, 0.0))
    image = torch.full((2, 2, 3), 255, dtype=torch.uint8)
    alpha = torch.tensor([[0, 255], [51, 0]], dtype=torch.uint8)
    cut_out = replace(photo, image=image, alpha=alpha)
    assert torch.allclose(cut_out.over(), (alpha / 255)[..., None].expand(2, 2, 3))
    expected = torch.tensor([0.1, 0.2, 0.3]) * 0.8 + 0.2
    for background in ((0.1, 0.2, 0.3), torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)):
        drawn = cut_out.over(background)
        assert drawn.dtype == torch.float32
        assert torch.allclose(drawn[1, 0], expected)
        assert drawn[0, 1].tolist() == [1.0, 1.0, 1.0]
    assert torch.equal(replace(cut_out, alpha=None).over((0.1, 0.2, 0.3)), torch.ones(2, 2, 3))


def test_cameras_of_several_sizes_become_one_batch():
    first, other = view("a", (1.0, 0.0, 0.0)), view("b", (2.0, 0.0, 0.0))
    other = replace(other, camera=other.camera.resized(32, 64))
    cameras = stacked_cameras([first, other])
    assert (cameras.shape, cameras.width, cameras.height) == ((2,), 16, 16)
    assert torch.equal(cameras.positions, torch.tensor([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]]))
    assert torch.equal(cameras.intrinsics[1], first.camera.intrinsics[0])
