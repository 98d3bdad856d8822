"""Score distillation: a denoiser as a loss on anything that produces pictures.

One primitive serves DreamFusion's SDS (random times, weight sigma^2) and RED-diff (falling times, weight proportional to sigma / alpha,
Mardani et al. 2023), whose fixed point is a regularised point estimate and not the posterior mean.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gen3d.priors.samplers.coefficients import Coef, Scalar
from gen3d.priors.samplers.predictions import Denoiser

Weight = Callable[[Coef], Scalar]
HIGHEST = 100.0  # weights go to infinity towards pure noise


def red(strength: float = 0.25) -> Weight:
    """RED-diff's weight, strength x sigma / alpha."""
    return lambda c: min(strength * c.sb, HIGHEST)


def sds(c: Coef) -> Scalar:
    """Weight sigma^2."""
    return c.sigma**2


def score_distillation(denoiser: Denoiser, x0: Tensor, c: Coef, eps: Tensor, condition: Any = None, *, weight: Weight = sds) -> Tensor:
    """The loss weight <eps_hat - eps, x0> / number of elements; its gradient with respect to x0 needs no gradient of the denoiser.

    Args:
        denoiser: with its guidance; called without gradients.
        x0: what is made better `[b, ...]`, with a gradient.
        c: how noisy to look at it, one time for all samples.
        eps: noise `[b, ...]`.
        condition: of the denoiser.
        weight: of this noise.

    Returns:
        a scalar whose value means nothing; its gradient does.
    """
    with torch.no_grad():
        k = c.like(x0)
        state = k.alpha * x0 + k.sigma * eps
        residual = denoiser(state.to(x0.dtype), c, condition).eps - eps
    return weight(c) * (residual * x0).sum() / x0.numel()
