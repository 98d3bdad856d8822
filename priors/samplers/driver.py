"""The loop that every prior samples with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from jaxtyping import Int
from torch import Tensor

from gen3d.priors.samplers.coefficients import Coef
from gen3d.priors.samplers.grids import Grid
from gen3d.priors.samplers.predictions import Denoiser, Prediction
from gen3d.priors.samplers.stepping import Solver, State, Transition

Noise = Callable[[torch.Size | tuple[int, ...]], Tensor]  # standard normal numbers of a shape [b, ...]


@dataclass(frozen=True, slots=True)
class Moment:
    """What happens at one evaluation, for controllers and probes.

    Attributes:
        state: that was evaluated.
        c: its coefficients.
        prediction: of the denoiser.
        transition: proposed by the solver.
        solver: that proposed it.
        grid: with its nodes.
        denoiser: with its guidance.
        condition: of the denoiser.
        noise: source of random numbers.
        ancestors: which samples of the evaluation before these come from, where a controller has chosen among them.
    """

    state: State
    c: Coef
    prediction: Prediction
    transition: Transition
    solver: Solver
    grid: Grid
    denoiser: Denoiser
    condition: Any
    noise: Noise
    ancestors: Int[Tensor, " b"] | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """Where a controller goes.

    Attributes:
        state: the next one.
        prediction: of that state, where the controller has evaluated it already.
        ancestors: which samples these come from, where some were dropped for copies of others.
    """

    state: State
    prediction: Prediction | None = None
    ancestors: Int[Tensor, " b"] | None = None


class Controller(Protocol):
    """Chooses among what a solver proposes."""

    def __call__(self, moment: Moment) -> Step:
        """The next state."""
        ...


class Probe(Protocol):
    """Watches, and changes nothing."""

    def __call__(self, moment: Moment) -> None:
        """Look at one evaluation."""
        ...


@dataclass(frozen=True, slots=True)
class Sampled:
    """The result.

    Attributes:
        x: samples `[b, ...]`.
        prediction: the last one, with its aux.
        evaluations: calls of the denoiser, those of controllers included.
    """

    x: Tensor
    prediction: Prediction
    evaluations: int


def draw(moment: Moment) -> Step:
    """One draw of what the solver proposes."""
    transition = moment.transition
    return Step(transition.commit(moment.noise(transition.state.x.shape) if transition.noisy else None))


class _Counted:
    """A denoiser that knows how often it was called, by whomever."""

    def __init__(self, denoiser: Denoiser) -> None:
        self._denoiser, self.calls = denoiser, 0

    def __call__(self, x: Tensor, c: Coef, condition: Any = None) -> Prediction:
        """See `Denoiser`."""
        self.calls += 1
        return self._denoiser(x, c, condition)


def sample(
    denoiser: Denoiser,
    solver: Solver,
    grid: Grid,
    x: Tensor | State,
    condition: Any = None,
    *,
    controller: Controller = draw,
    probes: Sequence[Probe] = (),
    noise: Noise | None = None,
) -> Sampled:
    """Follow a grid from its first node to its last.

    Args:
        denoiser: with its guidance.
        solver: how to step.
        grid: where to evaluate; `grid.since(i)` for an x that is at node i.
        x: at the first node `[b, ...]`, computed in float32 at least; or a state to go on from, for example one that was stored.
        condition: handed to the denoiser.
        controller: what to do with proposals, one draw by default.
        probes: called at every evaluation.
        noise: source of normal numbers, by default torch's global one. `per_sample` makes results independent of the batch; to go on
            from a stored state as if nothing had happened, draw from it what was drawn before.

    Raises:
        ValueError: what the denoiser predicts has another shape than x, or the state is at the last node.
    """
    state = x if isinstance(x, State) else State(x.to(torch.promote_types(x.dtype, torch.float32)))
    if state.i >= len(grid):
        raise ValueError(f"the state is at node {state.i} already, the last of the grid; there is nothing left to do")
    like = state.x[:0]
    source = noise or (lambda shape: torch.randn(shape, dtype=like.dtype, device=like.device))
    counted, step = _Counted(denoiser), Step(state)
    del x, state  # states and predictions are let go as soon as a step has used them: they are what memory goes to
    while True:
        known, step = _evaluated(counted, solver, grid, step, condition)
        c = solver.node(step.state, grid)
        moment = Moment(
            step.state, c, known, solver.transition(step.state, known, grid), solver, grid, counted, condition, source, step.ancestors
        )
        for probe in probes:
            probe(moment)
        step = controller(moment)
        del moment
        if step.state.i >= len(grid):
            return Sampled(step.state.x, known, counted.calls)
        del known


def _evaluated(denoiser: Denoiser, solver: Solver, grid: Grid, step: Step, condition: Any) -> tuple[Prediction, Step]:
    """The prediction of a state, and the step without it."""
    if step.prediction is not None:
        return step.prediction, replace(step, prediction=None)
    prediction = denoiser(step.state.x, solver.node(step.state, grid), condition)
    for name, part in (("x0", prediction.x0), ("eps", prediction.eps)):
        if part.shape != step.state.x.shape:
            raise ValueError(
                f"the denoiser's {name} has shape {tuple(part.shape)} and the state {tuple(step.state.x.shape)}; they must be the same"
            )
    return prediction, step


def per_sample(seeds: Sequence[int], *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Noise:
    """Normal numbers from one generator for each sample, so that a sample is the same in every batch.

    Args:
        seeds: one for each sample.
        device: where the numbers go; they are drawn on the CPU, so that all devices give the same.
        dtype: of the numbers.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def noise(shape: torch.Size | tuple[int, ...]) -> Tensor:
        if shape[0] != len(generators):
            raise ValueError(f"{shape[0]} samples want noise and there are {len(generators)} seeds; give one for each sample")
        return torch.stack([torch.randn(tuple(shape[1:]), generator=each, dtype=dtype) for each in generators]).to(device)

    return noise
