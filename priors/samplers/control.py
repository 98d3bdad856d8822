"""A new condition for a trained prior from labels or rewards, without forgetting it: KL-regularised control (CTRL, arXiv 2406.12120).

Maximise reward - price x KL(tuned || pretrained), along samples of a stochastic solver. The optimum is the pretrained distribution
times exp(reward / price): with log p(y | x0) as the reward, the condition y enters with the power 1 / price.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gen3d.priors.samplers.coefficients import Coef
from gen3d.priors.samplers.driver import Noise
from gen3d.priors.samplers.grids import Grid
from gen3d.priors.samplers.predictions import Denoiser, Prediction
from gen3d.priors.samplers.stepping import Solver, State


@dataclass(frozen=True)
class Checkpointed:
    """A denoiser that is evaluated again in the backward pass instead of keeping its activations, for losses on whole ways.

    Attributes:
        denoiser: the same in both passes.
    """

    denoiser: Denoiser

    def __call__(self, x: Tensor, c: Coef, condition: Any = None) -> Prediction:
        """See `Denoiser`."""
        result: Prediction = checkpoint(self.denoiser, x, c, condition, use_reentrant=False)
        return result


def controlled(
    tuned: Denoiser,
    pretrained: Denoiser,
    solver: Solver,
    grid: Grid,
    x: Tensor,
    noise: Noise,
    condition: Any = None,
    *,
    since: int = 0,
) -> tuple[Tensor, Float[Tensor, " b"]]:
    """Samples of the tuned denoiser, and how far their ways are from the pretrained one's, both with gradients.

    The steps without noise, usually only the last, are the pretrained denoiser's: there a difference would be infinitely far.

    Args:
        tuned: told the condition.
        pretrained: the same before tuning, without the condition.
        solver: stochastic and without memory, such as DDIM(1.0).
        grid: where to evaluate.
        x: at the first node `[b, ...]`.
        noise: source of normal numbers.
        condition: of the tuned denoiser.
        since: step that gradients begin at; a random one in each iteration bounds the memory, and biases little.

    Returns:
        samples, and the KL of their ways, the sum over steps of |mean - pretrained mean|^2 / (2 std^2).
    """
    state, distance = State(x), x.new_zeros(len(x))
    while state.i < len(grid):
        with torch.set_grad_enabled(torch.is_grad_enabled() and state.i >= since):
            c = solver.node(state, grid)
            before = solver.transition(state, pretrained(state.x, c), grid)
            if not before.noisy:
                state = before.state
                continue
            after = solver.transition(state, tuned(state.x, c, condition), grid)
            apart = (after.state.x - before.state.x) / after.std
            distance = distance + apart.square().flatten(1).sum(1) / 2
            state = after.commit(noise(x.shape))
    return state.x, distance


def control_loss(
    samples: Tensor, distance: Float[Tensor, " b"], reward: Callable[[Tensor], Float[Tensor, " b"]], *, price: float
) -> Float[Tensor, ""]:
    """What is to be minimised: price x KL - reward, the mean over samples.

    Raises:
        ValueError: the price is not above 0: without one the prior is forgotten.
    """
    if not price > 0:
        raise ValueError(f"the price of leaving the pretrained prior is {price}; it must be above 0, or the prior is forgotten")
    return (price * distance - reward(samples)).mean()
