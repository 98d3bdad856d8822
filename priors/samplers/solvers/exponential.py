"""Exponential integrators in log-SNR: DDIM, DPM-Solver++ and their stochastic forms."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gen3d.priors.samplers.coefficients import Coef, Scalar, everywhere, expm1, sqrt, weighted, where
from gen3d.priors.samplers.grids import RATIO, Grid, warn_uneven
from gen3d.priors.samplers.predictions import Prediction
from gen3d.priors.samplers.stepping import OneStage, State, Transition, advanced

CLAMPED = 0.5  # weight of the extrapolation where a step is more than twice as long as the one before


def phi(prediction: Prediction, c: Coef) -> Tensor:
    """The state that a prediction leads to if x0 and noise stay as they are: DDIM, Euler of a flow, DPM-Solver-1. Finite at both ends.

    Solvers compute steps from predictions and never from the state, which they imply; under CFG++ they do not, and are to be believed.

    Args:
        prediction: of a state `[b, ...]`.
        c: where it leads, as factors of the state.
    """
    return weighted((c.alpha, prediction.x0), (c.sigma, prediction.eps))


@dataclass(frozen=True)
class DDIM(OneStage):
    """One evaluation a step, first order (Song et al. 2021), on every path.

    Attributes:
        eta: share of the noise of ancestral sampling in [0, 1]: 0 is an ODE, 1 the posterior of the forward process.

    Raises:
        ValueError: eta is out of range.
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        _check_eta(self.eta)
        if self.eta > 1:
            raise ValueError(f"eta is {self.eta}; DDIM has no more noise than at 1, or its states are noisier than their nodes say")

    def transition(self, state: State, prediction: Prediction, grid: Grid) -> Transition:
        """To the next node."""
        c, d = (grid.coefs[i].like(state.x) for i in (state.i, state.i + 1))
        if not self.eta:
            return Transition(advanced(state, phi(prediction, d)))
        std = ddim_std(c, d, self.eta)
        return Transition(advanced(state, weighted((d.alpha, prediction.x0), (sqrt(d.sigma**2 - std**2), prediction.eps))), std)


def ddim_std(c: Coef, d: Coef, eta: float) -> Scalar:
    """Width of DDIM's noise: eta sigma_d sqrt(1 - alpha_c^2 sigma_d^2 / (alpha_d^2 sigma_c^2))."""
    return eta * d.sigma * sqrt(1 - (c.alpha * d.sigma / (d.alpha * c.sigma)) ** 2)


@dataclass(frozen=True)
class DPMSolver(OneStage):
    """DPM-Solver++ (Lu et al. 2022), multistep, on predictions of x0; with eta above 0 its SDE form.

    On grids whose last finite step is much longer than the one before (flows with a shift), extrapolation is worse
    than none; there it is of order two with its weight clamped to 1/2, which repairs it.

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
        faded = 1 + expm1(-self.eta * h) if self.eta else 1.0
        shrink = d.sigma / c.sigma * faded
        reach = d.alpha - c.alpha * shrink
        newest, *older = self._shares(h, past)
        terms = ((reach * share, part) for share, part in zip(older, memory[1:], strict=False))
        # the state is shrunk as a whole, its x0 and its noise
        mean = weighted((shrink * c.alpha + reach * newest, prediction.x0), (shrink * c.sigma, prediction.eps), *terms)
        std = d.sigma * sqrt(1 - faded**2) if self.eta else 0.0
        return Transition(advanced(state, mean, memory[: self.order - 1]), std)

    def _shares(self, h: Scalar, past: list[Scalar]) -> tuple[Scalar, ...]:
        """Of the predictions, newest first, in the x0 that stands for the whole step of length h; they add up to 1."""
        if not past or _infinite(h) or _infinite(past[0]):
            return (1.0,)
        long = h > RATIO * past[0]
        weight = where(long, CLAMPED, h / (2 * past[0])) if self.clamp else h / (2 * past[0])
        if len(past) == 1 or _infinite(past[1]):
            return 1 + weight, -weight
        # Order three: the parabola through three values. Its second derivative is twice the second divided difference; the widespread
        # form of this solver forgets the two, and is of order two. With first = (newest - middle) / r0, older = (middle - oldest) / r1
        # and bend = (first - older) / (r0 + r1), x0 is newest - two / one (first + r0 bend) + 2 three / one bend.
        r0, r1, total = past[0] / h, past[1] / h, h * (1 + self.eta)
        one = expm1(-total)
        two = one / total + 1
        three = two / total - 0.5
        share = (2 * three / one - r0 * two / one) / (r0 + r1)
        ahead, behind = (share - two / one) / r0, share / r1
        if not self.clamp:
            return 1 + ahead, -ahead - behind, behind
        return 1 + where(long, weight, ahead), where(long, -weight, -ahead - behind), where(long, 0.0, behind)


def _infinite(h: Scalar) -> bool:
    """Whether a step begins with pure noise or ends with clean data, where differences in log-SNR say nothing."""
    return not everywhere(torch.isfinite(h) if isinstance(h, Tensor) else math.isfinite(h))


def _check_eta(eta: float) -> None:
    if eta < 0:
        raise ValueError(f"eta is {eta}; noise cannot be taken away, so it is at least 0")
