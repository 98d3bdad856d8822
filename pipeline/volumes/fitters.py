"""The ways in which an object's views become a volume, by name."""

from collections.abc import Callable

import torch
from torch import Tensor

from gen3d.pipeline.fitting.machine import Machine
from gen3d.pipeline.fitting.object_views import fit_views, photos_of
from gen3d.pipeline.objects.views import ObjectViews
from gen3d.pipeline.volumes.pool_fit import pool_settings, pool_volume
from gen3d.pipeline.volumes.refine import refined
from gen3d.pipeline.volumes.settings import VolumeSettings
from gen3d.pipeline.volumes.surface import SurfacePoints, surface_volume
from gen3d.pipeline.volumes.transport import organised
from gen3d.priors.volume.volume import COLOR, EMPTY, OPACITY, GaussianVolume
from gen3d.renderers.harmonics import SH0
from gen3d.renderers.rendering import rasterize

Fitter = Callable[[ObjectViews, SurfacePoints, VolumeSettings], GaussianVolume]
LEAST = 0.1  # of a pixel, over all views, that a splat must fill
BEGUN = 0.5  # free splats that a fit begins with, as a share of the nodes
MACHINE = Machine("cpu", 1, "auto")


def from_surface(views: ObjectViews, points: SurfacePoints, settings: VolumeSettings) -> GaussianVolume:
    """Splats that begin at the surface, where they stay."""
    return refined(surface_volume(points, settings.size), views, settings)


def from_pool(views: ObjectViews, points: SurfacePoints, settings: VolumeSettings) -> GaussianVolume:
    """Splats that begin at all nodes, with the candidate pool (GVGEN); those that no view sees become nothing."""
    volume = pool_volume(photos_of(views), pool_settings(settings.size, settings.steps), MACHINE)
    return without_unseen(volume, views)


def from_free(views: ObjectViews, points: SurfacePoints, settings: VolumeSettings) -> GaussianVolume:
    """Free splats, brought to the nodes and within their reach (GaussianCube); those that no view sees become nothing."""
    count = settings.size**3
    splats = fit_views(views, MACHINE, 0, steps=settings.steps, initial=round(BEGUN * count), cap=count)
    return without_unseen(refined(organised(splats, settings.size), views, settings), views)


FITTERS: dict[str, Fitter] = {"surface": from_surface, "pool": from_pool, "transport": from_free}


def without_unseen(volume: GaussianVolume, views: ObjectViews) -> GaussianVolume:
    """The volume of one object with nothing where no view sees a splat."""
    flat = volume.values.flatten(1).clone()
    flat[OPACITY, ~seen(volume, views)] = EMPTY
    return GaussianVolume(flat.reshape(volume.values.shape))


def seen(volume: GaussianVolume, views: ObjectViews) -> Tensor:
    """Which nodes' splats are seen at all, `[n^3]`: the gradient of all pixels by a splat's colour is how many of them it fills."""
    with torch.enable_grad():
        values = volume.values.detach().clone()
        values[COLOR] = 0.0  # grey: where a colour is clamped at black there is no gradient
        values.requires_grad_()
        shown = rasterize(GaussianVolume(values).gaussians(), views.cameras, background=torch.zeros(3))
        (gradient,) = torch.autograd.grad(shown.rgb.sum(), values)
    pixels: Tensor = gradient.flatten(1)[COLOR].mean(0) / SH0
    return pixels > LEAST
