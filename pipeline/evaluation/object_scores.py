"""How near answers are to the truth, view by view: PSNR, SSIM, LPIPS and the overlap of silhouettes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gen3d.pipeline.evaluation.objects_protocol import Predicted
from gen3d.priors.perceptual import Lpips
from gen3d.renderers.similarity import ssim_map

CAP = 40.0  # dB that a view counts at most: one test object is all white, and a white answer would be infinitely good
METRICS = ("psnr", "psnr_union", "ssim", "lpips_alex", "lpips_vgg", "iou")
LOWER_IS_BETTER = frozenset({"lpips_alex", "lpips_vgg"})


@dataclass(frozen=True, slots=True)
class ObjectScores:
    """The figures of one answer.

    Attributes:
        id: of the object.
        tier: of the object.
        figures: by metric, one for each view that was asked for; LPIPS only where it was measured.
        seconds: that the method took.
    """

    id: str
    tier: str
    figures: Mapping[str, tuple[float, ...]]
    seconds: float

    def mean(self, metric: str) -> float:
        """Over the views."""
        values = self.figures[metric]
        return sum(values) / len(values)


@torch.no_grad()
def score(answers: Sequence[Predicted], truth: Predicted, networks: Mapping[str, Lpips]) -> list[dict[str, tuple[float, ...]]]:
    """The figures of several answers to one question.

    Args:
        answers: of views `[t]`.
        truth: the same views as they are.
        networks: of LPIPS by name, alex or vgg; the truth goes through each of them once.
    """
    clamped = [Predicted(each.rgb.float().clamp(0, 1).cpu(), each.alpha.float().cpu()) for each in answers]
    figures: list[dict[str, Float[Tensor, " t"]]] = [
        {
            "psnr": psnr_of(each.rgb, truth.rgb),
            "psnr_union": psnr_of(each.rgb, truth.rgb, union_of(each.alpha, truth.alpha)),
            "ssim": ssim_map(each.rgb.double(), truth.rgb.double(), padding=0).mean((1, 2, 3)),
            "iou": iou_of(each.alpha, truth.alpha),
        }
        for each in clamped
    ]
    for net, network in networks.items():
        distances = perceptual(network, [each.rgb for each in clamped], truth.rgb)
        for each, distance in zip(figures, distances, strict=True):
            each[f"lpips_{net}"] = distance
    return [{name: tuple(each[name].tolist()) for name in METRICS if name in each} for each in figures]


def psnr_of(
    images: Float[Tensor, "t h w 3"], truth: Float[Tensor, "t h w 3"], counts: Bool[Tensor, "t h w"] | None = None
) -> Float[Tensor, " t"]:
    """PSNR of each view in decibels, at most 40, over the pixels that count; 40 where none does."""
    error = (images.double() - truth.double()).square().mean(-1)
    counted = torch.ones_like(error, dtype=torch.bool) if counts is None else counts
    mean = (error * counted).sum((-2, -1)) / counted.sum((-2, -1)).clamp_min(1)
    return decibels(mean)


def decibels(error: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """PSNR of mean squared errors of pictures in [0, 1], at most 40."""
    return (-10 * error.clamp_min(1e-12).log10()).clamp_max(CAP)


def union_of(alpha: Float[Tensor, "t h w"], truth: Float[Tensor, "t h w"]) -> Bool[Tensor, "t h w"]:
    """Pixels where the object is, or is said to be: white around it would otherwise flatter every answer."""
    return (alpha > 0.5) | (truth > 0.5)


def iou_of(alpha: Float[Tensor, "t h w"], truth: Float[Tensor, "t h w"]) -> Float[Tensor, " t"]:
    """Intersection over union of the silhouettes of each view; 1 where both are empty."""
    union = union_of(alpha, truth).sum((-2, -1)).double()
    both = ((alpha > 0.5) & (truth > 0.5)).sum((-2, -1)).double()
    return torch.where(union > 0, both / union.clamp_min(1), 1.0)


def perceptual(network: Lpips, images: Sequence[Float[Tensor, "t h w 3"]], truth: Float[Tensor, "t h w 3"]) -> list[Float[Tensor, " t"]]:
    """LPIPS of several answers."""
    weight = network.heads[0]
    layers, distances = network.features(truth.to(weight)), []
    for each in images:
        total = weight.new_zeros(len(truth))
        for mine, its, head in zip(network.features(each.to(weight)), layers, network.heads, strict=True):
            total = total + torch.einsum("bchw,c->b", (mine - its).square(), head) / mine[0, 0].numel()
        distances.append(total.cpu())
    return distances
