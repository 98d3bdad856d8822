"""Where sampling begins, when not with pure noise."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gen3d.priors.samplers.coefficients import Coef
from gen3d.priors.samplers.grids import Grid
from gen3d.priors.samplers.predictions import Denoiser, Prediction


def from_noise(grid: Grid, z: Tensor) -> Tensor:
    """Standard normal z `[b, ...]` as a state at the first node."""
    return (z * grid.coefs[0].like(z).spread).to(z.dtype)


def img2img(grid: Grid, x0: Tensor, z: Tensor, *, strength: float) -> tuple[Tensor, Grid]:
    """A picture that is noised part of the way, and the rest of the grid.

    Args:
        grid: the whole way.
        x0: clean data `[b, ...]`.
        z: standard normal, of the same shape.
        strength: share of the steps that are taken, in (0, 1]; 1 keeps nothing of x0 if the grid begins with pure noise.

    Raises:
        ValueError: the strength is out of range.
    """
    if not 0 < strength <= 1:
        raise ValueError(f"the strength is {strength}; it is the share of the steps that are taken, above 0 and at most 1")
    start = min(len(grid) - 1, round((1 - strength) * len(grid)))
    c = grid.coefs[start].like(x0)
    return (c.alpha * x0 + c.sigma * z).to(x0.dtype), grid.since(start)


def mixed(grid: Grid, x0: Tensor, z: Tensor, fill: Tensor, opacity: Tensor, *, strength: float) -> tuple[Tensor, Grid]:
    """As `img2img`, but x0 counts as much as it is opaque; the rest begins as data of mean zero and variance one.

    Args:
        grid: the whole way.
        x0: rendered views `[b, ...]`.
        z: standard normal, of the same shape.
        fill: standard normal too, what is behind transparent pixels.
        opacity: in [0, 1], broadcast to x0.
        strength: as in `img2img`.
    """
    guess = opacity * x0 + (1 - opacity.square()).clamp_min(0).sqrt() * fill
    return img2img(grid, guess, z, strength=strength)


@dataclass(frozen=True)
class Known:
    """Clean views or pixels that are known: they enter with no more noise than the state has, and x0 shows them as they are.

    Attributes:
        denoiser: of the rest.
        x0: what is known `[b, ...]`.
        mask: 1 where it is known, broadcast to x0.
    """

    denoiser: Denoiser
    x0: Tensor
    mask: Tensor

    def __call__(self, x: Tensor, c: Coef, condition: Any = None) -> Prediction:
        """See `Denoiser`."""
        prediction = self.denoiser(x, c, condition)
        return prediction.at(torch.where(self.mask.to(x.device).expand_as(x).bool(), self.x0.to(x), prediction.x0), c)
