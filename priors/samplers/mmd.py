"""Maximum mean discrepancy between features of samples and of data: few-step finetuning without a teacher (Aiello et al. 2023)."""

from jaxtyping import Float
from torch import Tensor


def cubic_kernel(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """(<a, b> / d + 1)^3, that of the kernel inception distance."""
    return (a @ b.mT / a.shape[1] + 1) ** 3


def squared_mmd(generated: Float[Tensor, "n d"], real: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """An unbiased estimate, which may be below 0; differentiable in both.

    Measure results with other features than those that were trained on: the objective is the metric.

    Args:
        generated: features of samples.
        real: features of data, of the same network.

    Raises:
        ValueError: there are fewer than two of either.
    """
    n, m = len(generated), len(real)
    if min(n, m) < 2:
        raise ValueError(f"{n} samples and {m} data have no spread; give at least two of each")
    within, beside, between = cubic_kernel(generated, generated), cubic_kernel(real, real), cubic_kernel(generated, real)
    own = (within.sum() - within.diagonal().sum()) / (n * (n - 1)) + (beside.sum() - beside.diagonal().sum()) / (m * (m - 1))
    return own - 2 * between.mean()
