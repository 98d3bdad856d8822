"""Denoisers without weights, exact for data that are known: oracles for tests, priors for demonstrations, statistics for teleporting."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.priors.samplers.coefficients import Coef
from gen3d.priors.samplers.predictions import Prediction, implied_eps


@dataclass(frozen=True)
class Gaussian:
    """Normal data: the Wiener filter, x0 = mu + alpha C (alpha^2 C + sigma^2 I)^-1 (x - alpha mu).

    Attributes:
        mean: `[d]`, the flattened event.
        basis: orthonormal columns `[d, r]` of the covariance.
        variances: along them `[r]`, at least 0.
        rest: variance in all other directions.
    """

    mean: Float[Tensor, " d"]
    basis: Float[Tensor, "d r"]
    variances: Float[Tensor, " r"]
    rest: float = 0.0

    @staticmethod
    def of(mean: Float[Tensor, " d"], covariance: Float[Tensor, "d d"]) -> "Gaussian":
        """From a full covariance."""
        variances, basis = torch.linalg.eigh(covariance)
        return Gaussian(mean, basis, variances.clamp_min(0))

    def __call__(self, x: Tensor, c: Coef, condition: Any = None) -> Prediction:
        """The mean of the data that a state can come from; see `Denoiser`."""
        k = c.like(x.flatten(1))
        offset = x.flatten(1) - k.alpha * self.mean.to(x)
        along = offset @ self.basis.to(x)
        shrink = self.variances.to(x) * k.alpha / (k.alpha**2 * self.variances.to(x) + k.sigma**2)
        rest = self.rest * k.alpha / (k.alpha**2 * self.rest + k.sigma**2)
        x0 = self.mean.to(x) + rest * offset + ((shrink - rest) * along) @ self.basis.to(x).mT
        x0 = x0.reshape(x.shape).to(x.dtype)
        return Prediction(x0, implied_eps(x, x0, c))


@dataclass(frozen=True)
class Mixture:
    """A mixture of normal distributions with full covariances.

    Attributes:
        weights: `[k]`, above 0; their sum does not matter.
        means: `[k, d]`.
        covariances: `[k, d, d]`; zeros for isolated points.
    """

    weights: Float[Tensor, " k"]
    means: Float[Tensor, "k d"]
    covariances: Float[Tensor, "k d d"]

    def __call__(self, x: Tensor, c: Coef, condition: Any = None) -> Prediction:
        """The mean of the data that a state can come from; see `Denoiser`."""
        flat = x.flatten(1)
        log_share, centres = self.components(flat, c)
        x0 = (log_share.softmax(-1)[..., None] * centres).sum(1).reshape(x.shape).to(x.dtype)
        return Prediction(x0, implied_eps(x, x0, c))

    def components(self, flat: Float[Tensor, "b d"], c: Coef) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k d"]]:
        """For each component the log of its joint density with the states, and the x0 that it expects."""
        means, covariances = self.means.to(flat), self.covariances.to(flat)
        alpha, sigma = (torch.as_tensor(value, dtype=torch.float64).to(flat).reshape(-1, 1, 1) for value in (c.alpha, c.sigma))
        spread = alpha[..., None] ** 2 * covariances + sigma[..., None] ** 2 * torch.eye(flat.shape[1]).to(flat)
        factor = torch.linalg.cholesky(spread).expand(len(flat), -1, -1, -1)
        offset = flat[:, None] - alpha * means
        solved = torch.cholesky_solve(offset[..., None], factor)[..., 0]
        log_share = self.weights.to(flat).log() - (offset * solved).sum(-1) / 2 - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return log_share, means + alpha * (covariances @ solved[..., None])[..., 0]

    def log_density(self, x: Float[Tensor, "b d"], c: Coef) -> Float[Tensor, " b"]:
        """Of noised data at c."""
        share, _ = self.components(x, c)
        return share.logsumexp(-1) - self.weights.sum().log().to(x) - x.shape[1] / 2 * math.log(2 * math.pi)

    def sample(self, count: int, generator: torch.Generator | None = None) -> Float[Tensor, "count d"]:
        """Data."""
        chosen = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        roots = torch.linalg.cholesky(self.covariances + 1e-30 * torch.eye(self.means.shape[1]).to(self.means))
        z = torch.randn(count, self.means.shape[1], generator=generator, dtype=self.means.dtype)
        return self.means[chosen] + (roots[chosen] @ z[..., None])[..., 0]


@dataclass(frozen=True)
class Points:
    """Isolated data, each as likely as the others: the optimal denoiser of a finite set, which memorises it.

    Attributes:
        data: `[n, ...]`.
        chunk: how many are compared at once; the result does not depend on it.
    """

    data: Tensor
    chunk: int = 1024

    def __call__(self, x: Tensor, c: Coef, condition: Any = None) -> Prediction:
        """The mean of the data that a state can come from; see `Denoiser`."""
        k, flat = c.like(x.flatten(1)), x.flatten(1)
        running = Running(flat.new_zeros(len(x), 1), flat)
        for some in self.data.to(x).flatten(1).split(self.chunk):
            running.add(-torch.cdist(flat, k.alpha * some).square() / (2 * k.sigma**2), some.expand(len(x), -1, -1))
        x0 = running.mean().reshape(x.shape).to(x.dtype)
        return Prediction(x0, implied_eps(x, x0, c))


class Running:
    """A softmax-weighted mean over data that arrive in pieces. Pieces are rescaled to a common maximum: averaging their means is wrong.

    Args:
        weight: zeros `[b, 1]`, or `[b, d]` where each element has weights of its own.
        total: `[b, d]`, of which only the shape counts.
    """

    def __init__(self, weight: Tensor, total: Tensor) -> None:
        self._top = torch.full_like(weight, -torch.inf)
        self._weight, self._total = torch.zeros_like(weight), torch.zeros_like(total)

    def add(self, logits: Float[Tensor, "b n *d"], values: Float[Tensor, "b n d"]) -> None:
        """Some more values with the logs of their weights."""
        logits = logits[..., None] if logits.ndim == 2 else logits
        top = torch.maximum(self._top, logits.amax(1))
        share, faded = (logits - top[:, None]).exp(), (self._top - top).exp()
        self._weight = self._weight * faded + share.sum(1)
        self._total = self._total * faded + (share * values).sum(1)
        self._top = top

    def mean(self) -> Float[Tensor, "b d"]:
        """Of all so far."""
        return self._total / self._weight
