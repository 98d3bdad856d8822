"""Guidance by measurements y = H(x0) + noise: samples of what is known to look like y.

Three approximations of the likelihood of y given a noisy state. On normal data only the last samples the posterior: in the tests'
problem the trace of its covariance is 0.70 (DPS), 1.22 (PiGDM) and 1.00 (Tweedie) times the true one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from gen3d.priors.samplers.coefficients import Coef
from gen3d.priors.samplers.predictions import Denoiser, Prediction

Operator = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Measure:
    """A denoiser whose x0 is moved by (sigma^2 / alpha) grad log p(y | x), which every solver then uses like any other x0.

    Attributes:
        denoiser: differentiable in x.
        operator: H, differentiable, linear or nearly so: a mask, a blur, a rasterizer. `[b, ...]` to `[b, ...]`.
        measured: y.
        noise: standard deviation of the measurements, above 0.
        covariance: what the clean data are taken to vary by, given x: dps nothing at all, pigdm r^2 I with
            r^2 = sb^2 s^2 / (sb^2 + s^2), tweedie (sigma^2 / alpha) dx0/dx, which is right.
        data: s, the standard deviation of the data, for pigdm.
        iterations: of conjugate gradients.

    Raises:
        ValueError: the noise is not above 0, or the covariance is unknown.
    """

    denoiser: Denoiser
    operator: Operator
    measured: Tensor
    noise: float
    covariance: Literal["dps", "pigdm", "tweedie"] = "tweedie"
    data: float = 1.0
    iterations: int = 5

    def __post_init__(self) -> None:
        if not self.noise > 0:
            raise ValueError(f"the noise of the measurements is {self.noise}; it must be above 0, however small")
        if self.covariance not in ("dps", "pigdm", "tweedie"):
            raise ValueError(f"the covariance is {self.covariance!r}; choose dps, pigdm or tweedie")

    def __call__(self, x: Tensor, c: Coef, condition: Any = None) -> Prediction:
        """See `Denoiser`."""
        k = c.like(x)
        if bool(torch.as_tensor(c.alpha == 0).any()):
            return self.denoiser(x, c, condition)  # pure noise says nothing of what was measured
        gain = k.sigma**2 / k.alpha
        with torch.inference_mode(False), torch.enable_grad():
            leaf = x.detach().clone().requires_grad_()
            prediction = self.denoiser(leaf, c, condition)
            predicted = self.operator(prediction.x0)
            residual = (self.measured - predicted).detach()

            def pulled(w: Tensor) -> Tensor:
                """J^T H^T w: what a change of the measurements says of the state."""
                return torch.autograd.grad(predicted, leaf, w, retain_graph=True)[0]

            w = self._weighted(residual, prediction.x0.detach(), c, lambda v: gain * pulled(v))
            moved = gain * pulled(w)
        plain = Prediction(prediction.x0.detach(), prediction.eps.detach(), prediction.aux)
        return plain.at(plain.x0 + moved, x, c)

    def _weighted(self, residual: Tensor, x0: Tensor, c: Coef, spread: Operator) -> Tensor:
        """(H C H^T + noise^2 I)^-1 residual."""
        if self.covariance == "dps":
            return residual / self.noise**2
        push = torch.func.vjp(self.operator, x0)[1]
        if self.covariance == "pigdm":
            r = (c.sb * self.data) ** 2 / (c.sb**2 + self.data**2)

            def spread(v: Tensor) -> Tensor:
                return r * push(v)[0]

        def covariance(v: Tensor) -> Tensor:
            return torch.func.jvp(self.operator, (x0,), (spread(v),))[1] + self.noise**2 * v

        return conjugate_gradients(covariance, residual, self.iterations)


def conjugate_gradients(matrix: Operator, right: Tensor, iterations: int) -> Tensor:
    """An approximate solution of matrix(w) = right, each sample for itself; the matrix symmetric and positive.

    Args:
        matrix: `[b, ...]` to `[b, ...]`.
        right: `[b, ...]`.
        iterations: as many as there are numbers solve it exactly.
    """
    axes = tuple(range(1, right.ndim))
    w, rest = torch.zeros_like(right), right
    direction, size = rest, rest.square().sum(axes, keepdim=True)
    tiny = torch.finfo(right.dtype).tiny
    for _ in range(iterations):
        image = matrix(direction)
        length = size / (direction * image).sum(axes, keepdim=True).clamp_min(tiny)
        w, rest = w + length * direction, rest - length * image
        before, size = size, rest.square().sum(axes, keepdim=True)
        direction = rest + size / before.clamp_min(tiny) * direction
    return w
