"""Between two objects: inversion to noise, and NoiseDiffusion's correction of what lies between (Zheng et al. 2024)."""

import math
from typing import Any

import torch
from torch import Tensor

from gen3d.priors.samplers.coefficients import Coef, everywhere
from gen3d.priors.samplers.grids import Grid
from gen3d.priors.samplers.predictions import Denoiser


def invert(denoiser: Denoiser, grid: Grid, x0: Tensor, condition: Any = None, *, rounds: int = 3) -> Tensor:
    """The state at the first node from which DDIM on this grid comes to x0.

    Each step solves DDIM's own step backwards by fixed-point iteration; with one round it is the usual approximate inversion.

    Args:
        denoiser: without strong guidance, or the iteration does not converge.
        grid: down to clean data or nearly; the first node with alpha above 0.
        x0: clean data `[b, ...]`.
        condition: of the denoiser.
        rounds: evaluations for each step.

    Raises:
        ValueError: the grid begins with pure noise, which everything comes from.
    """
    if everywhere(grid.coefs[0].alpha == 0):
        raise ValueError("the grid begins with pure noise, which all data come from alike; begin it later, flow_shift(first=0.98)")
    last = grid.coefs[-1].like(x0)
    x = last.alpha * x0
    for i in reversed(range(len(grid))):
        c, d = grid.coefs[i].like(x0), grid.coefs[i + 1].like(x0)
        guess = x * (c.alpha / d.alpha)
        for _ in range(rounds):
            eps = denoiser(guess, grid.coefs[i], condition).eps
            guess = c.alpha * (x - d.sigma * eps) / d.alpha + c.sigma * eps
        x = guess
    return x


def noise_diffusion(
    first: tuple[Tensor, Tensor],
    second: tuple[Tensor, Tensor],
    z: Tensor,
    c: Coef,
    fraction: float,
    *,
    fresh: float = 0.0,
    total: float = 1.2,
    clip: float = 2.0,
) -> Tensor:
    """A state between two inverted ones: x = alpha (mu x1 + nu x2) + sigma (a e1 + b e2 + g z), whose noise has variance one.

    Args:
        first: clean data and its inversion to c `[b, ...]`.
        second: the same of the other.
        z: standard normal.
        c: how noisy; sigma / alpha from 1 to 3 for data of unit variance.
        fraction: 0 is the first, 1 the second.
        fresh: g, share of new noise, in [0, 1).
        total: mu + nu; they are in proportion to a and b.
        clip: states of data of unit variance are kept within this many standard deviations; infinite for never.
    """
    kept = math.sqrt(1 - fresh**2)
    a, b = kept * math.cos(math.pi / 2 * fraction), kept * math.sin(math.pi / 2 * fraction)
    mu, nu = total * a / (a + b), total * b / (a + b)
    k = c.like(z)
    limit = torch.as_tensor(clip * k.spread, dtype=torch.float64).to(z)
    (x1, noisy1), (x2, noisy2) = first, second
    mixed = a * noisy1.clamp(-limit, limit) + b * noisy2.clamp(-limit, limit) + fresh * k.sigma * z
    return (mixed + (mu - a) * k.alpha * x1 + (nu - b) * k.alpha * x2).clamp(-limit, limit)
