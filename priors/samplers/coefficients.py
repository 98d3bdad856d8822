"""What the noise is like at one time of a path: x_t = alpha x0 + sigma eps."""

import math
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

Scalar = float | Tensor  # float where all samples share a time, float64 tensors [b] or [b, ...] where samples or tokens have their own


@dataclass(frozen=True, slots=True)
class Coef:
    """Coefficients of a path at one time, in double precision.

    Attributes:
        t: time, as the path counts it.
        alpha: of the data, at least 0.
        sigma: of the noise, at least 0.
        dalpha: derivative of alpha with respect to t.
        dsigma: derivative of sigma with respect to t.
    """

    t: Scalar
    alpha: Scalar
    sigma: Scalar
    dalpha: Scalar
    dsigma: Scalar

    @property
    def sb(self) -> Scalar:
        """The noise in units of the data, sigma / alpha (the sigma of EDM); infinite for pure noise."""
        return ratio(self.sigma, self.alpha)

    @property
    def lam(self) -> Scalar:
        """log(alpha / sigma), half of the log-SNR: -inf for pure noise, inf for clean data."""
        return -log(self.sb)

    @property
    def spread(self) -> Scalar:
        """Standard deviation of the states of data with unit variance, sqrt(alpha^2 + sigma^2)."""
        return sqrt(self.alpha**2 + self.sigma**2)

    def like(self, x: Tensor) -> "Coef":
        """These coefficients as factors of a state `[b, ...]`: on its device, with trailing axes, still in double precision.

        Raises:
            ValueError: there are more axes of times than of the state.
        """
        return Coef(*(_like(getattr(self, field.name), x) for field in fields(self)))


def _like(value: Scalar, x: Tensor) -> Scalar:
    if not isinstance(value, Tensor):
        return value
    if value.ndim > x.ndim:
        raise ValueError(f"times of shape {tuple(value.shape)} do not fit a state {tuple(x.shape)}; one for each sample or token does")
    return value.to(x.device).reshape(value.shape + (1,) * (x.ndim - value.ndim) if value.ndim else ())


def ratio(above: Scalar, below: Scalar) -> Scalar:
    """A quotient that is infinite or NaN, not an error, below 0."""
    if isinstance(above, Tensor) or isinstance(below, Tensor) or below != 0:
        return above / below
    return math.copysign(math.inf, above) if above else math.nan


def log(value: Scalar) -> Scalar:
    """The logarithm, -inf at 0."""
    if isinstance(value, Tensor):
        return value.log()
    return math.log(value) if value > 0 else -math.inf


def sqrt(value: Scalar) -> Scalar:
    """The root; what rounding has made negative counts as 0."""
    return value.clamp_min(0).sqrt() if isinstance(value, Tensor) else math.sqrt(max(value, 0.0))


def expm1(value: Scalar) -> Scalar:
    """exp(value) - 1."""
    return value.expm1() if isinstance(value, Tensor) else math.expm1(value)


def where(condition: Any, yes: Scalar, no: Scalar) -> Scalar:
    """The one or the other, element by element where anything is a tensor."""
    if not isinstance(condition, Tensor):
        return yes if condition else no
    return torch.where(condition, yes, no)


def largest(value: Scalar) -> float:
    """The largest of all times, as it is."""
    return float(value.max()) if isinstance(value, Tensor) else value


def everywhere(condition: Any) -> bool:
    """Whether something holds for all times; grids refuse what holds for some of them only."""
    return bool(condition.all()) if isinstance(condition, Tensor) else bool(condition)


def weighted(*terms: tuple[Scalar, Tensor]) -> Tensor:
    """The sum of tensors with factors, which are rounded only here; one pass over memory for each term."""
    (factor, part), *rest = terms
    total = factor.to(part) * part if isinstance(factor, Tensor) else factor * part
    for factor, part in rest:
        if isinstance(factor, Tensor):
            total = torch.addcmul(total, factor.to(total), part.to(total))
        else:
            total = torch.add(total, part, alpha=factor)
    return total
