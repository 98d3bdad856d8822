"""Directions spread evenly over the sphere."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


def fibonacci_sphere(count: int) -> Float[Tensor, "count 3"]:
    """Unit vectors on a Fibonacci spiral (Swinbank and Purser 2006), float64.

    The spiral runs down from +Y, each vector in the middle of its share of the height and turned by the golden angle from the
    one before; the first one leans towards +Z, the next ones turn towards +X.
    """
    index = torch.arange(count, dtype=torch.float64)
    height, azimuth = 1 - (2 * index + 1) / count, GOLDEN_ANGLE * index
    radius = (1 - height * height).sqrt()
    return torch.stack([radius * azimuth.sin(), height, radius * azimuth.cos()], -1)
