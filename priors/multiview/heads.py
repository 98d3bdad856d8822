"""From the numbers of a network to splats: how published systems tie them to rays, scales and opacities.

Common to most that work: centres along the ray of a pixel, bounded scales that begin at one or two percent of the object, opacities
that begin at a tenth. Cells see the world frame of `objects-v1`: the object within a sphere of radius 0.5 at the origin.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.harmonics import rgb_to_sh0

RADIUS = 0.5  # of the sphere that holds the object
SMALLEST = 1e-6  # scale, far below anything that is drawn
NUMBERS = 14  # of a splat: place 3, scale 3, rotation 4, opacity 1, colour 3


@dataclass(frozen=True, slots=True)
class Cells:
    """Rays of the cells that splats are anchored at, all views of an object in a row.

    Attributes:
        origins: of the rays `[b, c, 3]`.
        directions: unit `[b, c, 3]`.
        extent: size of a cell at the origin of the world `[b, c]`.
        colors: of the pictures at the cells `[b, c, 3]` in [0, 1], for heads that begin with them.
    """

    origins: Float[Tensor, "b c 3"]
    directions: Float[Tensor, "b c 3"]
    extent: Float[Tensor, "b c"]
    colors: Float[Tensor, "b c 3"]


Raw = Float[Tensor, "b c k 14"]
Parts = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]  # means, scales, quats, opacities, rgb
Head = Callable[[Raw, Cells], Parts]


def splat_head(name: str) -> Head:
    """A preset by name: `layers` is ours, the others are those of the papers that they are named after.

    Raises:
        KeyError: there is none of this name.
    """
    return PRESETS[name]


def to_gaussians(raw: Raw, cells: Cells, head: Head) -> Gaussians:
    """The splats of all cells, `[b, c k]`, in float32: half precision would move them by pixels."""
    parts = (part.flatten(1, 2) for part in head(raw.float(), cells))
    means, scales, quats, opacities, rgb = parts
    quats = functional.normalize(quats, dim=-1, eps=1e-6)
    return Gaussians(means, scales.clamp_min(SMALLEST), quats, opacities, rgb_to_sh0(rgb)[..., None, :])


def layers(raw: Raw, cells: Cells) -> Parts:
    """Splats in layers behind each other on the ray through a cell, around the place of it that is closest to the origin.

    They begin evenly spread over the diameter of the object's sphere; each may move all along it, and a few cells aside. The front and the
    back of convex things are on the same rays; what one view does not show can still be said.
    """
    k, middle = raw.shape[2], _middle(cells)
    quantiles = torch.linspace(-1, 1, k + 2).to(raw)[1:-1]
    along = RADIUS * torch.tanh(torch.atanh(quantiles) + raw[..., 0])
    sideways = SIDEWAYS * torch.tanh(raw[..., 1:3] / 4)
    right, up = _across(cells.directions)
    means = (cells.origins + middle[..., None] * cells.directions)[:, :, None] + along[..., None] * cells.directions[:, :, None]
    means = means + sideways[..., :1] * right[:, :, None] + sideways[..., 1:] * up[:, :, None]
    size = cells.extent[..., None, None] * torch.exp((raw[..., 3:6] - 0.3).clamp(-4, 2.5))
    color = torch.sigmoid(raw[..., 11:14] + torch.logit(cells.colors.clamp(0.02, 0.98))[:, :, None])
    return means, size, _rotation(raw), torch.sigmoid(raw[..., 10] - 2), color


def lgm(raw: Raw, cells: Cells) -> Parts:
    """LGM: free places in [-1, 1]^3, which hold the object, scales 0.1 softplus; opacities begin at a half."""
    means = RADIUS * raw[..., :3].clamp(-1, 1)
    scales = RADIUS * 0.1 * functional.softplus(raw[..., 3:6])
    return means, scales, raw[..., 6:10], torch.sigmoid(raw[..., 10]), 0.5 * torch.tanh(raw[..., 11:14]) + 0.5


def splatter(raw: Raw, cells: Cells) -> Parts:
    """Splatter Image: depth along the ray and a small free offset across it; colours of degree 0."""
    depth = _middle(cells)[..., None] + RADIUS * (2 * torch.sigmoid(raw[..., 0]) - 1)
    means = cells.origins[:, :, None] + depth[..., None] * cells.directions[:, :, None]
    right, up = _across(cells.directions)
    means = means + 0.1 * RADIUS * (raw[..., 1:2] * right[:, :, None] + raw[..., 2:3] * up[:, :, None])
    scales = 2 * RADIUS * torch.exp((math.log(0.02) + 0.003 * raw[..., 3:6]).clamp(max=-1.0))
    return means, scales, _rotation(raw), torch.sigmoid(raw[..., 10] - 2), torch.sigmoid(raw[..., 11:14])


def gs_lrm(raw: Raw, cells: Cells) -> Parts:
    """GS-LRM: depth between near and far, scales below 0.3."""
    return _on_ray(raw, cells, RADIUS, torch.exp((raw[..., 3:6] - 2.3).clamp(max=math.log(0.3))))


def diffusiongs(raw: Raw, cells: Cells) -> Parts:
    """DiffusionGS for objects: the mean of three numbers is the depth within 1.8 radii around the middle; scales below exp(-1.2)."""
    merged = torch.cat([raw[..., :3].mean(-1, keepdim=True), raw[..., 1:]], -1)
    means, *rest = _on_ray(merged, cells, 1.8 * RADIUS, torch.exp((raw[..., 3:6] - 2.3).clamp(max=-1.2)))
    return (means.clamp(-RADIUS, RADIUS), *rest)  # type: ignore[return-value]  # a tuple of five


def diffsplat(raw: Raw, cells: Cells) -> Parts:
    """DiffSplat's reconstructor, whose objects are as large as ours: depth within 1 of the middle, scales between 0.0005 and 0.02."""
    return _on_ray(raw, cells, 1.0, (0.0005 + (0.02 - 0.0005) * torch.sigmoid(raw[..., 3:6])) / RADIUS)


SIDEWAYS = 0.25  # that a splat of `layers` can be beside its ray
PRESETS: dict[str, Head] = {
    "layers": layers,
    "lgm": lgm,
    "splatter": splatter,
    "gs-lrm": gs_lrm,
    "diffusiongs": diffusiongs,
    "diffsplat": diffsplat,
}


def _on_ray(raw: Raw, cells: Cells, reach: float, scales: Tensor) -> Parts:
    """Centres on the ray, at most `reach` from its middle; scales in units of a sphere of radius 1."""
    depth = _middle(cells)[..., None] + reach * (2 * torch.sigmoid(raw[..., 0]) - 1)
    means = cells.origins[:, :, None] + depth[..., None] * cells.directions[:, :, None]
    return means, RADIUS * scales, _rotation(raw), torch.sigmoid(raw[..., 10] - 2), torch.sigmoid(raw[..., 11:14])


def _middle(cells: Cells) -> Float[Tensor, "b c"]:
    """How far along its ray the closest point to the origin lies."""
    return -(cells.origins * cells.directions).sum(-1)


def _across(directions: Tensor) -> tuple[Tensor, Tensor]:
    """Two unit vectors at right angles to a direction, one of them level."""
    up = torch.zeros_like(directions)
    up[..., 1] = 1
    right = functional.normalize(torch.linalg.cross(directions, up), dim=-1, eps=1e-4)
    return right, torch.linalg.cross(right, directions)


def _rotation(raw: Raw) -> Tensor:
    """Quaternions around the identity."""
    quats = 0.5 * raw[..., 6:10]
    return torch.cat([1 + quats[..., :1], quats[..., 1:]], -1)
