"""Probes: what the way of a sample says of it.

Hallucinations lie between the modes of the data, where the expected clean data change with a little noise (Aithal et al. 2024). On
the way of a sampler of few steps that is not seen; noising the result a little again shows it for any sampler.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.priors.samplers.coefficients import largest
from gen3d.priors.samplers.driver import Moment, Noise
from gen3d.priors.samplers.paths import Path
from gen3d.priors.samplers.predictions import Denoiser

FEWEST = 6  # predictions that have a variance worth the name


class TrajectoryVariance:
    """Variance of x0 over the last evaluations, those with little noise; for stochastic solvers of many steps.

    Args:
        below: sigma / alpha from which on predictions count; about three times the deviation within a mode.
    """

    def __init__(self, below: float) -> None:
        self._below = below
        self.count = 0
        self._mean: Tensor | None = None
        self._sum: Tensor | None = None

    def __call__(self, moment: Moment) -> None:
        """See `Probe`."""
        if largest(moment.c.sb) > self._below:
            return
        x0 = moment.prediction.x0.detach()
        if self._mean is None or self._sum is None:
            self._mean, self._sum = torch.zeros_like(x0), torch.zeros_like(x0)
        if moment.ancestors is not None:
            self._mean, self._sum = self._mean[moment.ancestors], self._sum[moment.ancestors]
        self.count += 1
        change = x0 - self._mean
        self._mean = self._mean + change / self.count
        self._sum = self._sum + change * (x0 - self._mean)

    def score(self) -> Float[Tensor, " b"]:
        """Mean variance of each sample; higher is worse.

        Raises:
            ValueError: fewer than six evaluations had so little noise.
        """
        if self._sum is None or self.count < FEWEST:
            raise ValueError(
                f"{self.count} evaluations had sigma / alpha of at most {self._below:g} and a variance needs {FEWEST}; "
                "raise the limit, take more steps, or use renoise_score"
            )
        return (self._sum / self.count).flatten(1).mean(1)


def renoise_score(
    denoiser: Denoiser,
    path: Path,
    x: Tensor,
    noise: Noise,
    *,
    levels: Sequence[float],
    draws: int = 8,
    condition: Any = None,
    views: bool = False,
) -> Float[Tensor, "b l"]:
    """Mean variance of x0 when samples are noised a little again, for each level of noise; higher is worse.

    Args:
        denoiser: that made the samples.
        path: any; the level says how noisy.
        x: samples `[b, ...]`.
        noise: source of normal numbers.
        levels: sigma / alpha, about twice the deviation within a mode; two or three where that is not known.
        draws: evaluations for each level, at least 2.
        condition: of the denoiser.
        views: whether the second axis is of views, of which the worst counts then.

    Raises:
        ValueError: there are fewer than two draws, which have no variance.
    """
    if draws < 2:
        raise ValueError(f"{draws} draws have no variance; take at least 2")
    scores = []
    for level in levels:
        c = path.at(level)
        seen = torch.stack([denoiser(c.alpha * x + c.sigma * noise(x.shape), c, condition).x0 for _ in range(draws)])
        scores.append(seen.var(0).flatten(2).mean(2).amax(1) if views else seen.var(0).flatten(1).mean(1))
    return torch.stack(scores, 1)


class Trajectory:
    """How much the expected clean data move, and how straight the way is; statistics for reports.

    Attributes:
        changes: root mean square between the x0 of neighbouring evaluations.
        norms: root mean square of the states.
    """

    def __init__(self) -> None:
        self.changes: list[float] = []
        self.norms: list[float] = []
        self._places: list[Tensor] = []
        self._velocities: list[Tensor] = []  # of a flow, eps - x0
        self._before: Tensor | None = None
        self._noise = torch.zeros(())

    def __call__(self, moment: Moment) -> None:
        """See `Probe`."""
        x0, eps, x = (part.detach() for part in (moment.prediction.x0, moment.prediction.eps, moment.state.x))
        if moment.ancestors is not None and self._before is not None:
            self._before, self._noise = self._before[moment.ancestors], self._noise[moment.ancestors]
            self._places = [place[moment.ancestors] for place in self._places]
            self._velocities = [velocity[moment.ancestors] for velocity in self._velocities]
        if self._before is not None:
            self.changes.append(float((x0 - self._before).square().mean().sqrt()))
        else:
            self._noise = eps
        self._before = x0
        self.norms.append(float(x.square().mean().sqrt()))
        self._places.append(x / largest(moment.c.spread))
        self._velocities.append(eps - x0)

    def effective_rank(self) -> float:
        """Dimensions that the ways of the samples use, exp of the entropy of their principal variances, mean over samples.

        Normal data use about two (Wang and Vastola 2023).
        """
        ways = torch.stack(self._places, 1).flatten(2)
        values = torch.linalg.svdvals((ways - ways.mean(1, keepdim=True)).double()).square()
        share = values / values.sum(1, keepdim=True).clamp_min(1e-300)
        return float((-(share * share.clamp_min(1e-300).log()).sum(1)).exp().mean())

    def bend(self) -> float:
        """Mean square between the velocities of a flow along the way and the straight one from its noise to its data; 0 is straight."""
        if self._before is None:
            return 0.0
        straight = self._noise - self._before
        return float(torch.stack([(velocity - straight).square().mean() for velocity in self._velocities]).mean())


def thresholds(scores: Float[Tensor, "n l"], *, kept: float = 0.96) -> Float[Tensor, " l"]:
    """Scores that a share of good samples stays below: the calibration of a model, stored beside it."""
    return scores.double().quantile(kept, 0)


def suspicious(scores: Float[Tensor, "b l"], limits: Float[Tensor, " l"]) -> Float[Tensor, " b"]:
    """How far samples are above their limits at the worst level: above 1 they are taken for hallucinations."""
    return (scores / limits.to(scores)).amax(1)
