import pytest
import torch

from gen3d.pipeline.scenes.scene import Scene, View
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
