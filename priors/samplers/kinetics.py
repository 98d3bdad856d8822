"""How much a path makes samples move: the kinetic energy of a path from measured loss (Shaul et al. 2023, arXiv 2306.06626)."""

from collections.abc import Callable

import torch
from torch import Tensor

from gen3d.priors.samplers.paths import Path


def kinetic_energy(path: Path, explained: Callable[[Tensor], Tensor], *, power: float = 1.0, nodes: int = 4000) -> float:
    """The mean square of the velocity, summed over a path in unit time, for each dimension of the data; less is easier to follow.

    sigma'^2 + m [alpha'^2 - (1 - s) (alpha' - alpha sigma' / sigma)^2] at every time, with s the share of the data that a denoiser
    explains at that noise: 1 for isolated points, for which a flow's straight lines are best.

    Args:
        path: from clean data to noise.
        explained: sigma / alpha `[n]` to s in [0, 1], 1 - (error of x0) / (mean square of x0), as validation measures it.
        power: m, mean square of the data for each dimension.
        nodes: of the quadrature.
    """
    points = (torch.arange(nodes, dtype=torch.float64) + 0.5) / nodes
    t = path.cleanest + (path.noisiest - path.cleanest) * points
    c = path(t)
    alpha, sigma, dalpha, dsigma = (torch.as_tensor(value, dtype=torch.float64) for value in (c.alpha, c.sigma, c.dalpha, c.dsigma))
    density = dsigma**2 + power * (dalpha**2 - (1 - explained(sigma / alpha)) * (dalpha - alpha * dsigma / sigma) ** 2)
    return float(density.mean() * (path.noisiest - path.cleanest) ** 2)
