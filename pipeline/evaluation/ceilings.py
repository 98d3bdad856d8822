"""What splats can reach at all: those that are fitted to the true views of an object."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.pipeline.evaluation.baselines import Bench, Informed
from gen3d.pipeline.evaluation.objects_protocol import FOUR, Predicted, Question, chosen
from gen3d.pipeline.fitting.machine import Machine
from gen3d.pipeline.fitting.object_views import fit_views
from gen3d.pipeline.objects.views import ObjectViews
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.harmonics import sh0_to_rgb
from gen3d.renderers.rendering import rasterize

STEPS = 600
INITIAL, CAP = 6_000, 10_000  # splats of an object in pictures of 64 pixels; in larger ones more, in proportion to their side
SIDE = 64
VISIBLE = 0.05  # pixels that a splat fills


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
        return self.drawn(self.splats(truth), question.targets)

    def splats(self, truth: ObjectViews) -> Gaussians:
        """Those that are fitted to what may be known of all true views."""
        known = truth if self.numbers is None else chosen(truth, self.numbers)
        larger = max(1.0, known.rgb.shape[1] / SIDE)
        return fit_views(known, self.machine, self.seed, steps=STEPS, initial=round(INITIAL * larger), cap=round(CAP * larger))

    def drawn(self, splats: Gaussians, cameras: Cameras) -> Predicted:
        """What splats look like over white."""
        with torch.no_grad():
            shown = rasterize(splats, cameras, background=torch.ones(3), backend=self.machine.backend)
        return Predicted(shown.rgb, shown.alpha)


@dataclass(frozen=True, slots=True)
class Seen:
    """Answers with those splats of a fit to all true views that the given view shows: all that one picture tells, in its true place.

    Attributes:
        fitted: to all views.
    """

    fitted: Fitted

    def __call__(self, question: Question, truth: ObjectViews) -> Predicted:
        """What these look like in the views that are asked for."""
        splats = self.fitted.splats(truth)
        kept = shares(splats, question.given.cameras, self.fitted.machine.backend) > VISIBLE
        return self.fitted.drawn(splats.select(kept), question.targets)


def shares(splats: Gaussians, cameras: Cameras, backend: str = "auto") -> Float[Tensor, " n"]:
    """How many pixels each splat fills in all, behind what is in front of it: the gradient of the brightness by its colour."""
    grey = torch.zeros_like(splats.sh).requires_grad_()  # black ones, at which colours are cut off, would have none
    (gradient,) = torch.autograd.grad(rasterize(replace(splats, sh=grey), cameras, backend=backend).rgb.sum(), grey)
    return gradient[:, 0].mean(-1) / (sh0_to_rgb(torch.ones(1)) - 0.5)


def build_all_views(bench: Bench) -> Informed:
    """Splats fitted to all views, those that are asked for among them."""
    return _fitted(None, bench)


def build_four_views(bench: Bench) -> Informed:
    """Splats fitted to four views around the object, the given one among them; the other three count among those asked for."""
    return _fitted(FOUR, bench)


def build_given_view(bench: Bench) -> Informed:
    """See `Seen`."""
    return Informed(Seen(Fitted(None, Machine(bench.device, 1, bench.backend))), {"splats": "that the given view shows", "steps": STEPS})


def _fitted(numbers: Sequence[int] | None, bench: Bench) -> Informed:
    return Informed(Fitted(numbers, Machine(bench.device, 1, bench.backend)), {"fitted to": numbers or "all views", "steps": STEPS})
