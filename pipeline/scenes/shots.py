"""What a scene's files declare before any photo is decoded: the common result of all readers."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.errors import BadInput
from gen3d.pipeline.scenes.lenses import Lens
from gen3d.renderers.mesh import PointCloud

MAX_COORDINATE = 1e9


@dataclass(frozen=True, slots=True)
class Shot:
    """One photo as a scene file declares it.

    Attributes:
        name: file name relative to the image folder.
        photo: the picture file.
        mask: a picture that is dark where the photo must be ignored, or None.
        lens: of the camera, for the declared photo size.
        world_to_camera: rigid, OpenCV, float64.
        split: train, test, val, or None when the scene names no split.
    """

    name: str
    photo: Path
    mask: Path | None
    lens: Lens
    world_to_camera: Float[Tensor, "4 4"]
    split: str | None = None


@dataclass(frozen=True, slots=True)
class Capture:
    """All photos that a scene's files declare, and their points.

    Attributes:
        shots: in the order of the files.
        points: in the frame of the cameras, or None.
        notes: sentences for the user about what was not used.
    """

    shots: tuple[Shot, ...]
    points: PointCloud | None
    notes: tuple[str, ...] = ()


def rigid_pose(rows: Any, source: str) -> Float[Tensor, "4 4"]:
    """A rigid transform from 3 or 4 rows of numbers, float64; a rotation that is slightly off becomes the nearest one.

    Args:
        rows: nested lists.
        source: how errors call the pose.

    Raises:
        BadInput: wrong shape, not finite, or no rotation.
    """
    try:
        matrix = torch.tensor(rows, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise BadInput(f"the pose of {source} is not a 4x4 matrix of numbers ({error}); correct the file") from error
    if tuple(matrix.shape) not in ((3, 4), (4, 4)):
        raise BadInput(f"the pose of {source} has the shape {list(matrix.shape)}; it must be a 4x4 or 3x4 matrix: correct the file")
    if not (matrix.abs() < MAX_COORDINATE).all():
        raise BadInput(
            f"the pose of {source} holds a value that is not finite or not below {MAX_COORDINATE:g}; correct or remove the photo"
        )
    left, stretch, right = torch.linalg.svd(matrix[:3, :3])
    rotation = left @ right
    off = (stretch - 1).abs().max().item()
    if off > 1e-2 or torch.linalg.det(rotation) < 0:
        kind = f"is stretched by {off:.2g} (at most 0.01 is taken as rounding)" if off > 1e-2 else "is a reflection"
        raise BadInput(f"the pose of {source} {kind}; its upper left 3x3 block must be a rotation: correct the file")
    rigid = torch.eye(4, dtype=torch.float64)
    rigid[:3, :3], rigid[:3, 3] = rotation, matrix[:3, 3]
    return rigid


def require_files(paths: Sequence[Path], kind: str) -> None:
    """Check that files are there, before any work is done.

    Raises:
        BadInput: some are missing; the first and the count are named.
    """
    # os.path answers False to names that no file system takes, where pathlib raises.
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise BadInput(
            f"{len(missing)} of {len(paths)} {kind} are missing, the first is {str(missing[0])!r}; put them there or correct the file"
        )


def point_cloud(xyz: Any, rgb: Any) -> PointCloud | None:
    """Points from arrays of coordinates and of colours 0..255; points that are not finite are left out, and none at all give None."""
    points, colors = torch.as_tensor(xyz, dtype=torch.float64), torch.as_tensor(rgb, dtype=torch.float32)
    keep = (points.abs() < MAX_COORDINATE).all(-1)
    return PointCloud(points[keep].float(), (colors[keep] / 255).clamp(0, 1)) if keep.any() else None
