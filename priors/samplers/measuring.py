"""Guidance by measurements y = H(x0) + noise: samples of what is known to look like y.

Three approximations of the likelihood of y given a noisy state. On normal data only the last samples the posterior: in the tests'
problem the trace of its covariance is 0.70 (DPS), 1.22 (PiGDM) and 1.00 (Tweedie) times the true one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from gen3d.priors.samplers.coefficients import Coef, everywhere, weighted
from gen3d.priors.samplers.predictions import Denoiser, Prediction, mapped

Operator = Callable[[Tensor], Tensor]
SOLVED = 1e-24  # of the squared residual, below which a sample is done


@dataclass(frozen=True)
class Measure:
    """A denoiser whose x0 is moved by (sigma^2 / alpha) grad log p(y | x), which every solver then uses like any other x0.

    Works under `torch.inference_mode` if the tensors that the operator holds were made outside of it.

    Attributes:
        denoiser: differentiable in x. Put several measurements into one operator instead of nesting.
        operator: H, differentiable once, linear or nearly so: a mask, a blur, a rasterizer. `[b, ...]` to `[b, ...]`.
        measured: y, broadcast to what the operator returns.
        noise_std: of the measurements, above 0.
        covariance: what the clean data are taken to vary by, given x: dps nothing at all, pigdm r^2 I with
            r^2 = sb^2 s^2 / (sb^2 + s^2), tweedie (sigma^2 / alpha) dx0/dx, which is right.
        sigma_data: s, the standard deviation of the data, for pigdm.
        iterations: of conjugate gradients, each two calls of the operator.

    Raises:
        ValueError: the noise is not above 0, the covariance is unknown, shapes do not fit, or the denoiser has no gradient.
    """

    denoiser: Denoiser
    operator: Operator
    measured: Tensor
    noise_std: float
    covariance: Literal["dps", "pigdm", "tweedie"] = "tweedie"
    sigma_data: float = 1.0
    iterations: int = 5

    def __post_init__(self) -> None:
        if not self.noise_std > 0:
            raise ValueError(f"the noise of the measurements is {self.noise_std}; it must be above 0, however small")
        if self.covariance not in ("dps", "pigdm", "tweedie"):
            raise ValueError(f"the covariance is {self.covariance!r}; choose dps, pigdm or tweedie")

    def __call__(self, x: Tensor, c: Coef, condition: Any = None) -> Prediction:
        """See `Denoiser`."""
        if everywhere(c.alpha == 0):
            return self.denoiser(x, c, condition)  # pure noise says nothing of what was measured
        with torch.inference_mode(False), torch.enable_grad():
            leaf = x.detach().clone().requires_grad_()
            k = c.like(leaf)
            prediction = self.denoiser(leaf, c, mapped(lambda part: part.clone() if part.is_inference() else part, condition))
            if not prediction.x0.requires_grad:
                raise ValueError("the denoiser within has no gradient; put several measurements into one operator, and no_grad nowhere")
            clean = prediction.x0.detach().requires_grad_()
            predicted = self.operator(clean)
            residual = self._residual(predicted.detach())

            def gathered(w: Tensor) -> Tensor:
                """(sigma^2 / alpha) J^T H^T w: what a change of the measurements says of x0."""
                (seen,) = torch.autograd.grad(predicted, clean, w, retain_graph=True)
                (pulled,) = torch.autograd.grad(prediction.x0, leaf, seen, retain_graph=True)
                return weighted((k.sigma**2 / k.alpha, pulled))

            def seen_alike(w: Tensor) -> Tensor:
                """r^2 H^T w."""
                r = (k.sb * self.sigma_data) ** 2 / (k.sb**2 + self.sigma_data**2)
                return weighted((r, torch.autograd.grad(predicted, clean, w, retain_graph=True)[0]))

            if self.covariance == "dps":
                w = residual / self.noise_std**2
            else:
                w = self._solved(residual, clean.detach(), gathered if self.covariance == "tweedie" else seen_alike)
            moved = gathered(w)
        plain = mapped(Tensor.detach, prediction)
        found: Prediction = plain.at(plain.x0 + moved, c)
        return found

    def _residual(self, predicted: Tensor) -> Tensor:
        """What was measured and is not predicted."""
        measured = self.measured.to(predicted)
        if predicted.ndim < 2 or torch.broadcast_shapes(predicted.shape, measured.shape) != predicted.shape:
            raise ValueError(
                f"the operator gives {tuple(predicted.shape)} and {tuple(measured.shape)} was measured; "
                "it must give [b, ...] with at least two axes, and the measurements must broadcast to that"
            )
        return measured - predicted

    def _solved(self, residual: Tensor, x0: Tensor, spread: Operator) -> Tensor:
        """(H C H^T + noise_std^2 I)^-1 residual, with C H^T as `spread`."""

        def covariance(w: Tensor) -> Tensor:
            return along(self.operator, x0, spread(w)) + self.noise_std**2 * w

        return conjugate_gradients(covariance, residual, self.iterations, least=self.noise_std**2)


def along(operator: Operator, x: Tensor, direction: Tensor) -> Tensor:
    """The derivative of an operator along a direction, by central differences: exact for linear ones, and for any kernel."""
    axes = tuple(range(1, x.ndim))
    length = torch.linalg.vector_norm(direction, dim=axes, keepdim=True) / x[0].numel() ** 0.5
    step = 1e-2 / length.clamp_min(torch.finfo(x.dtype).tiny * 1e4)
    with torch.no_grad():
        change = operator(x + step * direction) - operator(x - step * direction)
    return change / (2 * step.reshape(len(x), *(1,) * (change.ndim - 1)))


def conjugate_gradients(matrix: Operator, right: Tensor, iterations: int, *, least: float = 0.0) -> Tensor:
    """An approximate solution of matrix(w) = right, each sample for itself; the matrix symmetric and positive.

    The covariance of a learned denoiser is neither, quite. A sample stops where the matrix stretches a direction by less than it can.

    Args:
        matrix: `[b, ...]` to `[b, ...]`.
        right: `[b, ...]`.
        iterations: as many as there are numbers solve it exactly.
        least: a bound that no eigenvalue can be below.
    """
    axes = tuple(range(1, right.ndim))
    w, rest = torch.zeros_like(right), right
    direction, size = rest, rest.square().sum(axes, keepdim=True)
    first, tiny = size, torch.finfo(right.dtype).tiny
    for _ in range(iterations):
        image = matrix(direction)
        stretched = (direction * image).sum(axes, keepdim=True)
        going = (stretched > 0.999 * least * direction.square().sum(axes, keepdim=True)) & (size > SOLVED * first)
        length = torch.where(going, size / stretched.clamp_min(tiny), 0.0)
        w, rest = w + length * direction, rest - length * image
        before, size = size, rest.square().sum(axes, keepdim=True)
        direction = torch.where(going, rest + size / before.clamp_min(tiny) * direction, 0.0)
    return w
