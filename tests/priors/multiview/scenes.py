"""Cameras and views that the tests of multiview networks share."""

from dataclasses import replace

import torch

from gen3d.priors.multiview.network import Views
from gen3d.priors.multiview.settings import MultiviewSettings
from gen3d.renderers.cameras import Cameras, orbit

TINY = MultiviewSettings(size=16, channels=(16, 32), groups=8, heads=2, layers=2, text=8)


def ring(objects: int, views: int, size: int = 16) -> Cameras:
    """The same views, evenly around, for all objects."""
    around = torch.arange(views) * 360.0 / views
    cameras = orbit(around, torch.full((views,), 20.0), radius=1.25, fov=49.1, width=size, height=size)
    poses, matrices = (part.expand(objects, *part.shape) for part in (cameras.world_to_camera, cameras.intrinsics))
    return replace(cameras, world_to_camera=poses, intrinsics=matrices)


def some_views(objects: int, views: int, given: int = 1, size: int = 16, seed: int = 0) -> Views:
    """Random pictures, the first ones given."""
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.rand(objects, views, 3, size, size, generator=generator) * 2 - 1
    alpha = (torch.rand(objects, views, size, size, generator=generator) > 0.5).float()
    known = (torch.arange(views) < given).expand(objects, views)
    return Views(pictures, alpha, known, torch.full((objects, views), 0.6), ring(objects, views, size))
