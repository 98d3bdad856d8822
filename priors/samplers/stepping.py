"""From one node of a grid to the next: the state of a solver, and what it proposes."""

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from jaxtyping import Int
from torch import Tensor

from gen3d.priors.samplers.coefficients import Coef, Scalar, weighted
from gen3d.priors.samplers.grids import Grid
from gen3d.priors.samplers.predictions import Prediction


@dataclass(frozen=True, slots=True)
class State:
    """All that a solver knows: it can be stored, indexed, and taken up again.

    Attributes:
        x: samples `[b, ...]`, float32 or float64.
        i: the node that they are at.
        stage: evaluations already made for the step from there.
        memory: what earlier evaluations left, each `[b, ...]`, newest first.
    """

    x: Tensor
    i: int = 0
    stage: int = 0
    memory: tuple[Tensor, ...] = ()

    def index(self, ancestors: Int[Tensor, " n"]) -> "State":
        """The samples that are chosen, some perhaps several times, each with its own memory."""
        return replace(self, x=self.x[ancestors], memory=tuple(part[ancestors] for part in self.memory))

    def to(self, device: torch.device | str) -> "State":
        """The same on another device."""
        return replace(self, x=self.x.to(device), memory=tuple(part.to(device) for part in self.memory))


@dataclass(frozen=True, slots=True)
class Transition:
    """What a solver proposes: a normal distribution, without width for a differential equation without noise.

    Attributes:
        state: the next one; its x is the mean.
        std: of the noise to add, a factor of the state; 0 for none.
    """

    state: State
    std: Scalar = 0.0

    @property
    def noisy(self) -> bool:
        """Whether there is a choice."""
        return bool(self.std.any()) if isinstance(self.std, Tensor) else self.std != 0

    def commit(self, z: Tensor | None = None) -> State:
        """The next state for standard normal noise z `[b, ...]`; the mean without."""
        if z is None or not self.noisy:
            return self.state
        return replace(self.state, x=weighted((1.0, self.state.x), (self.std, z)).to(self.state.x.dtype))


class Solver(Protocol):
    """A pure step: which node to evaluate next, and where its prediction leads.

    Attributes:
        stages: evaluations for one step, at most.
    """

    @property
    def stages(self) -> int:
        """See above."""
        ...

    def node(self, state: State, grid: Grid) -> Coef:
        """The coefficients at which the next evaluation takes place."""
        ...

    def transition(self, state: State, prediction: Prediction, grid: Grid) -> Transition:
        """Where the evaluation leads."""
        ...


@dataclass(frozen=True)
class OneStage:
    """A solver that evaluates once, at the node where the state is."""

    @property
    def stages(self) -> int:
        """One."""
        return 1

    def node(self, state: State, grid: Grid) -> Coef:
        """The node of the state."""
        return grid.coefs[state.i]


def advanced(state: State, x: Tensor, memory: tuple[Tensor, ...] = ()) -> State:
    """The state at the next node, in the precision that it had."""
    return State(x.to(state.x.dtype), state.i + 1, 0, memory)
