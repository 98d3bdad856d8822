"""What splats can reach at all: those that are fitted to the true views of an object."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gen3d.pipeline.evaluation.baselines import Bench
from gen3d.pipeline.evaluation.objects_protocol import FOUR, Predicted, Question, chosen
from gen3d.pipeline.fitting.machine import Machine
from gen3d.pipeline.fitting.object_views import fit_views
from gen3d.pipeline.objects.views import ObjectViews
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
        larger = max(1.0, known.rgb.shape[1] / SIDE)
        splats = fit_views(known, self.machine, self.seed, steps=STEPS, initial=round(INITIAL * larger), cap=round(CAP * larger))
        with torch.no_grad():
            drawn = rasterize(splats, question.targets, background=torch.ones(3), backend=self.machine.backend)
        return Predicted(drawn.rgb, drawn.alpha)


def build_all_views(bench: Bench) -> Fitted:
    """Splats fitted to all views, those that are asked for among them."""
    return Fitted(None, Machine(bench.device, 1, bench.backend))


def build_four_views(bench: Bench) -> Fitted:
    """Splats fitted to four views around the object, the given one among them; the other three count among those asked for."""
    return Fitted(FOUR, Machine(bench.device, 1, bench.backend))
