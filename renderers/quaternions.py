"""Unit quaternions in wxyz order and rotation matrices."""

import torch
from jaxtyping import Float
from torch import Tensor


def quaternion_to_matrix(quats: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 3 3"]:
    """Rotation matrices of quaternions wxyz, which are normalised first."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def matrix_to_quaternion(rotations: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 4"]:
    """Quaternions wxyz, w >= 0, of rotation matrices.

    The eigenvector of the largest eigenvalue of a symmetric 4x4 matrix (Bar-Itzhack 2000): no branches, and the
    nearest rotation when the input is slightly off.
    """
    m = rotations
    xx, xy, xz, yx, yy, yz, zx, zy, zz = m.flatten(-2).unbind(-1)
    rows = [
        xx + yy + zz, zy - yz, xz - zx, yx - xy,
        zy - yz, xx - yy - zz, yx + xy, xz + zx,
        xz - zx, yx + xy, yy - xx - zz, zy + yz,
        yx - xy, xz + zx, zy + yz, zz - xx - yy,
    ]  # fmt: skip
    symmetric = torch.stack(rows, -1).unflatten(-1, (4, 4)) / 3
    quats = torch.linalg.eigh(symmetric.double()).eigenvectors[..., -1].to(m.dtype)
    return torch.where(quats[..., :1] < 0, -quats, quats)


def multiply(left: Float[Tensor, "*b 4"], right: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 4"]:
    """Hamilton product: the rotation `right` followed by `left`."""
    a, b, c, d = left.unbind(-1)
    w, x, y, z = right.unbind(-1)
    return torch.stack(
        [
            a * w - b * x - c * y - d * z,
            a * x + b * w + c * z - d * y,
            a * y - b * z + c * w + d * x,
            a * z + b * y - c * x + d * w,
        ],
        -1,
    )
