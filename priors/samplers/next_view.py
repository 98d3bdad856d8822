"""Which view to take next: where the hypotheses of a scene disagree most (after Nguyen et al. 2024, arXiv 2406.14388)."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor


def disagreement(
    renders: Float[Tensor, "p n c h w"],
    *,
    noise_std: float = 0.05,
    patch: int = 1,
    kind: Literal["entropy", "variance"] = "entropy",
    weight: Float[Tensor, "n h w"] | None = None,
) -> Float[Tensor, " n"]:
    """How much each candidate view would tell.

    The entropy is that of a mixture of the hypotheses, each with the noise of a picture, taken for every patch by itself and
    summed: over whole pictures all distances exceed the noise, and every view would score log p. exp(-d^2), not exp(+d^2): two groups
    of hypotheses count more than one outlier.

    Args:
        renders: hypotheses `p` of candidate views `n`.
        noise_std: of a picture's values.
        patch: pixels along a patch; sides must be multiples.
        kind: entropy, or the variance, which needs no noise and cannot tell two groups from an outlier.
        weight: of pixels, for example mean opacity.

    Raises:
        ValueError: the patch does not divide the pictures, or the noise is not above 0.
    """
    p, n, channels, h, w = renders.shape
    if h % patch or w % patch:
        raise ValueError(f"patches of {patch} pixels do not divide pictures of {w} x {h}; choose a divisor of both")
    if not noise_std > 0:
        raise ValueError(f"the noise is {noise_std}; it must be above 0")
    parts = renders.reshape(p, n, channels, h // patch, patch, w // patch, patch).permute(1, 3, 5, 0, 2, 4, 6).flatten(4)
    score = torch.stack([_of_patches(view.double(), noise_std, kind) for view in parts])
    if weight is not None:
        score = score * weight.reshape(n, h // patch, patch, w // patch, patch).mean((2, 4))
    return score.sum((1, 2))


def _of_patches(parts: Float[Tensor, "h w p d"], noise_std: float, kind: str) -> Float[Tensor, "h w"]:
    """The score of every patch of one view."""
    if kind == "variance":
        return parts.var(2, unbiased=False).sum(-1)
    distance = torch.cdist(parts, parts, compute_mode="donot_use_mm_for_euclid_dist").square()
    return math.log(parts.shape[2]) - torch.logsumexp(-distance / (4 * noise_std**2), -1).mean(-1)


def next_views(
    scores: Float[Tensor, " n"],
    directions: Float[Tensor, "n 3"],
    count: int,
    *,
    apart: float = 20.0,
    cost: Float[Tensor, " n"] | None = None,
) -> list[int]:
    """The best views one after the other, none within an angle of one that was chosen before.

    Args:
        scores: of `disagreement`.
        directions: unit vectors in which cameras look or lie.
        count: at most so many.
        apart: degrees.
        cost: subtracted from scores, for example of moving a camera.
    """
    left = (scores if cost is None else scores - cost).clone().double()
    chosen: list[int] = []
    for _ in range(count):
        best = int(left.argmax())
        if not bool(left[best] > -torch.inf):
            break
        chosen.append(best)
        left[directions @ directions[best] > torch.cos(torch.deg2rad(torch.tensor(apart))).to(directions)] = -torch.inf
        left[best] = -torch.inf
    return chosen
