"""Paths from data to noise: what alpha and sigma are at every time. Time falls while sampling, as in diffusers.

After x -> x / alpha all of them have the same probability-flow equation dz / d(sigma / alpha) = eps, so that solvers need to
know nothing of paths (Song et al. 2021; Karras et al. 2022; Lipman et al. 2023 for flow matching).
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from gen3d.priors.samplers.coefficients import Coef, Scalar


class Path(ABC):
    """A Gaussian path x_t = alpha x0 + sigma eps.

    Attributes:
        noisiest: the time that sampling starts from.
        cleanest: the time at which sigma is 0.
    """

    noisiest: float = 1.0
    cleanest: float = 0.0

    @abstractmethod
    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """alpha, sigma and their derivatives at float64 times of any shape."""

    @abstractmethod
    def time_of(self, sb: Tensor) -> Tensor:
        """The time at which sigma / alpha has a value, float64 of any shape."""

    def __call__(self, t: Scalar) -> Coef:
        """The coefficients at a time: floats for a float, float64 tensors for a tensor.

        Raises:
            ValueError: the time is outside the path.
        """
        times = torch.as_tensor(t, dtype=torch.float64).cpu()  # tables are there, and so are grids
        if not bool(((times >= self.cleanest) & (times <= self.noisiest)).all()):
            raise ValueError(f"time {t} is outside the path, which goes from {self.cleanest:g} (data) to {self.noisiest:g} (noise)")
        values = self.coefficients(times)
        if isinstance(t, Tensor):
            return Coef(times, *values)
        return Coef(float(t), *(float(value) for value in values))

    def at(self, sb: Scalar) -> Coef:
        """The coefficients where sigma / alpha has a value.

        Raises:
            ValueError: the path does not have so much noise.
        """
        wanted = torch.as_tensor(sb, dtype=torch.float64).cpu()
        if bool((wanted > self.most * (1 + 1e-6)).any()):
            raise ValueError(f"sigma / alpha = {float(wanted.max()):g} is asked for; this path has at most {self.most:g}")
        times = self.time_of(wanted.clamp(max=self.most)).clamp(self.cleanest, self.noisiest)
        return self(times if isinstance(sb, Tensor) else float(times))

    @property
    def most(self) -> float:
        """Sigma / alpha at the noisy end."""
        return float(self(self.noisiest).sb)

    def noised(self, x0: Tensor, eps: Tensor, t: Scalar) -> Tensor:
        """A sample of the path, in the precision of x0."""
        c = self(t).like(x0)
        return (c.alpha * x0 + c.sigma * eps).to(x0.dtype)


@dataclass(frozen=True)
class Flow(Path):
    """Rectified flow: alpha = 1 - t, sigma = t."""

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See `Path`."""
        return 1 - t, t, -torch.ones_like(t), torch.ones_like(t)

    def time_of(self, sb: Tensor) -> Tensor:
        """See `Path`."""
        return torch.where(sb.isinf(), 1.0, sb / (1 + sb))


@dataclass(frozen=True)
class Cosine(Path):
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2)."""

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See `Path`."""
        angle = math.pi / 2 * t
        alpha = torch.where(t == 1, 0.0, angle.cos())
        return alpha, angle.sin(), -math.pi / 2 * angle.sin(), math.pi / 2 * angle.cos()

    def time_of(self, sb: Tensor) -> Tensor:
        """See `Path`."""
        return 2 / math.pi * sb.atan()


