"""What splats can reach at all: those that are fitted to the true views of an object."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gen3d.pipeline.evaluation.baselines import Bench
from gen3d.pipeline.evaluation.objects_protocol import FOUR, Predicted, Question, chosen
from gen3d.pipeline.fitting.fit import FitJob, fit
from gen3d.pipeline.fitting.initial import initial_gaussians
from gen3d.pipeline.fitting.machine import Machine
from gen3d.pipeline.fitting.object_views import photos_of
from gen3d.pipeline.fitting.settings import DensifySettings, FittingSettings
from gen3d.pipeline.fitting.views import Photo
from gen3d.pipeline.objects.views import ObjectViews
from gen3d.pipeline.progress import Silent
from gen3d.pipeline.scenes.scene import Scene
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.rendering import rasterize

STEPS = 600
INITIAL, CAP = 6_000, 10_000  # splats of an object in pictures of 64 pixels; in larger ones more, in proportion to their side
SIDE = 64


@dataclass(frozen=True, slots=True)
class Fitted:
    """Answers with splats that are fitted to some true views of the object itself.

    Attributes:
        numbers: of the views that they are fitted to; None takes all.
        machine: where they are fitted and drawn.
        seed: of the fit.
    """

    numbers: Sequence[int] | None
    machine: Machine
    seed: int = 0

    def __call__(self, question: Question, truth: ObjectViews) -> Predicted:
        """What the splats look like in the views that are asked for."""
        known = truth if self.numbers is None else chosen(truth, self.numbers)
        splats = fit_views(known, self.machine, self.seed)
        with torch.no_grad():
            drawn = rasterize(splats, question.targets, background=torch.ones(3), backend=self.machine.backend)
        return Predicted(drawn.rgb, drawn.alpha)


def build_all_views(bench: Bench) -> Fitted:
    """Splats fitted to all views, those that are asked for among them."""
    return Fitted(None, Machine(bench.device, 1, bench.backend))


def build_four_views(bench: Bench) -> Fitted:
    """Splats fitted to four views around the object, the given one among them; the other three count among those asked for."""
    return Fitted(FOUR, Machine(bench.device, 1, bench.backend))


def fit_views(views: ObjectViews, machine: Machine, seed: int) -> Gaussians:
    """Splats that look like an object in its views `[v]`, on the CPU."""
    photos = photos_of(views)
    larger = max(1.0, views.rgb.shape[1] / SIDE)
    densify = DensifySettings(cap=round(CAP * larger))
    settings = FittingSettings(
        steps=STEPS, sh_degree=0, half_resolution=0.0, initial_splats=round(INITIAL * larger), densify=densify, checkpoints=0
    )
    scene = Scene(photos, (), None, torch.eye(4, dtype=torch.float64))
    job = FitJob(
        initial=initial_gaussians(scene, count=settings.initial_splats, cap=densify.cap, sh_degree=0, seed=seed),
        photos=[Photo.from_view(view) for view in photos],
        settings=settings,
        steps=STEPS,
        extent=scene.extent,
        seed=seed,
        machine=machine,
    )
    return fit(job, Silent())
