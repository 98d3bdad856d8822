"""Volumes that begin at an object's surface: a splat for every node near which the rendered depth maps have points."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.errors import BadInput, UsageError
from gen3d.pipeline.objects.views import ObjectViews
from gen3d.priors.volume.volume import CHANNELS, COLOR, OFFSET, OPACITY, QUAT, SCALE, THINNEST, GaussianVolume, nodes, nothing
from gen3d.renderers.frames import rigid
from gen3d.renderers.harmonics import rgb_to_sh0
from gen3d.renderers.quaternions import matrix_to_quaternion

FILLED = 0.93  # of the grid by the longest side
COVERED = 0.9  # alpha of pixels that are one surface: at outlines depth is a mean of near and far
WIDER = 1.7  # times the deviation of a cell's points: beside each other such splats close the surface
WIDEST = 0.75  # deviation in cells
SOLID = 3.0  # logit of opacity


@dataclass(frozen=True, slots=True)
class SurfacePoints:
    """What the views of an object see of its surface.

    Attributes:
        places: `[p, 3]`.
        colors: `[p, 3]` in [0, 1].
    """

    places: Float[Tensor, "p 3"]
    colors: Float[Tensor, "p 3"]


def surface_points(views: ObjectViews) -> SurfacePoints:
    """The points of all pixels that an object covers.

    Raises:
        UsageError: the views have no depth.
        BadInput: the object covers no pixel.
    """
    if views.depth is None:
        raise UsageError("volumes begin at the surface and the set holds no depth; render it with --geometry true")
    v, height, width = views.alpha.shape
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixels = torch.stack([columns, rows, torch.ones_like(rows)], -1).flatten(0, 1)
    rotation, matrix = views.cameras.world_to_camera[:, :3, :3], views.cameras.intrinsics
    rays = pixels @ (rotation.mT @ torch.linalg.inv(matrix)).mT  # of depth 1
    places = views.cameras.positions[:, None] + rays * views.depth.reshape(v, -1, 1)
    seen = (views.alpha > COVERED).reshape(v, -1)
    if not bool(seen.any()):
        raise BadInput("the object covers no pixel of its pictures; render them larger")
    return SurfacePoints(places[seen], views.rgb.reshape(v, -1, 3)[seen])


def framed(views: ObjectViews, points: SurfacePoints) -> tuple[ObjectViews, SurfacePoints, tuple[float, ...], float]:
    """Views and points as a volume has them: the middle of the object's box at the origin, its longest side almost the grid's.

    Returns:
        views, points, and the centre and scale of p -> scale (p - centre).
    """
    low, high = points.places.amin(0), points.places.amax(0)
    centre, scale = (low + high) / 2, FILLED / float((high - low).amax().clamp_min(1e-6))
    moved = rigid(torch.eye(3), -scale * centre, scale)
    placed = replace(points, places=scale * (points.places - centre))
    depth = None if views.depth is None else scale * views.depth
    return replace(views, cameras=views.cameras.moved(moved), depth=depth), placed, tuple(centre.tolist()), scale


def surface_volume(points: SurfacePoints, size: int) -> GaussianVolume:
    """The points of each node's cell as one splat: their mean, their spread, their mean colour; other nodes hold nothing.

    Args:
        points: of one object within the grid.
        size: nodes along a side.
    """
    cell, count = 1 / (size - 1), size**3
    at = ((points.places + 0.5) / cell).round().long().clamp(0, size - 1)
    home = (at[:, 0] * size + at[:, 1]) * size + at[:, 2]
    number = torch.zeros(count).index_add_(0, home, torch.ones(len(home)))
    mean = torch.zeros(count, 3).index_add_(0, home, points.places) / number.clamp_min(1)[:, None]
    color = torch.zeros(count, 3).index_add_(0, home, points.colors) / number.clamp_min(1)[:, None]
    off = points.places - mean[home]
    spread = torch.zeros(count, 3, 3).index_add_(0, home, off[:, :, None] * off[:, None]) / number.clamp_min(1)[:, None, None]
    held = number > 0
    lengths, axes = torch.linalg.eigh(spread[held] + 1e-8 * torch.eye(3))
    axes = torch.where(torch.linalg.det(axes)[:, None, None] < 0, -axes, axes)
    values = nothing(size)
    values[held, OFFSET] = (mean - nodes(size))[held]
    values[held, COLOR] = rgb_to_sh0(color[held])
    values[held, SCALE] = (WIDER * lengths.clamp_min(0).sqrt()).clamp(THINNEST * cell, WIDEST * cell).log()
    values[held, QUAT] = matrix_to_quaternion(axes)
    values[held, OPACITY] = SOLID
    return GaussianVolume(values.T.reshape(CHANNELS, size, size, size))
