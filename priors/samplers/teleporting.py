"""Teleportation: the first part of the way in one exact step (Wang and Vastola 2023, 2024).

At high noise a learned score is that of a normal distribution with the mean and covariance of the data, whose equation has a closed
solution. It costs no evaluation. A multistep solver starts without history where it arrives.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from gen3d.priors.samplers.analytic import Gaussian
from gen3d.priors.samplers.coefficients import Coef
from gen3d.priors.samplers.grids import Grid

SAFE = 2.0  # standard deviations of the data: with more noise than that, over 98 % of samples of two modes keep their mode (tests)


def teleport(x: Tensor, c: Coef, d: Coef, data: Gaussian) -> Tensor:
    """Where the probability-flow ODE of normal data takes a state, from the coefficients c to d, on any path.

    Args:
        x: state at c `[b, ...]`.
        c: from.
        d: to, usually with less noise.
        data: mean and covariance of the flattened data.
    """
    offset = x.flatten(1) - c.alpha * data.mean.to(x)
    along, basis = offset @ data.basis.to(x), data.basis.to(x)
    gain, rest = _gain(data.variances.to(x), c, d), _gain(torch.tensor(data.rest, dtype=torch.float64).to(x), c, d)
    moved = d.alpha * data.mean.to(x) + rest * offset + ((gain - rest) * along) @ basis.mT
    return moved.reshape(x.shape).to(x.dtype)


def _gain(variance: Tensor, c: Coef, d: Coef) -> Tensor:
    return ((d.alpha**2 * variance + d.sigma**2) / (c.alpha**2 * variance + c.sigma**2)).sqrt()


def safe_start(grid: Grid, data: Gaussian) -> int:
    """The last node with more noise than twice the largest standard deviation of the data; sampling starts there after teleporting."""
    largest = max(float(data.variances.max()) if len(data.variances) else 0.0, data.rest) ** 0.5
    return max(i for i, c in enumerate(grid.coefs) if i == 0 or float(c.sb) >= SAFE * largest)


@dataclass
class Statistics:
    """Mean and the largest principal components of data that stream by, in memory of (2 rank + batch) events.

    Attributes:
        rank: components that are kept.
    """

    rank: int
    count: int = 0
    _mean: Tensor | None = None
    _rows: Tensor | None = None  # components scaled so that rows^T rows is the scatter that they stand for
    _scatter: float = 0.0

    def add(self, data: Tensor) -> None:
        """A batch `[b, ...]`."""
        flat = data.detach().flatten(1).double().cpu()
        mean, size = flat.mean(0), len(flat)
        if self._mean is None or self._rows is None:
            self._mean, self._rows = torch.zeros_like(mean), flat.new_zeros(0, flat.shape[1])
        shift = (self.count * size / (self.count + size)) ** 0.5 * (mean - self._mean)
        centred = torch.cat([flat - mean, shift[None]])
        self._scatter += float(centred.square().sum())
        _, values, basis = torch.linalg.svd(torch.cat([self._rows, centred]), full_matrices=False)
        self._rows = values[: self.rank, None] * basis[: self.rank]
        self._mean = self._mean + size / (self.count + size) * (mean - self._mean)
        self.count += size

    def gaussian(self) -> Gaussian:
        """What has been seen, with the variance that the components leave spread evenly.

        Raises:
            ValueError: there were fewer than two samples.
        """
        if self.count < 2 or self._mean is None or self._rows is None:
            raise ValueError(f"{self.count} samples have no covariance; add at least two")
        scale = self._rows.norm(dim=1)
        variances = scale.square() / (self.count - 1)
        left = len(self._mean) - len(variances)
        rest = max(0.0, self._scatter / (self.count - 1) - float(variances.sum())) / left if left else 0.0
        return Gaussian(self._mean, (self._rows / scale.clamp_min(1e-300)[:, None]).mT, variances, rest)


def save_statistics(path: Path, data: Gaussian) -> None:
    """Beside a model, as safetensors."""
    rest: Float[Tensor, ""] = torch.tensor(data.rest, dtype=torch.float64)
    save_file({"mean": data.mean, "basis": data.basis.contiguous(), "variances": data.variances, "rest": rest}, path)


def load_statistics(path: Path) -> Gaussian:
    """What `save_statistics` wrote."""
    stored = load_file(path)
    return Gaussian(stored["mean"], stored["basis"], stored["variances"], float(stored["rest"]))
