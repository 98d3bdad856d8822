"""What a denoiser is trained on: times, weights of the error at each, and the errors that were measured.

Weights apply to the squared error of x0, so that they mean the same whatever a network predicts.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.priors.samplers.coefficients import Coef, Scalar
from gen3d.priors.samplers.paths import Path

Times = Callable[[Path, Float[Tensor, " b"]], Float[Tensor, " b"]]  # numbers in [0, 1), float64, to times of a path
Weight = Callable[[Coef], Scalar]


def stratified(count: int, generator: torch.Generator | None = None) -> Float[Tensor, " count"]:
    """Numbers in [0, 1), one in each of `count` equal parts in random order: less noise in the loss than independent ones."""
    place = torch.rand(count, generator=generator, dtype=torch.float64)
    return (torch.randperm(count, generator=generator) + place) / count


def uniform_times(path: Path, u: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """All times alike."""
    return path.cleanest + (path.noisiest - path.cleanest) * u


def logit_normal(mean: float = 0.0, deviation: float = 1.0) -> Times:
    """log(sigma / alpha) is normal: of a flow logit(t), of SD3 (Esser et al. 2024); (-1.2, 1.2) is EDM's choice (Karras et al. 2022)."""
    return lambda path, u: path.time_of((mean + deviation * torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6))).exp()).clamp(
        path.cleanest, path.noisiest
    )


def shifted(shift: float) -> Times:
    """Times of a flow, moved to the noise as for sampling: t -> s t / (1 + (s - 1) t)."""
    return lambda path, u: shift * u / (1 + (shift - 1) * u)


def uniform(c: Coef) -> Scalar:
    """Weight 1: the error of x0 as it is."""
    return 1.0


def snr(c: Coef) -> Scalar:
    """(alpha / sigma)^2: the error of eps."""
    return (c.alpha / c.sigma) ** 2


def min_snr(most: float = 5.0) -> Weight:
    """min(SNR, most) (Hang et al. 2023)."""

    def weight(c: Coef) -> Scalar:
        value = snr(c)
        return value.clamp(max=most) if isinstance(value, Tensor) else min(value, most)

    return weight


def velocity(c: Coef) -> Scalar:
    """(alpha' - alpha sigma' / sigma)^2: the error of the path's own velocity, a flow's 1 / t^2."""
    return (c.dalpha - c.alpha * c.dsigma / c.sigma) ** 2


def v_weight(c: Coef) -> Scalar:
    """((alpha^2 + sigma^2) / sigma)^2: the error of v = alpha eps - sigma x0; SNR + 1 where variance is preserved."""
    return (c.spread**2 / c.sigma) ** 2


WEIGHTS: dict[str, Weight] = {"uniform": uniform, "snr": snr, "min_snr": min_snr(), "velocity": velocity, "v": v_weight}


def denoising_loss(predicted: Tensor, x0: Tensor, c: Coef, weight: Weight = uniform) -> Float[Tensor, " b"]:
    """The weighted mean squared error of each sample, in float32 at least.

    Args:
        predicted: x0 of a denoiser `[b, ...]`.
        x0: clean data `[b, ...]`.
        c: coefficients of the noised data; sigma above 0.
        weight: of this noise; see `WEIGHTS`.
    """
    wide = torch.promote_types(predicted.dtype, torch.float32)
    factor = torch.as_tensor(weight(c.like(predicted)), dtype=torch.float64).to(predicted.device, wide)
    return (factor * (predicted.to(wide) - x0.to(wide)).square()).flatten(1).mean(1)


class NoiseBins:
    """Mean error of x0 at each level of noise: what training logs, and what kinetic energies are computed from.

    Args:
        edges: of log10(sigma / alpha), rising; errors outside count in the first or last bin.
    """

    def __init__(self, edges: Float[Tensor, " n"] | None = None) -> None:
        self.edges = torch.linspace(-2, 2, 9, dtype=torch.float64) if edges is None else edges.double()
        self.counts = torch.zeros(len(self.edges) - 1, dtype=torch.float64)
        self.sums = torch.zeros_like(self.counts)

    def add(self, c: Coef, error: Float[Tensor, " b"]) -> None:
        """Unweighted errors of samples with times of their own, `denoising_loss(...)`."""
        level = torch.as_tensor(c.sb, dtype=torch.float64).cpu().log10().expand(len(error))
        place = (torch.searchsorted(self.edges, level, right=True) - 1).clamp(0, len(self.counts) - 1)
        self.counts.index_add_(0, place, torch.ones_like(level))
        self.sums.index_add_(0, place, error.detach().double().cpu())

    def means(self) -> Float[Tensor, " m"]:
        """Of each bin; NaN where nothing was added."""
        return self.sums / self.counts

    def explained(self, power: float) -> Callable[[Tensor], Tensor]:
        """The share of the data that the denoiser explains at sigma / alpha `[n]`, for `kinetic_energy`.

        Args:
            power: mean square of the data.

        Raises:
            ValueError: fewer than two bins have errors.
        """
        seen = self.counts > 0
        if int(seen.sum()) < 2:
            raise ValueError(f"{int(seen.sum())} bins have errors; at least two levels of noise are needed to tell between")
        places, missing = ((self.edges[1:] + self.edges[:-1]) / 2)[seen], (self.means()[seen] / power).log10()

        def between(sb: Tensor) -> Tensor:
            level = sb.log10()
            right = torch.searchsorted(places, level).clamp(1, len(places) - 1)
            part = ((level - places[right - 1]) / (places[right] - places[right - 1])).clamp(0, 1)
            below = 2 * (level - places[0]).clamp(max=0)  # errors fall with the square of little noise
            return 1 - (10 ** (torch.lerp(missing[right - 1], missing[right], part) + below)).clamp(max=1)

        return between
