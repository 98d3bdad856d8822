"""Whether splats look like what was asked for: what the training objects are called that look most alike.

No network here knows both pictures and words. But the training objects have both: a compact description of how each looks (means of
LPIPS features over eight views, reduced to their main axes) stands beside what its name means.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.priors.perceptual import Lpips

AXES = 48  # that descriptions are reduced to
NEIGHBOURS = 8  # objects whose names are asked


@dataclass(frozen=True, slots=True)
class Looks:
    """How training objects look and what they are called.

    Attributes:
        mean: of the descriptions `[d]`.
        axes: their main ones `[d, k]`.
        numbers: of each object along these axes `[n, k]`.
        pooled: what each one's name means, unit vectors of the text encoder `[n, t]`.
    """

    mean: Float[Tensor, " d"]
    axes: Float[Tensor, "d k"]
    numbers: Float[Tensor, "n k"]
    pooled: Float[Tensor, "n t"]

    def agreement(self, description: Float[Tensor, " d"], prompt: Float[Tensor, " t"]) -> float:
        """Mean cosine between a prompt and the names of the objects that look most alike.

        Args:
            description: of what was made.
            prompt: its unit vector of the text encoder.
        """
        distance = (self.numbers - (description - self.mean) @ self.axes).square().sum(1)
        nearest = distance.topk(min(NEIGHBOURS, len(distance)), largest=False).indices
        return float((self.pooled[nearest] @ prompt.to(self.pooled)).mean())


def described(lpips: Lpips, views: Float[Tensor, "v h w 3"]) -> Float[Tensor, " d"]:
    """Means over views and pixels of the features that LPIPS compares."""
    with torch.no_grad():
        return torch.cat([layer.mean((0, 2, 3)) for layer in lpips.features(views)])


def looks_of(descriptions: Sequence[Float[Tensor, " d"]], pooled: Float[Tensor, "n t"]) -> Looks:
    """The looks of a library, of the descriptions of its objects and what their names mean."""
    rows = torch.stack(list(descriptions))
    mean = rows.mean(0)
    _, spread, axes = torch.linalg.svd(rows - mean, full_matrices=False)
    count = min(AXES, int((spread > 1e-6 * spread[0]).sum()))
    return Looks(mean, axes[:count].T, (rows - mean) @ axes[:count].T, pooled)
