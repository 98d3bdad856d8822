"""Exponential integrators in log-SNR: DDIM, DPM-Solver++ and their stochastic forms."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gen3d.priors.samplers.coefficients import Coef, Scalar, expm1, sqrt, where
from gen3d.priors.samplers.grids import RATIO, Grid, warn_uneven
from gen3d.priors.samplers.predictions import Prediction
from gen3d.priors.samplers.stepping import OneStage, State, Transition, advanced, weighted

CLAMPED = 0.5  # weight of the extrapolation where a step is more than twice as long as the one before


def phi(x: Tensor, x0: Tensor, c: Coef, d: Coef) -> Tensor:
    """The exact step from c to d if x0 stayed as it is: DDIM without noise, Euler of a flow, DPM-Solver-1. Finite at both ends.

    Args:
        x: state at c `[b, ...]`.
        x0: clean data `[b, ...]`.
        c: from, sigma above 0, as factors of x.
        d: to, likewise.
    """
    shrink = d.sigma / c.sigma
    return weighted((shrink, x), (d.alpha - c.alpha * shrink, x0))


@dataclass(frozen=True)
class DDIM(OneStage):
    """One evaluation a step, first order (Song et al. 2021), on every path.

    Attributes:
        eta: share of the noise of ancestral sampling: 0 is an ODE, 1 the posterior of the forward process.

    Raises:
        ValueError: eta is negative.
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        _check_eta(self.eta)

    def transition(self, state: State, prediction: Prediction, grid: Grid) -> Transition:
        """To the next node."""
        c, d = (grid.coefs[i].like(state.x) for i in (state.i, state.i + 1))
        std = ddim_std(c, d, self.eta) if self.eta else 0.0
        kept = sqrt(d.sigma**2 - std**2) if self.eta else d.sigma
        return Transition(advanced(state, weighted((d.alpha, prediction.x0), (kept, prediction.eps))), std)


def ddim_std(c: Coef, d: Coef, eta: float) -> Scalar:
    """Width of DDIM's noise: eta sigma_d sqrt(1 - alpha_c^2 sigma_d^2 / (alpha_d^2 sigma_c^2))."""
    return eta * d.sigma * sqrt(1 - (c.alpha * d.sigma / (d.alpha * c.sigma)) ** 2)


@dataclass(frozen=True)
class DPMSolver(OneStage):
    """DPM-Solver++ (Lu et al. 2022), multistep, on predictions of x0; with eta above 0 its SDE form.

    On grids whose last finite step is much longer than the one before (flows with a shift), the extrapolation of order two is worse
    than none; its weight is clamped to 1/2 there, which repairs it.

    Attributes:
        order: 1, 2 or 3; the first steps have the order that their history allows.
        eta: 0 is an ODE, 1 the reverse SDE.
        clamp: as above.

    Raises:
        ValueError: the order is not 1, 2 or 3, or eta is negative.
    """

    order: int = 2
    eta: float = 0.0
    clamp: bool = True

    def __post_init__(self) -> None:
        _check_eta(self.eta)
        if self.order not in (1, 2, 3):
            raise ValueError(f"the order is {self.order}; DPM-Solver++ has 1, 2 and 3")

    def transition(self, state: State, prediction: Prediction, grid: Grid) -> Transition:
        """To the next node."""
        if state.i == 0 and self.clamp and self.order > 1:
            warn_uneven(grid, "DPM-Solver++")
        memory = (prediction.x0, *state.memory)[: self.order]
        d, c, *before = (grid.coefs[state.i + 1 - j].like(state.x) for j in range(len(memory) + 1))
        past = [newer.lam - older.lam for newer, older in zip((c, *before), before, strict=False)]
        h = d.lam - c.lam
        x0 = self._extrapolated(memory, h, past)
        faded = 1 + expm1(-self.eta * h) if self.eta else 1.0
        shrink = d.sigma / c.sigma * faded
        mean = weighted((shrink, state.x), (d.alpha - c.alpha * shrink, x0))
        std = d.sigma * sqrt(1 - faded**2) if self.eta else 0.0
        return Transition(advanced(state, mean, memory[: self.order - 1]), std)

    def _extrapolated(self, memory: tuple[Tensor, ...], h: Scalar, past: list[Scalar]) -> Tensor:
        """The x0 that stands for the whole step."""
        newest = memory[0]
        if not past or _infinite(h) or _infinite(past[0]):
            return newest
        if len(past) == 1 or _infinite(past[1]):
            weight = h / (2 * past[0])
            weight = where(weight > RATIO / 2, CLAMPED, weight) if self.clamp else weight
            return weighted((1 + weight, newest), (-weight, memory[1]))
        # Order three: the parabola through three values. Its second derivative is twice the second divided difference; the widespread
        # form of this solver forgets the two, and is of order two.
        r0, r1, total = past[0] / h, past[1] / h, h * (1 + self.eta)
        one = expm1(-total)
        two = one / total + 1
        three = two / total - 0.5
        # first = (newest - middle) / r0, older = (middle - oldest) / r1, bend = (first - older) / (r0 + r1), and the result
        # newest - two / one (first + r0 bend) + 2 three / one bend, gathered by first and older
        share = (2 * three / one - r0 * two / one) / (r0 + r1)
        ahead, behind = (share - two / one) / r0, share / r1
        return weighted((1 + ahead, newest), (-ahead - behind, memory[1]), (behind, memory[2]))


def _infinite(h: Scalar) -> bool:
    """Whether a step begins with pure noise or ends with clean data, where differences in log-SNR say nothing."""
    return not (bool(torch.isfinite(h).all()) if isinstance(h, Tensor) else math.isfinite(h))


def _check_eta(eta: float) -> None:
    if eta < 0:
        raise ValueError(f"eta is {eta}; noise cannot be taken away, so it is at least 0")
