"""Volumes fitted from nothing with the candidate pool, as GVGEN's paper does (He et al. 2024, 2403.12957, section 3.1)."""

from collections.abc import Sequence

import torch

from gen3d.pipeline.fitting.fit import FitJob, fit
from gen3d.pipeline.fitting.machine import Machine
from gen3d.pipeline.fitting.settings import DensifySettings, FittingSettings, RateSettings
from gen3d.pipeline.fitting.views import Photo
from gen3d.pipeline.progress import Progress, Silent
from gen3d.pipeline.scenes.scene import View
from gen3d.priors.volume.volume import GaussianVolume, nodes
from gen3d.renderers.gaussians import Gaussians

GREY, FAINT_START = 0.0, 0.1  # harmonic and opacity that all splats begin with


def pool_settings(size: int, steps: int, *, pool: bool = True, offsets: bool = True) -> FittingSettings:
    """How a volume is fitted.

    Args:
        size: nodes along a side.
        steps: of the fit.
        pool: whether splats are given up and grown anew; else the first ones stay, one at each node.
        offsets: whether splats may leave their nodes.
    """
    densify = DensifySettings(
        strategy="pool",
        nodes=size,
        cap=size**3,
        grow_gradient=1e-3,
        absgrad=False,
        start=0.025 if pool else 1.0,
        stop=0.5,  # later, what has just moved in has no time left to settle
        prune_stop=0.5,
        every=max(1, round(100 * min(1.0, steps / 5000))),
    )
    rates = RateSettings(means=RateSettings().means * offsets)
    return FittingSettings(
        steps=steps, sh_degree=0, half_resolution=0.0, ssim_weight=0.2, opacity_regularizer=0.0, rates=rates, densify=densify, checkpoints=0
    )


def grid_of_splats(size: int) -> Gaussians:
    """A grey, faint splat at every node."""
    count, scale = size**3, 1 / (size - 1)
    return Gaussians(
        nodes(size),
        torch.full((count, 3), scale),
        torch.tensor([1.0, 0, 0, 0]).expand(count, 4).clone(),
        torch.full((count,), FAINT_START),
        torch.full((count, 1, 3), GREY),
    )


def pool_volume(
    views: Sequence[View], settings: FittingSettings, machine: Machine, seed: int = 0, progress: Progress | None = None
) -> GaussianVolume:
    """The volume of an object.

    Args:
        views: cut out, in the frame of the volume.
        settings: of `pool_settings`, or changed.
        machine: where it is fitted.
        seed: of the fit.
        progress: listener.
    """
    size = settings.densify.nodes
    photos = [Photo.from_view(view) for view in views]
    job = FitJob(grid_of_splats(size), photos, settings, settings.steps, extent=1.0, seed=seed, machine=machine)
    splats = fit(job, progress or Silent())
    if splats.count != size**3:
        raise ValueError(f"the fit ended with {splats.count:,} splats and not with one at each of {size}^3 nodes; let it grow for longer")
    return GaussianVolume.of_splats(splats, torch.arange(size**3), size)
