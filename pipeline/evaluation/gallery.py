"""Training objects to compare a picture with: found by pixels, by silhouette or by deep features, and brought to its colours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gen3d.pipeline.evaluation.objects_protocol import ObjectsProtocol, Predicted, chosen, over_white
from gen3d.pipeline.objects.object_set import ObjectSet
from gen3d.pipeline.objects.views import ObjectViews
from gen3d.pipeline.progress import Progress
from gen3d.priors.perceptual import Lpips

SIDE = 64  # pixels of the pictures that are compared; larger ones are reduced
FLAT = 1e-3  # deviations of colours that are this small say nothing about contrast
BATCH = 64  # pictures that go through a network at once
Describe = Callable[[ObjectViews], Float[Tensor, "n d"]]  # of every view; objects are alike whose numbers are near by squared distance


@dataclass(frozen=True, slots=True)
class Gallery:
    """Objects whose every view of a protocol is known.

    Attributes:
        objects: their pictures.
        fronts: what each shows in the view that is given `[n]`, at most 64 pixels wide.
        mean: of every view over all objects `[v]`.
    """

    objects: ObjectSet
    fronts: ObjectViews
    mean: Predicted


@dataclass(frozen=True, slots=True)
class Keys:
    """What objects look like, ready to be searched.

    Attributes:
        numbers: a row for each object.
        lengths: of the rows, squared.
    """

    numbers: Float[Tensor, "n d"]
    lengths: Float[Tensor, " n"]


def keys_of(numbers: Float[Tensor, "n d"]) -> Keys:
    """The rows and their lengths."""
    return Keys(numbers, torch.einsum("nd,nd->n", numbers, numbers))


def gallery_of(objects: ObjectSet, protocol: ObjectsProtocol, progress: Progress) -> Gallery:
    """Read every picture of a set once."""
    fronts, total = [], None
    progress.start("read training pictures", len(objects))
    for number, views in enumerate(objects):
        fronts.append(reduced(chosen(views, protocol.given[:1])))
        seen = over_white(views)
        both = torch.cat([seen.rgb, seen.alpha[..., None]], -1).double()
        total = both if total is None else total.add_(both)
        progress.advance(number + 1)
    progress.finish()
    if total is None:
        raise ValueError("the set has no objects; give at least one")
    mean = (total / len(fronts)).float()
    rgb, alpha = (torch.cat([getattr(front, name) for front in fronts]) for name in ("rgb", "alpha"))
    return Gallery(objects, ObjectViews(fronts[0].cameras, rgb, alpha), Predicted(mean[..., :3], mean[..., 3]))


def reduced(views: ObjectViews) -> ObjectViews:
    """The views at no more than 64 pixels, each the mean of the area that it covers."""
    if views.rgb.shape[1] <= SIDE:
        return views
    alpha = views.alpha[..., None]
    both = torch.cat([views.rgb * alpha, alpha], -1).movedim(-1, 1)
    rgb, alpha = torch.nn.functional.interpolate(both, (SIDE, SIDE), mode="area").movedim(1, -1).split([3, 1], -1)
    return ObjectViews(views.cameras.resized(SIDE, SIDE), rgb / alpha.clamp_min(1e-6), alpha[..., 0])


def pixels(views: ObjectViews) -> Float[Tensor, "n d"]:
    """Colours over white."""
    return views.over(torch.ones(3)).flatten(1)


def silhouettes(views: ObjectViews) -> Float[Tensor, "n d"]:
    """Coverage."""
    return views.alpha.flatten(1)


def features(lpips: Lpips) -> Describe:
    """Deep features whose squared distance is LPIPS."""
    parts = [lpips.heads[index].clamp_min(0).sqrt()[:, None, None] for index in range(len(lpips.heads))]

    @torch.no_grad()
    def describe(views: ObjectViews) -> Float[Tensor, "n d"]:
        rows = []
        for batch in views.over(torch.ones(3)).split(BATCH):
            layers = lpips.features(batch.to(parts[0]))
            weighed = [(layer * part / layer[0, 0].numel() ** 0.5).flatten(1) for layer, part in zip(layers, parts, strict=True)]
            rows.append(torch.cat(weighed, 1).cpu())
        return torch.cat(rows)

    return describe


def nearest(query: Float[Tensor, " d"], keys: Keys, count: int, allowed: Bool[Tensor, " n"] | None = None) -> list[int]:
    """Numbers of the nearest keys by squared distance, the nearest first; of equal ones the lower number.

    Args:
        query: what is looked for.
        keys: where it is looked for.
        count: how many are wanted; fewer come where fewer are allowed.
        allowed: keys that count; None lets all count.
    """
    distance = keys.lengths - 2 * (keys.numbers @ query)
    if allowed is not None:
        distance = distance.masked_fill(~allowed, torch.inf)
        count = min(count, int(allowed.sum()))
    return distance.argsort(stable=True)[:count].tolist()


def recoloured(views: ObjectViews, reference: ObjectViews, given: ObjectViews) -> ObjectViews:
    """Views of an object in the colours of another one.

    Each channel is shifted and its contrast scaled, never up, so that over the object the mean and the deviation of the reference
    become those of the given picture (Reinhard et al. 2001, in sRGB). Never up, because on training objects that was better.

    Args:
        views: to be recoloured `[v]`.
        reference: the same object as it was compared `[1]`.
        given: the picture that it was compared with `[1]`.
    """
    mean, deviation = _colors(reference)
    wanted, spread = _colors(given)
    contrast = ((spread + FLAT) / (deviation + FLAT)).clamp_max(1)
    return replace(views, rgb=((views.rgb - mean) * contrast + wanted).clamp(0, 1))


def mean_answer(answers: Sequence[Predicted]) -> Predicted:
    """The mean of answers to one question."""
    return Predicted(torch.stack([each.rgb for each in answers]).mean(0), torch.stack([each.alpha for each in answers]).mean(0))


def _colors(view: ObjectViews) -> tuple[Float[Tensor, " 3"], Float[Tensor, " 3"]]:
    """Mean and deviation of the colours of an object; those of white where nothing is seen of it."""
    weight = view.alpha[..., None]
    total = weight.sum()
    if not float(total) > 0:
        return torch.ones(3), torch.zeros(3)
    mean = (weight * view.rgb).sum((0, 1, 2)) / total
    return mean, ((weight * (view.rgb - mean).square()).sum((0, 1, 2)) / total).sqrt()
