"""A rendered set of a few pictures, made without a renderer."""

import zlib
from dataclasses import replace
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch

from gen3d.pipeline.objects.views import ObjectViews, object_cameras
from gen3d.pipeline.training.batches import joined
from gen3d.pipeline.training.data import DsplatsData, checked
from gen3d.pipeline.training.settings import DsplatsSettings
from gen3d.priors.multiview.settings import MultiviewSettings

TINY = DsplatsSettings(
    network=MultiviewSettings(size=16, channels=(16, 32), groups=8, heads=2, layers=2, text=8),
    steps=6,
    objects=4,
    joint_objects=2,
    targets=2,
    warmup=0.0,
    joint=0.5,
    holdout=2,
    check=3,
)


class Steps(DsplatsData):
    """The data of a set that is no folder; its batches are those of any training."""

    def __init__(self, objects, settings, accumulate=1):
        pl.LightningDataModule.__init__(self)
        self.objects, self.training, self.settings, self.accumulate = objects, [objects], settings, accumulate

    def val_dataloader(self):
        parts = [[joined([checked(self.objects, i, noised=noised) for i in range(2)])] for noised in (0, 3)]
        return [torch.utils.data.DataLoader(part, batch_size=None) for part in parts]


class Pictures:
    """What training asks of an `ObjectSet`: balls of a colour on a transparent ground."""

    def __init__(self, names, tiers=None):
        self.names = list(names)
        self.records = tuple(_Record(name, (tiers or {}).get(name, "scan")) for name in self.names)
        self.folder, self.size = None, 16
        self.manifest = SimpleNamespace(settings=SimpleNamespace(views=12))

    def __len__(self):
        return len(self.names)

    def training(self, settings, accumulate=1):
        """The data of a training with all of them."""
        return Steps(self, settings, accumulate)

    def read(self, number, views=None):
        azimuths = [45.0 * i for i in range(8)] + [10.0, 100.0, 200.0, 300.0]
        elevations = [20.0] * 8 + [0.0, 60.0, -5.0, 40.0]
        cameras = object_cameras(azimuths, elevations, self.size)
        across = (torch.arange(self.size) + 0.5) / self.size - 0.5
        y, x = torch.meshgrid(across, across, indexing="ij")
        alpha = ((x**2 + y**2) < 0.117).float().expand(12, self.size, self.size)
        color = torch.rand(12, 1, 1, 3, generator=torch.Generator().manual_seed(zlib.crc32(self.names[number].encode())))
        rgb = color * alpha[..., None]
        every = ObjectViews(cameras, rgb, alpha, 1.2 * alpha, None)
        if views is None:
            return every
        return replace(
            every, cameras=cameras.select(list(views)), rgb=rgb[list(views)], alpha=alpha[list(views)], depth=every.depth[list(views)]
        )


class _Record:
    def __init__(self, name, tier):
        self.id, self.tier, self.caption = name, tier, f"a {name}"


@pytest.fixture
def tiny():
    return TINY


@pytest.fixture
def pictures():
    return Pictures(f"object {i}" for i in range(9))
