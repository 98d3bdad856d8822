"""Rendered views of an object as photos, and free splats that are fitted to them."""

import torch

from gen3d.pipeline.fitting.fit import FitJob, fit
from gen3d.pipeline.fitting.initial import initial_gaussians
from gen3d.pipeline.fitting.machine import Machine
from gen3d.pipeline.fitting.settings import DensifySettings, FittingSettings
from gen3d.pipeline.fitting.views import Photo
from gen3d.pipeline.formats.images import to_uint8
from gen3d.pipeline.objects.views import ObjectViews
from gen3d.pipeline.progress import Silent
from gen3d.pipeline.scenes.scene import Scene, View
from gen3d.renderers.gaussians import Gaussians


def photos_of(views: ObjectViews) -> tuple[View, ...]:
    """A photo for each view `[v]`, cut out."""
    return tuple(
        View(f"{number}.png", to_uint8(views.rgb[number]), to_uint8(views.alpha[number]), None, views.cameras.select([number]))
        for number in range(len(views.rgb))
    )


def fit_views(views: ObjectViews, machine: Machine, seed: int, *, steps: int, initial: int, cap: int) -> Gaussians:
    """Splats of degree 0 that look like an object in its views `[v]`, on the CPU.

    Args:
        views: of one object.
        machine: where they are fitted.
        seed: of the fit.
        steps: of it.
        initial: splats that it begins with.
        cap: splats that it ends with at most.
    """
    photos, densify = photos_of(views), DensifySettings(cap=cap)
    settings = FittingSettings(steps=steps, sh_degree=0, half_resolution=0.0, initial_splats=initial, densify=densify, checkpoints=0)
    scene = Scene(photos, (), None, torch.eye(4, dtype=torch.float64))
    job = FitJob(
        initial=initial_gaussians(scene, count=initial, cap=cap, sh_degree=0, seed=seed),
        photos=[Photo.from_view(view) for view in photos],
        settings=settings,
        steps=steps,
        extent=scene.extent,
        seed=seed,
        machine=machine,
    )
    return fit(job, Silent())
