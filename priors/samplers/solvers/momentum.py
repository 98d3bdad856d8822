"""Momentum for few steps under strong guidance: heavy ball and its generalisation (Wizadwongsa et al. 2023, arXiv 2307.11118).

Multistep methods diverge where a field is stiff; averaging slopes widens their region of stability. GHVB keeps the order.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gen3d.priors.samplers.coefficients import Scalar, everywhere, weighted
from gen3d.priors.samplers.grids import Grid
from gen3d.priors.samplers.predictions import Prediction
from gen3d.priors.samplers.solvers.exponential import phi
from gen3d.priors.samplers.solvers.heun import Coordinate, d_dt
from gen3d.priors.samplers.stepping import OneStage, State, Transition, advanced

HIGHEST = 5
ADAMS = (1.0, 1 / 2, 5 / 12, 3 / 8, 251 / 720)  # of Adams-Bashforth in backward differences
Terms = list[tuple[Scalar, Tensor]]
LEAST = 0.1  # damping that the automatic choice does not go below


def coefficients(order: int, beta: Scalar) -> tuple[Scalar, ...]:
    """What GHVB multiplies its last velocities by, newest first; those of Adams-Bashforth for beta = 1.

    Args:
        order: 1 to 5.
        beta: damping in (0, 1].
    """
    c = differences(order, beta)
    return tuple((-1) ** i * sum(c[j] * math.comb(j, i) for j in range(i, order)) / beta for i in range(order))


def differences(order: int, beta: Scalar) -> list[Scalar]:
    """The same method in backward differences, times beta: c_0 = beta, c_j = beta a_j + (1 - beta) a_(j-1)."""
    return [beta, *(beta * ADAMS[j] + (1 - beta) * ADAMS[j - 1] for j in range(1, order))]


def stability(order: int, beta: float, *, kind: Literal["ghvb", "hb"] = "ghvb") -> float:
    """The most negative step x eigenvalue of y' = l y for which the method does not grow; a closed form on the real axis."""
    if kind == "hb":
        return -(2 - beta) / beta * 2 / sum(a * 2**j for j, a in enumerate(ADAMS[:order]))
    return -2 * (2 - beta) / sum(c * 2**j for j, c in enumerate(differences(order, beta)))


@dataclass(frozen=True)
class Momentum(OneStage):
    """Adams-Bashforth with momentum, one evaluation a step.

    Attributes:
        number: R; the order is R rounded up, and beta = R - (order - 1): 1.8 is order two with beta 0.8, 2.0 plain Adams-Bashforth.
        coordinate: what the method integrates: eps over sigma / alpha, or velocity over time, which suits flows.
        uniform: integrate in the grid's own u instead, which methods of order three and more need to keep their order on uneven
            grids; for order two the steps as they are have the smaller error.
        kind: ghvb; or hb, heavy ball on Adams-Bashforth of order `number`, more stable and of order one.
        beta: damping of hb in (0, 1].
        automatic: reduce beta for each sample where the field proves stiffer than the method stands.

    Raises:
        ValueError: a number is out of its range.
    """

    number: float = 1.8
    coordinate: Coordinate = "noise"
    uniform: bool = False
    kind: Literal["ghvb", "hb"] = "ghvb"
    beta: float = 0.8
    automatic: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.number <= HIGHEST:
            raise ValueError(f"the momentum number is {self.number}; it must be above 0 and at most {HIGHEST}")
        if not 0 < self.beta <= 1:
            raise ValueError(f"beta is {self.beta}; it must be above 0 and at most 1")
        if self.kind == "hb" and self.number != int(self.number):
            raise ValueError(f"the momentum number is {self.number}; heavy ball has a whole one, the order, and beta beside it")
        if self.automatic and self.kind == "hb":
            raise ValueError("beta is found automatically for ghvb only")

    @property
    def order(self) -> int:
        """Of the method once it has enough history."""
        return math.ceil(self.number)

    @property
    def damping(self) -> float:
        """Of its velocity."""
        return self.beta if self.kind == "hb" else self.number - (self.order - 1)

    def transition(self, state: State, prediction: Prediction, grid: Grid) -> Transition:
        """To the next node; the last jump of a uniform grid to clean data and a step from pure noise are of first order."""
        c, d = (grid.coefs[state.i + j].like(state.x) for j in (0, 1))
        if self.uniform and grid.rates is None:
            raise ValueError("the grid does not come from a smooth function of u, so it has no rates; use karras(), or uniform=False")
        noise = self.coordinate == "noise"
        if (noise and everywhere(c.alpha == 0)) or (self.uniform and state.i >= grid.smooth):
            return Transition(advanced(state, phi(prediction, d)))
        field = prediction.eps if noise else d_dt(prediction, c)
        step: Scalar = (d.sb - c.sb) if noise else (d.t - c.t)
        if self.uniform and grid.rates is not None:
            field, step = grid.rates[state.i][0 if noise else 1] * field, 1.0
        if self.kind == "hb":
            terms, memory = self._heavy(field, state)
        else:
            terms, memory = self._generalised(field, state.x / c.alpha if noise and self.automatic else state.x, step, state)
        kept, reach = (d.alpha / c.alpha, d.alpha * step) if noise else (1.0, step)
        begin = (kept * c.alpha, prediction.x0), (kept * c.sigma, prediction.eps)
        return Transition(advanced(state, weighted(*begin, *((reach * share, part) for share, part in terms)), memory))

    def _heavy(self, field: Tensor, state: State) -> tuple[Terms, tuple[Tensor, ...]]:
        """The slope, and the memory: slope and fields."""
        fields = (field, *state.memory[1:])[: self.order]
        shares = coefficients(len(fields), 1.0)
        if not state.memory:
            return [(1.0, field)], (field, field)[: self.order]
        slope = weighted((1 - self.beta, state.memory[0]), *((self.beta * share, part) for share, part in zip(shares, fields, strict=True)))
        return [(1.0, slope)], (slope, *fields[: self.order - 1])

    def _generalised(self, field: Tensor, place: Tensor, step: Scalar, state: State) -> tuple[Terms, tuple[Tensor, ...]]:
        """The slope as a sum, and the memory: velocities, behind field and place where damping is automatic."""
        watched, past = (state.memory[:2], state.memory[2:]) if self.automatic else ((), state.memory)
        beta: Scalar = self._allowed(field, place, step, watched) if watched else self.damping
        velocity = weighted((beta, field), (1 - beta, past[0])) if past else field
        velocities = (velocity, *past)[: self.order]
        kept = velocities[: max(1, self.order - 1)]
        return list(zip(coefficients(len(velocities), beta), velocities, strict=True)), (field, place, *kept) if self.automatic else kept

    def _allowed(self, field: Tensor, place: Tensor, step: Scalar, watched: tuple[Tensor, ...]) -> Tensor:
        """For each sample the largest damping up to the method's own for which it stands the stiffness between the last two places."""
        axes = tuple(range(1, field.ndim))
        rise, run = (torch.linalg.vector_norm(new - old, dim=axes, keepdim=True) for new, old in zip((field, place), watched, strict=True))
        z = (step * rise / run.clamp_min(torch.finfo(run.dtype).tiny)).abs()
        constant = sum(c * 2**j for j, c in enumerate(differences(self.order, 0.0)))
        slope = sum(c * 2**j for j, c in enumerate(differences(self.order, 1.0))) - constant
        return ((4 - z * constant) / (2 + z * slope)).clamp(LEAST, self.damping)  # solves z = -stability(order, beta)
