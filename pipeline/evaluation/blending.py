"""The best answer known without learning: a blend of the given picture and of training objects with a similar silhouette."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.pipeline.evaluation.baselines import Bench, Entrant, copy, several
from gen3d.pipeline.evaluation.object_scores import psnr_of
from gen3d.pipeline.evaluation.objects_protocol import Predicted, Question, chosen, over_white, question_of
from gen3d.pipeline.objects.holdout import split_off

STEPS = 20  # weights that are tried are multiples of 1 / 20


def build_blend(bench: Bench) -> Entrant:
    """A blend of the copy and of the four nearest by silhouette, with a weight for each view.

    The weights are those with the highest PSNR on training objects that are held out. These may not answer with each other, nor
    with objects of their own name: near-duplicates never stand on both sides of the split that the test objects come from.
    """
    copied_share = choose_weights(bench)
    neighbours = several(bench)

    def answer(question: Question) -> Predicted:
        return blended(copy(question), neighbours(question), copied_share)

    return Entrant(answer, {"share of the copy": copied_share, "holdout": bench.settings.holdout})


def choose_weights(bench: Bench) -> list[float]:
    """The share of the copy in each view that is asked for."""
    gallery, neighbours = bench.gallery, several(bench)
    training, kept = split_off(gallery.objects, bench.settings.holdout)
    free, total = {record.id for record in training.records}, None
    for number, record in enumerate(kept.records):
        allowed = torch.tensor([each.id in free and each.name != record.name for each in gallery.objects.records])
        if not bool(allowed.any()):
            continue
        views = kept.read(number)
        question = question_of(views, bench.protocol)
        scores = scores_of_blends(copy(question), neighbours(question, allowed), over_white(chosen(views, bench.protocol.targets)))
        total = scores if total is None else total + scores
    if total is None:
        raise UsageError(
            f"the setting holdout is {bench.settings.holdout} and leaves none of {len(gallery.objects)} training objects; lower it"
        )
    return [number / STEPS for number in total.argmax(0).tolist()]


def scores_of_blends(copied: Predicted, found: Predicted, truth: Predicted) -> Float[Tensor, "w t"]:
    """PSNR of each view with each weight of the copy, 0 first."""
    weights = torch.arange(STEPS + 1)[:, None, None, None, None] / STEPS
    rgb = torch.lerp(found.rgb, copied.rgb, weights)
    return torch.stack([psnr_of(each, truth.rgb) for each in rgb])


def blended(copied: Predicted, found: Predicted, shares: Sequence[float]) -> Predicted:
    """The mean of two answers, with the share of the first in each view."""
    weight = torch.tensor(shares)[:, None, None]
    return Predicted(torch.lerp(found.rgb, copied.rgb, weight[..., None]), torch.lerp(found.alpha, copied.alpha, weight))
