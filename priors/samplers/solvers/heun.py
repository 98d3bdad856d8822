"""Heun's method (Karras et al. 2022, algorithms 1 and 2): two evaluations a step, second order, no history."""

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from gen3d.priors.samplers.coefficients import Coef, everywhere, weighted
from gen3d.priors.samplers.grids import Grid
from gen3d.priors.samplers.predictions import Prediction
from gen3d.priors.samplers.solvers.exponential import phi
from gen3d.priors.samplers.stepping import State, Transition, advanced

Coordinate = Literal["noise", "velocity"]


@dataclass(frozen=True)
class Heun:
    """The average of the slopes at both ends of a step; a step to clean data has one evaluation.

    Attributes:
        coordinate: noise averages eps over sigma / alpha, and makes a first-order step from pure noise; velocity averages
            alpha' x0 + sigma' eps over time, and suits flows.
        churn: noise that is added before steps, S_churn; more than 0 makes the sampler stochastic. The first step has none.
        churn_from: smallest sigma / alpha with churn, S_min.
        churn_to: largest, S_max.
        churn_noise: standard deviation of the added noise, S_noise.

    Raises:
        ValueError: churn is asked for by velocity: it changes the noise of a node, not its time.
    """

    coordinate: Coordinate = "noise"
    churn: float = 0.0
    churn_from: float = 0.0
    churn_to: float = math.inf
    churn_noise: float = 1.0

    def __post_init__(self) -> None:
        if self.churn and self.coordinate == "velocity":
            raise ValueError(
                f"churn is {self.churn} and the coordinate velocity; noise that is added has no time, so use coordinate='noise'"
            )

    @property
    def stages(self) -> int:
        """Two."""
        return 2

    def node(self, state: State, grid: Grid) -> Coef:
        """The node of the state with its churn, or the next node in the second stage."""
        return grid.coefs[state.i + 1] if state.stage else self._churned(state.i, grid)

    def transition(self, state: State, prediction: Prediction, grid: Grid) -> Transition:
        """A first-order step, then the same step again with the mean slope."""
        c, d = self._churned(state.i, grid).like(state.x), grid.coefs[state.i + 1].like(state.x)
        slope = prediction.eps if self.coordinate == "noise" else d_dt(prediction, self.node(state, grid).like(state.x))
        if not state.stage:
            x = phi(prediction, d).to(state.x.dtype)
            if everywhere(d.sigma == 0) or (self.coordinate == "noise" and everywhere(c.alpha == 0)):
                return self._finished(state, x, grid)
            return Transition(State(x, state.i, 1, (phi(prediction, c).to(x.dtype), slope)))
        begin, first = state.memory
        half, kept = ((d.t - c.t) / 2, 1.0) if self.coordinate == "velocity" else (d.alpha * (d.sb - c.sb) / 2, d.alpha / c.alpha)
        return self._finished(state, weighted((kept, begin), (half, first), (half, slope)), grid)

    def _finished(self, state: State, x: Tensor, grid: Grid) -> Transition:
        """At the next node, with the noise that its own step wants."""
        node, churned = grid.coefs[state.i + 1], self._churned(state.i + 1, grid)
        added = 0.0 if churned is node else self.churn_noise * (churned.sigma**2 - node.sigma**2) ** 0.5
        return Transition(advanced(state, x), added)

    def _churned(self, i: int, grid: Grid) -> Coef:
        """The node i, noisier by its churn; the time is then that of the node."""
        c = grid.coefs[i]
        if not self.churn or i == 0 or i == len(grid):
            return c
        if isinstance(c.sb, Tensor):
            raise ValueError("samples or tokens have times of their own; churn needs one time for all of them")
        if not self.churn_from <= c.sb <= self.churn_to:
            return c
        gamma = min(self.churn / len(grid), math.sqrt(2) - 1)
        return Coef(c.t, c.alpha, c.sigma * (1 + gamma), c.dalpha, c.dsigma)


def d_dt(prediction: Prediction, c: Coef) -> Tensor:
    """The velocity of the probability-flow ODE, alpha' x0 + sigma' eps; c as factors of the state."""
    return weighted((c.dalpha, prediction.x0), (c.dsigma, prediction.eps))
