"""UniPC (Zhao et al. 2023): a predictor and a corrector that share one evaluation a step, in the variant B2 on predictions of x0."""

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from gen3d.priors.samplers.coefficients import Coef, weighted
from gen3d.priors.samplers.grids import RATIO, Grid, warn_uneven
from gen3d.priors.samplers.predictions import Decoupled, Prediction
from gen3d.priors.samplers.stepping import OneStage, State, Transition, advanced


@dataclass(frozen=True)
class UniPC(OneStage):
    """The evaluation at a node first corrects the step that led there, then predicts the next one.

    All samples share their times. On steps more than twice as long as those before it is of first order with a correction, which
    repairs what extrapolation breaks there.

    Attributes:
        order: 1 to 3, of the predictor; the corrector's is one more.

    Raises:
        ValueError: the order is another one; or, while sampling, samples have times of their own or CFG++ guides them.
    """

    order: int = 2

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3):
            raise ValueError(f"the order is {self.order}; UniPC has 1, 2 and 3 here")

    def transition(self, state: State, prediction: Prediction, grid: Grid) -> Transition:
        """Correct, then predict; the memory is the corrected state behind the last predictions of x0."""
        nodes, i = grid.coefs, state.i
        if isinstance(nodes[i].sigma, Tensor) or isinstance(prediction, Decoupled):
            why = "a prediction's noise is its own (CFG++)" if isinstance(prediction, Decoupled) else "samples have times of their own"
            raise ValueError(f"{why}, which UniPC cannot follow; use DPMSolver or Momentum")
        if i == 0 and self.order > 1:
            warn_uneven(grid, "UniPC")
        d, x = prediction.x0, state.x
        if state.memory:
            *older, begin = state.memory
            order = min(self.order, i, len(older))
            x = _moved(begin, (d, *older), nodes, i - 1, order, corrected=True)
        memory = (d, *state.memory[:-1])[: self.order]
        if nodes[i + 1].sigma == 0 or nodes[i].alpha == 0:
            following = _straight(x, d, nodes[i], nodes[i + 1])
        else:
            following = _moved(x, (d, *memory), nodes, i, min(self.order, len(memory)), corrected=False)
        usable = nodes[i].alpha != 0  # log-SNR of pure noise is no neighbour
        return Transition(advanced(state, following, (*memory, x) if usable else ()))


def _moved(begin: Tensor, known: tuple[Tensor, ...], nodes: tuple[Coef, ...], i: int, order: int, *, corrected: bool) -> Tensor:
    """From node i to i + 1.

    Args:
        begin: state at node i.
        known: x0 at the new node where `corrected`, then at i, i - 1, ...; the first is not used otherwise.
        nodes: of the grid.
        i: see above.
        order: how many of the values are used.
        corrected: whether the new node's own evaluation takes part.
    """
    c, d = nodes[i], nodes[i + 1]
    h = float(d.lam - c.lam)
    ratios = [float(nodes[i - j].lam - c.lam) / h for j in range(1, order)]
    places = list(range(2, order + 1))  # in `known`, of the values at the ratios
    if ratios and -ratios[0] * RATIO < 1:  # much longer than the step before: extrapolate half a step at most, correct by the new value
        ratios, places = ([], []) if corrected else ([-1.0], [2])
    if corrected:
        ratios, places = [*ratios, 1.0], [*places, 0]
    if not ratios:
        return _straight(begin, known[1], c, d)
    scale, factors = -float(d.alpha) * math.expm1(-h), _weights(ratios, h)
    shares = [scale * factor / ratio for factor, ratio in zip(factors, ratios, strict=True)]
    shrink = d.sigma / c.sigma
    return weighted(
        (shrink, begin),
        (d.alpha - c.alpha * shrink - sum(shares), known[1]),
        *((share, known[place]) for share, place in zip(shares, places, strict=True)),
    )


def _straight(x: Tensor, x0: Tensor, c: Coef, d: Coef) -> Tensor:
    """The step of first order from a state that is not the one that x0 was predicted of, but its correction."""
    shrink = d.sigma / c.sigma
    return weighted((shrink, x), (d.alpha - c.alpha * shrink, x0))


def _weights(ratios: list[float], h: float) -> list[float]:
    """Weights of differences for which the step is exact on polynomials; with one difference 1/2, which is as good and simpler."""
    if len(ratios) == 1:
        return [0.5]
    hh = -h
    base, k, factorial, right = math.expm1(hh), math.expm1(hh) / hh - 1, 1.0, []
    for q in range(1, len(ratios) + 1):
        right.append(k * factorial / base)
        factorial *= q + 1
        k = k / hh - 1 / factorial
    solved: list[float] = np.linalg.solve(np.vander(ratios, increasing=True).T, right).tolist()
    return solved
