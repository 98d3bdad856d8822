"""The PCA-locality denoiser: data are compared around each pixel, as far as their statistics reach (Lukoianov et al. 2025, 2509.09672).

It puts together what no single datum has, without weights. Every pixel is compared through a mask of all others, so that it suits
events of a few thousand numbers.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.priors.samplers.analytic import Gaussian, Running
from gen3d.priors.samplers.coefficients import Coef
from gen3d.priors.samplers.predictions import Prediction, implied_eps


@dataclass(frozen=True)
class Local:
    """Each element is a mean of the data, weighted by how well they fit the state where its mask is.

    Attributes:
        data: `[n, ...]`.
        statistics: of the data, from `teleporting.Statistics`; its components say what belongs together.
        threshold: a pixel counts for another if the Wiener filter moves that by at least this share of what its own pixel does; 0.02
            suits faces and animals of 64 pixels, 0 compares whole events, as `Points` does.
        chunk: how many data are compared at once; the result does not depend on it.
    """

    data: Tensor
    statistics: Gaussian
    threshold: float = 0.02
    chunk: int = 64

    def __call__(self, x: Tensor, c: Coef, condition: Any = None) -> Prediction:
        """The mean of the data that a state can come from, element by element; one time for all samples. See `Denoiser`."""
        flat, mask = x.flatten(1), self.mask(c).to(x)
        alpha, sigma = float(c.alpha), float(c.sigma)
        running = Running(torch.zeros_like(flat), flat)
        for some in self.data.to(x).flatten(1).split(self.chunk):
            apart = (flat[:, None] - alpha * some).square()
            running.add(-(apart @ mask.mT) / (2 * sigma**2), some.expand(len(x), -1, -1))
        x0 = running.mean().reshape(x.shape)
        return Prediction(x0, implied_eps(x, x0, c))

    def mask(self, c: Coef) -> Float[Tensor, "d d"]:
        """For each element, 1 at those that it is compared by: more and more of them the more noise there is."""
        g = self.statistics
        along, rest = _shrink(g.variances, c), _shrink(torch.tensor(g.rest, dtype=g.variances.dtype), c)
        smoother = (g.basis * (along - rest)) @ g.basis.mT + rest * torch.eye(len(g.mean)).to(g.basis)
        own = smoother.diagonal()[:, None]
        return ((smoother.abs() >= self.threshold * own) & (own > 0) | torch.eye(len(own), dtype=torch.bool)).to(g.basis.dtype)


def _shrink(variance: Tensor, c: Coef) -> Tensor:
    """Of a Wiener filter along one direction, up to a common factor that keeps it finite at pure noise."""
    return variance / (float(c.alpha) ** 2 * variance + float(c.sigma) ** 2)