@dataclass(frozen=True)
class EDM(Path):
    """Variance exploding: alpha = 1, sigma = t (Karras et al. 2022).

    Attributes:
        noisiest: largest sigma.
    """

    noisiest: float = 80.0

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See `Path`."""
        return torch.ones_like(t), t, torch.zeros_like(t), torch.ones_like(t)

    def time_of(self, sb: Tensor) -> Tensor:
        """See `Path`."""
        return sb


@dataclass(frozen=True)
class VPLinear(Path):
    """Variance preserving in continuous time with a linear rate (Song et al. 2021): log alpha = -(b1 - b0) t^2 / 4 - b0 t / 2.

    Attributes:
        b0: rate at the data.
        b1: rate at the noise.
    """

    b0: float = 0.1
    b1: float = 20.0

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See `Path`."""
        log_alpha = -(self.b1 - self.b0) / 4 * t.square() - self.b0 / 2 * t
        alpha, sigma = log_alpha.exp(), (-torch.expm1(2 * log_alpha)).sqrt()
        dalpha = -alpha * ((self.b1 - self.b0) / 2 * t + self.b0 / 2)
        return alpha, sigma, dalpha, -alpha * dalpha / sigma

    def time_of(self, sb: Tensor) -> Tensor:
        """See `Path`."""
        fall = sb.clamp(max=1e100).square().log1p() / 2  # -log alpha
        return 2 * fall / (self.b0 / 2 + (self.b0**2 / 4 + (self.b1 - self.b0) * fall).sqrt())


class VPDiscrete(Path):
    """Variance preserving with a table, as networks with integer timesteps are trained: t counts the steps of training.

    Between steps alpha is interpolated geometrically, or linearly where it reaches 0. Step -1 is clean data.

    Args:
        alphas_cumprod: alpha^2 at the steps 0 .. T - 1, falling, in [0, 1); 0 only at the last (zero terminal SNR, Lin et al. 2024).

    Raises:
        ValueError: the table does not fall within [0, 1).
    """

    cleanest = -1.0

    def __init__(self, alphas_cumprod: Tensor) -> None:
        table = torch.as_tensor(alphas_cumprod).detach().to("cpu", torch.float64)
        if table.ndim != 1 or len(table) < 2:
            raise ValueError(f"alphas_cumprod has shape {tuple(table.shape)}; it is a list of at least two numbers")
        if not bool((table < 1).all() and (table >= 0).all() and (table.diff() < 0).all()):
            raise ValueError("alphas_cumprod must fall and stay in [0, 1); are these betas, or alphas before their product?")
        self._alpha = torch.cat([table.new_ones(1), table.sqrt()])
        self._sigma = (1 - self._alpha.square()).sqrt()
        self.noisiest = float(len(table) - 1)

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See `Path`."""
        index = (t + 1).floor().long().clamp(0, len(self._alpha) - 2)
        part = t + 1 - index
        left, right = self._alpha[index], self._alpha[index + 1]
        rate = (right / left).log()
        inside = right > 0
        alpha = torch.where(inside, left * (torch.where(inside, rate, 0.0) * part).exp(), left * (1 - part))
        dalpha = torch.where(inside, alpha * torch.where(inside, rate, 0.0), -left)
        sigma = (1 - alpha.square()).sqrt()
        exact = part == 0  # without the rounding of exp(log(...))
        alpha, sigma = torch.where(exact, left, alpha), torch.where(exact, self._sigma[index], sigma)
        last = t == self.noisiest
        alpha, sigma = torch.where(last, self._alpha[-1], alpha), torch.where(last, self._sigma[-1], sigma)
        return alpha, sigma, dalpha, -alpha * dalpha / sigma

    def time_of(self, sb: Tensor) -> Tensor:
        """See `Path`."""
        alpha = (1 + sb.square()).rsqrt().clamp(max=1.0)
        index = (torch.searchsorted(-self._alpha, -alpha.contiguous(), right=True) - 1).clamp(0, len(self._alpha) - 2)
        left, right = self._alpha[index], self._alpha[index + 1]
        part = torch.where(right > 0, (alpha / left).log() / (right / left).log(), 1 - alpha / left)
        return index + part.clamp(0, 1) - 1


def zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """The table with its last entry moved to 0 and its first kept, the rest of alpha stretched between (Lin et al. 2024, algorithm 1)."""
    alpha = alphas_cumprod.to(torch.float64).sqrt()
    stretched = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
    return stretched.square()
