"""Stochastic interpolants: paths between two distributions of data (Albergo et al. 2023), such as degraded and clean renders.

x_t = a x_a + b x_b + gamma z for t from 0 to 1. What must be learned is the drift v = E[a' x_a + b' x_b | x] and the noise E[z | x]. The
noise neither falls nor rises along the way, so that bridges have a loop of their own and no grid of falling noise.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from gen3d.priors.samplers.driver import Noise


@dataclass(frozen=True)
class Bridge:
    """A straight way, a = 1 - t and b = t, with noise gamma = scale sqrt(t (1 - t)) between the ends.

    Attributes:
        scale: of the noise, above 0.
    """

    scale: float = 1.0

    def gamma(self, t: Tensor) -> Tensor:
        """Standard deviation of the noise."""
        return self.scale * (t * (1 - t)).clamp_min(0).sqrt()

    def sample(self, x_a: Tensor, x_b: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """Between pairs `[b, ...]` at times `[b]` in [0, 1]."""
        t = t.reshape(t.shape + (1,) * (x_a.ndim - t.ndim)).to(x_a)
        return (1 - t) * x_a + t * x_b + self.gamma(t) * z

    def losses(self, drift: Tensor, noise: Tensor, x_a: Tensor, x_b: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Quadratic losses whose minima are the drift and the noise; use z and -z together near the ends, where gamma' is large."""
        moved = x_b - x_a
        return (drift.square() / 2 - drift * moved).mean(), (noise.square() / 2 - noise * z).mean()


Field = Callable[[Tensor, float], tuple[Tensor, Tensor]]  # drift v and expected noise at x `[b, ...]` and t


def cross(field: Field, bridge: Bridge, x: Tensor, times: Sequence[float], *, diffusion: float = 0.0, noise: Noise | None = None) -> Tensor:
    """From x_a to x_b: dx = (v + gamma' E[z|x] + diffusion s) dt + sqrt(2 diffusion) dW with the score s = -E[z|x] / gamma.

    Args:
        field: drift and expected noise.
        bridge: that they were learned on.
        x: at the first time `[b, ...]`.
        times: rising, from 0 to 1 or parts of it.
        diffusion: any number from 0; all have the same marginals.
        noise: source of normal numbers.

    Raises:
        ValueError: times do not rise within [0, 1].
    """
    if any(later <= earlier for earlier, later in pairwise(times)) or times[0] < 0 or times[-1] > 1:
        raise ValueError(f"times go from {times[0]:g} to {times[-1]:g}; they must rise within [0, 1]")
    source = noise or (lambda shape: torch.randn(shape, dtype=x.dtype, device=x.device))
    for t, later in pairwise(times):
        drift, expected = field(x, t)
        step, gamma = later - t, bridge.scale * math.sqrt(t * (1 - t))
        # gamma' = scale^2 (1 - 2 t) / (2 gamma): at the ends it is infinite, and the noise expected there 0.
        slope = (bridge.scale**2 * (1 - 2 * t) / 2 - diffusion) / gamma if gamma else 0.0
        x = x + step * (drift + slope * expected)
        if diffusion and gamma:
            x = x + math.sqrt(2 * diffusion * step) * source(x.shape)
    return x
