"""Splats of a volume brought closer to an object's pictures; each stays within reach of its node."""

import torch
from torch import Tensor
from torch.nn import functional

from gen3d.pipeline.objects.views import ObjectViews
from gen3d.pipeline.volumes.settings import VolumeSettings
from gen3d.priors.volume.volume import COLOR, FAINT, OFFSET, OPACITY, QUAT, REACH, SCALE, GaussianVolume, nodes
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.rendering import rasterize

CHANNELS = {"offset": OFFSET, "color": COLOR, "scale": SCALE, "quat": QUAT, "opacity": slice(OPACITY, OPACITY + 1)}
RATES = {"offset": 1.0, "color": 0.6, "scale": 0.6, "quat": 0.6, "opacity": 1.5}  # times the rate; offsets in cells
BETAS = (0.9, 0.99)
TETHER = 0.1  # weight of the cells that splats are beyond reach


def refined(volume: GaussianVolume, views: ObjectViews, settings: VolumeSettings, seed: int = 0) -> GaussianVolume:
    """A volume whose splats look more like the views; nodes that hold nothing stay empty.

    Args:
        volume: of one object.
        views: of it, in the frame of the volume.
        settings: of the steps.
        seed: of the order of views and of the backgrounds, which differ from step to step, so that nothing can hide in them.
    """
    size = volume.size
    flat = volume.values.flatten(1).T.clone()
    held = (flat[:, OPACITY] > FAINT).nonzero()[:, 0]
    values = {name: flat[held][:, part].clone() for name, part in CHANNELS.items()}
    values["offset"] *= size - 1
    if not len(held) or not settings.steps:
        return volume
    generator, places = torch.Generator().manual_seed(seed), nodes(size)[held]
    for each in values.values():
        each.requires_grad_()
    optimizer = torch.optim.Adam([{"params": [values[name]], "lr": RATES[name] * settings.rate} for name in values], betas=BETAS)
    fall = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1 / settings.steps, settings.steps)
    for _ in range(settings.steps):
        chosen = torch.randperm(len(views.rgb), generator=generator)[: settings.views]
        background = torch.rand(3, generator=generator)
        shown = rasterize(_splats(values, places, size), views.cameras.select(chosen.tolist()), background=background).rgb
        wanted = background + views.alpha[chosen][..., None] * (views.rgb[chosen] - background)
        beyond = (values["offset"].abs() - REACH).relu().mean()
        loss = (shown - wanted).square().mean() + TETHER * beyond
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        fall.step()
    with torch.no_grad():
        values["offset"] = values["offset"].clamp(-REACH, REACH) / (size - 1)
        for name, part in CHANNELS.items():
            flat[held, part] = values[name].detach()
    return GaussianVolume(flat.T.reshape(volume.values.shape))


def _splats(values: dict[str, Tensor], places: Tensor, size: int) -> Gaussians:
    quats = functional.normalize(values["quat"], dim=-1)
    means, opacities = places + values["offset"] / (size - 1), values["opacity"][:, 0].sigmoid()
    return Gaussians(means, values["scale"].exp(), quats, opacities, values["color"][:, None])
