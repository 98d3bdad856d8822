"""Guidance: denoisers made of denoisers, nested freely, all in the space of clean data.

The condition and its absence are two calls, so that a weaker network can stand for the second one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gen3d.priors.samplers.coefficients import Coef, largest
from gen3d.priors.samplers.predictions import Decoupled, Denoiser, Prediction


@dataclass(frozen=True)
class CFG:
    """Classifier-free guidance (Ho and Salimans 2022), x0 = u + w (c - u), on an interval of noise (Kynkaanniemi et al. 2024).

    What else the conditional prediction carries (`aux`) is kept.

    Attributes:
        denoiser: called with the condition.
        weight: w; 1 is no guidance.
        unconditional: the condition that stands for none.
        weak: what is called without it; another network makes this autoguidance (Karras et al. 2024).
        low: smallest sigma / alpha that is guided; outside the interval there is one call only.
        high: largest.
        rescale: share by which the guided x0 is brought back to the standard deviation of the conditional one (Lin et al. 2024).
    """

    denoiser: Denoiser
    weight: float
    unconditional: Any = None
    weak: Denoiser | None = None
    low: float = 0.0
    high: float = float("inf")
    rescale: float = 0.0

    def __call__(self, x: Tensor, c: Coef, condition: Any = None) -> Prediction:
        """See `Denoiser`."""
        with_it = self.denoiser(x, c, condition)
        if not guided(c, self.low, self.high) or self.weight == 1:
            return with_it
        without = (self.weak or self.denoiser)(x, c, condition if self.weak else self.unconditional)
        x0 = without.x0 + self.weight * (with_it.x0 - without.x0)
        if self.rescale:
            axes = tuple(range(1, x.ndim))
            ratio = with_it.x0.std(axes, keepdim=True) / x0.std(axes, keepdim=True).clamp_min(torch.finfo(x0.dtype).tiny)
            x0 = self.rescale * ratio * x0 + (1 - self.rescale) * x0
        return with_it.at(x0, c)


@dataclass(frozen=True)
class CFGpp:
    """CFG++ (Chung et al. 2024): x0 = u + l (c - u) with a small l, and the unconditional noise is put back.

    Attributes:
        denoiser: called with the condition.
        weight: l in [0, 1], about a twelfth of CFG's.
        unconditional: the condition that stands for none.
    """

    denoiser: Denoiser
    weight: float
    unconditional: Any = None

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise ValueError(f"the weight is {self.weight}; CFG++ interpolates, so it is in [0, 1], about a twelfth of CFG's")

    def __call__(self, x: Tensor, c: Coef, condition: Any = None) -> Prediction:
        """See `Denoiser`."""
        with_it, without = self.denoiser(x, c, condition), self.denoiser(x, c, self.unconditional)
        return Decoupled(without.x0 + self.weight * (with_it.x0 - without.x0), without.eps, with_it.aux)


class APG:
    """Adaptive projected guidance (Sadat et al. 2024): the part of the guidance along the prediction, which oversaturates, is left out.

    Momentum remembers the guidance at the node before, until noise rises again in another run. That is right where every node is
    evaluated once: not for controllers that try several candidates, nor for `renoise_score`; set it to 0 there.

    Args:
        denoiser: called with the condition.
        weight: as in CFG.
        unconditional: the condition that stands for none.
        momentum: of the guidance; negative values damp what is repeated.
        limit: largest norm of the guidance, in units of the data; 0 for none.
        parallel: share of the parallel part that is kept.
        axes: over which norms are taken, counted from the sample's first axis, 1; None for all. Views `[b, v, ...]` that shall not
            influence each other take (2, 3, 4).
        low: as in CFG.
        high: as in CFG.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        weight: float,
        unconditional: Any = None,
        *,
        momentum: float = -0.5,
        limit: float = 0.0,
        parallel: float = 0.0,
        axes: tuple[int, ...] | None = None,
        low: float = 0.0,
        high: float = float("inf"),
    ) -> None:
        self._denoiser, self._weight, self._unconditional = denoiser, weight, unconditional
        self._momentum, self._limit, self._parallel, self._axes = momentum, limit, parallel, axes
        self._interval = low, high
        self._last = math.inf  # noise of the last call
        self._running: tuple[Tensor | None, Tensor | None] = (None, None)  # guidance at the node before it, and at it

    def __call__(self, x: Tensor, c: Coef, condition: Any = None) -> Prediction:
        """See `Denoiser`."""
        with_it = self._denoiser(x, c, condition)
        if not guided(c, *self._interval):
            return with_it
        difference = with_it.x0 - self._denoiser(x, c, self._unconditional).x0
        before = self._remembered(largest(c.sb))
        if before is not None and before.shape == difference.shape:
            difference = difference + self._momentum * before
        self._running = before, difference
        axes = self._axes or tuple(range(1, x.ndim))
        if self._limit:
            difference = difference * (self._limit / _norm(difference, axes)).clamp(max=1.0)
        unit = with_it.x0 / _norm(with_it.x0, axes)
        along = (difference * unit).sum(axes, keepdim=True) * unit
        return with_it.at(with_it.x0 + (self._weight - 1) * (difference - (1 - self._parallel) * along), c)

    def _remembered(self, sb: float) -> Tensor | None:
        """The guidance at the node before this one."""
        if sb > self._last:  # another run
            self._running = None, None
        elif sb < self._last:
            self._running = self._running[1], None
        self._last = sb
        return self._running[0]


@dataclass(frozen=True)
class Project:
    """Any map of the expected clean data, such as render(reconstruct(x0)), between a denoiser and a solver.

    Attributes:
        denoiser: whose x0 is mapped.
        mapping: x0 `[b, ...]`, coefficients and aux to x0 and aux.
    """

    denoiser: Denoiser
    mapping: Callable[[Tensor, Coef, Any], tuple[Tensor, Any]]

    def __call__(self, x: Tensor, c: Coef, condition: Any = None) -> Prediction:
        """See `Denoiser`."""
        prediction = self.denoiser(x, c, condition)
        x0, aux = self.mapping(prediction.x0, c, prediction.aux)
        return replace(prediction.at(x0, c), aux=aux)


def guided(c: Coef, low: float, high: float) -> bool:
    """Whether all noise lies in an interval of sigma / alpha."""
    noise = torch.as_tensor(c.sb, dtype=torch.float64)
    return bool(((noise >= low) & (noise <= high)).all())


def _norm(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """In float32 at least, never 0."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return wide.square().sum(axes, keepdim=True).sqrt().clamp_min(torch.finfo(wide.dtype).tiny)
