"""Real spherical harmonics of degree 0 to 3, in the order and signs of 3D Gaussian splatting (with Condon–Shortley)."""

import functools

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.renderers.sphere import fibonacci_sphere

SH0 = 0.28209479177387814  # Y_0^0 = 1 / (2 sqrt(pi))
SH1 = 0.4886025119029199
MAX_DEGREE = 3


def coefficient_count(degree: int) -> int:
    """Number of coefficients up to `degree`: (degree + 1)²."""
    return (degree + 1) ** 2


def degree_of(count: int) -> int:
    """The degree that `count` coefficients make.

    Raises:
        ValueError: `count` is not 1, 4, 9 or 16.
    """
    for degree in range(MAX_DEGREE + 1):
        if count == coefficient_count(degree):
            return degree
    raise ValueError(f"{count} harmonic coefficients were given; there must be 1, 4, 9 or 16 (degree 0 to {MAX_DEGREE})")


def basis(directions: Float[Tensor, "*b 3"], degree: int) -> Float[Tensor, "*b k"]:
    """The harmonics at unit directions, k = (degree + 1)²."""
    x, y, z = directions.unbind(-1)
    values = [torch.full_like(x, SH0)]
    if degree >= 1:
        values += [-SH1 * y, SH1 * z, -SH1 * x]
    if degree >= 2:
        xx, yy, zz = x * x, y * y, z * z
        values += [
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.31539156525252005 * (2 * zz - xx - yy),
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (xx - yy),
        ]
    if degree >= 3:
        values += [
            -0.5900435899266435 * y * (3 * xx - yy),
            2.890611442640554 * x * y * z,
            -0.4570457994644658 * y * (4 * zz - xx - yy),
            0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
            -0.4570457994644658 * x * (4 * zz - xx - yy),
            1.445305721320277 * z * (xx - yy),
            -0.5900435899266435 * x * (xx - 3 * yy),
        ]
    return torch.stack(values, -1)


def evaluate(sh: Float[Tensor, "*b k 3"], directions: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
    """Colour of each splat seen along unit `directions` (camera to splat): max(0, 0.5 + Σ Y_i sh_i)."""
    weights = basis(directions, degree_of(sh.shape[-2]))
    return ((weights[..., None] * sh).sum(-2) + 0.5).clamp_min(0)


def rgb_to_sh0(rgb: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
    """The degree-0 coefficient that shows as `rgb` in [0, 1]."""
    return (rgb - 0.5) / SH0


def sh0_to_rgb(sh0: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
    """The view-independent part of a splat's colour, not clamped."""
    return sh0 * SH0 + 0.5


@functools.cache
def _probe(degree: int) -> tuple[Tensor, Tensor]:
    """Well-spread directions and the pseudo-inverse of the basis there, float64."""
    directions = fibonacci_sphere(64)
    return directions, torch.linalg.pinv(basis(directions, degree))


def rotate(sh: Float[Tensor, "*b k 3"], rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "*b k 3"]:
    """Harmonics of a rotated object: seen along `rotation @ d` it has the colour it had along `d`.

    The matrix is solved from values at sample directions. It is block-diagonal by degree, exact to rounding, and
    needs no Wigner recursion.
    """
    degree = degree_of(sh.shape[-2])
    if degree == 0:
        return sh
    directions, inverse = _probe(degree)
    seen_before = directions @ rotation.detach().to("cpu", torch.float64)  # row vectors: R^T d
    matrix = (inverse @ basis(seen_before, degree)).to(sh)
    return torch.einsum("ij,...jc->...ic", matrix, sh)
