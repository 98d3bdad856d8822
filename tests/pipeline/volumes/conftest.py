"""Views of a ball, computed, and a rendered set of three boxes."""

import pytest
import torch

from gen3d.pipeline.objects.settings import RenderSettings
from gen3d.pipeline.objects.views import ObjectViews, object_cameras, training_views

RADIUS = 0.3
CENTRE = (0.05, 0.1, 0.0)


def ball_views(size=48, count=16):
    """A ball whose colour tells the direction of its surface, with exact depth."""
    cameras = object_cameras(*training_views("ball", count, 0), size)
    rows, columns = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    pixels = torch.stack([columns, rows, torch.ones_like(rows)], -1).flatten(0, 1)
    rays = pixels @ (cameras.world_to_camera[:, :3, :3].mT @ torch.linalg.inv(cameras.intrinsics)).mT
    along = cameras.positions[:, None] - torch.tensor(CENTRE)
    a, b, c = rays.square().sum(-1), (rays * along).sum(-1), along.square().sum(-1) - RADIUS**2
    root = b.square() - a * c
    depth = torch.where(root > 0, (-b - root.clamp_min(0).sqrt()) / a, 0.0)
    hit = (root > 0)[..., None]
    normal = torch.where(hit, (along + rays * depth[..., None]) / RADIUS, 0.0)
    shape = (count, size, size)
    rgb = torch.where(hit, 0.5 + 0.4 * normal, 0.0)
    return ObjectViews(cameras, rgb.reshape(*shape, 3), (root > 0).float().reshape(shape), depth.reshape(shape), normal.reshape(*shape, 3))


@pytest.fixture(scope="session")
def ball():
    return ball_views()


@pytest.fixture(scope="session")
def rendered(box_set):
    """A set of three boxes, the last of them to be tested with."""
    return box_set(RenderSettings(size=32, views=12), ["train", "train", "test"])
