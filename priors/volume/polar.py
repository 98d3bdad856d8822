"""Rotations of splats as three numbers that mean the same for the same ellipsoid (GVGEN's 13 channels, 2403.12957).

A quaternion and its negative are one rotation, and the axes of an ellipsoid may change places and signs: networks cannot learn what has
24 right answers. Here axes are sorted by falling scale, their signs are fixed, and where two scales are alike, so that the ellipsoid does
not tell its axes, a rule does.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from gen3d.renderers.quaternions import multiply, quaternion_to_matrix

ALIKE = 1.03  # ratio of scales up to which axes are no more than noise


def to_polar(scales: Float[Tensor, "*b 3"], quats: Float[Tensor, "*b 4"]) -> tuple[Float[Tensor, "*b 3"], Float[Tensor, "*b 3"]]:
    """Scales that fall, and three angles in [-1, 1].

    The first two say where the longest axis points, in the hemisphere +Z: its angle to +Z, 0 to 90 degrees, and around it, -180 to 180.
    The third turns the second axis about the first, -90 to 90 degrees.

    Args:
        scales: above 0.
        quats: of any length above 0.
    """
    ordered, order = scales.sort(-1, descending=True)
    axes = quaternion_to_matrix(quats).gather(-1, order[..., None, :].expand(*order.shape[:-1], 3, 3))
    first, second = _settled(ordered, axes)
    first = torch.where(first[..., 2:] < 0, -first, first)
    theta = first[..., 2].clamp(-1, 1).acos()
    phi = torch.atan2(first[..., 1], first[..., 0]) * (theta > 1e-6)  # at the pole it could be anything
    down, around = _frame(theta, phi)
    psi = torch.atan2((second * around).sum(-1), (second * down).sum(-1))
    psi = torch.where(psi > math.pi / 2, psi - math.pi, torch.where(psi <= -math.pi / 2, psi + math.pi, psi))
    return ordered, torch.stack([4 * theta / math.pi - 1, phi / math.pi, 2 * psi / math.pi], -1)


def from_polar(angles: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 4"]:
    """The quaternions of angles in [-1, 1]; others are clamped."""
    bounded = angles.clamp(-1, 1)
    theta, phi, psi = (bounded[..., 0] + 1) * math.pi / 4, bounded[..., 1] * math.pi, bounded[..., 2] * math.pi / 2
    order = torch.tensor([0.5, -0.5, -0.5, -0.5]).to(angles).expand(*angles.shape[:-1], 4)  # x to z, y to x, z to y
    return multiply(multiply(_about(phi, 3), _about(theta, 2)), multiply(_about(psi, 3), order))


def _about(angle: Tensor, axis: int) -> Float[Tensor, "*b 4"]:
    """The quaternion of a turn about +Y (2) or +Z (3)."""
    parts = [(angle / 2).cos(), *(torch.zeros_like(angle),) * 3]
    parts[axis] = (angle / 2).sin()
    return torch.stack(parts, -1)


def _frame(theta: Tensor, phi: Tensor) -> tuple[Tensor, Tensor]:
    """Two unit vectors across a direction: towards its pole's far side, and around."""
    down = torch.stack([theta.cos() * phi.cos(), theta.cos() * phi.sin(), -theta.sin()], -1)
    return down, torch.stack([-phi.sin(), phi.cos(), torch.zeros_like(phi)], -1)


def _settled(scales: Tensor, axes: Tensor) -> tuple[Tensor, Tensor]:
    """The first two axes, by a rule where scales are too much alike to tell them."""
    first, second, third = axes.unbind(-1)
    flat, long = (scales[..., i] < ALIKE * scales[..., i + 1] for i in (0, 1))
    disc, needle = (flat & ~long)[..., None], (long & ~flat)[..., None]
    ball = (flat & long)[..., None]
    x, z = (torch.eye(3).to(axes)[i].expand_as(first) for i in (0, 2))
    level = _across(third)
    first = torch.where(ball, z, torch.where(disc, level, first))
    turned = torch.linalg.cross(third, level, dim=-1)
    second = torch.where(ball, x, torch.where(disc, turned, torch.where(needle, _across(first), second)))
    return first, second


def _across(direction: Tensor) -> Tensor:
    """A unit vector at right angles to a direction, level if it can be; the same for the opposite direction."""
    direction = torch.where(direction[..., 2:] < 0, -direction, direction)
    z, x = (torch.eye(3).to(direction)[i].expand_as(direction) for i in (2, 0))
    helper = torch.where(direction[..., 2:].abs() > 0.99, x, z)
    return functional.normalize(torch.linalg.cross(helper, direction, dim=-1), dim=-1)
