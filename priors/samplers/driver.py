"""The loop that every prior samples with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
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


@dataclass(frozen=True, slots=True)
class Step:
    """Where a controller goes.

    Attributes:
        state: the next one.
        prediction: of that state, where the controller has evaluated it already.
    """

    state: State
    prediction: Prediction | None = None


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
        evaluations: of the denoiser by the loop.
    """

    x: Tensor
    prediction: Prediction
    evaluations: int


def draw(moment: Moment) -> Step:
    """One draw of what the solver proposes."""
    transition = moment.transition
    return Step(transition.commit(moment.noise(transition.state.x.shape) if transition.noisy else None))


def sample(
    denoiser: Denoiser,
    solver: Solver,
    grid: Grid,
    x: Tensor,
    condition: Any = None,
    *,
    controller: Controller = draw,
    probes: Sequence[Probe] = (),
    noise: Noise | None = None,
    state: State | None = None,
) -> Sampled:
    """Follow a grid from its first node to its last.

    Args:
        denoiser: with its guidance.
        solver: how to step.
        grid: where to evaluate; `grid.since(i)` for an x that is at node i.
        x: at the first node `[b, ...]`; computed in float32 at least.
        condition: handed to the denoiser.
        controller: what to do with proposals, one draw by default.
        probes: called at every evaluation.
        noise: source of normal numbers; torch's global one by default. `per_sample` makes results independent of the batch.
        state: to go on from instead of x, for example one that was stored.

    Raises:
        ValueError: what the denoiser predicts has another shape than x.
    """
    state = state or State(x.to(torch.promote_types(x.dtype, torch.float32)))
    source = noise or (lambda shape: torch.randn(shape, dtype=x.dtype, device=x.device))
    known: Prediction | None = None
    prediction: Prediction | None = None
    evaluations = 0
    while state.i < len(grid):
        c = solver.node(state, grid)
        if known is None:
            prediction, evaluations = denoiser(state.x, c, condition), evaluations + 1
            _check(prediction, state.x)
        else:
            prediction = known
        moment = Moment(state, c, prediction, solver.transition(state, prediction, grid), solver, grid, denoiser, condition, source)
        for probe in probes:
            probe(moment)
        step = controller(moment)
        state, known = step.state, step.prediction
    if prediction is None:
        raise ValueError(f"the state is at node {state.i} already, the last of the grid; there is nothing left to do")
    return Sampled(state.x, prediction, evaluations)


def _check(prediction: Prediction, x: Tensor) -> None:
    for name, part in (("x0", prediction.x0), ("eps", prediction.eps)):
        if part.shape != x.shape:
            raise ValueError(f"the denoiser's {name} has shape {tuple(part.shape)} and the state {tuple(x.shape)}; they must be the same")


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
