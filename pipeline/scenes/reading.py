"""Photo scenes from folders: which format it is, which photos are held out, and which way is up."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.errors import BadInput, UsageError
from gen3d.pipeline.scenes.colmap import find_model, read_colmap
from gen3d.pipeline.scenes.photos import MIN_SIDE, develop
from gen3d.pipeline.scenes.scene import Scene, View
from gen3d.pipeline.scenes.settings import SceneSettings
from gen3d.pipeline.scenes.shots import Capture, Shot
from gen3d.pipeline.scenes.transforms import find_transforms, read_transforms
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.sphere import fibonacci_sphere

FORMATS: dict[str, Callable[[Path], Capture]] = {"transforms": read_transforms, "colmap": read_colmap}
MIN_TRAIN = 2
THREADS = 4


def read_scene(folder: Path, settings: SceneSettings) -> Scene:
    """Read photos with cameras, and points if there are any.

    Args:
        folder: holds transforms.json, transforms_train.json or a COLMAP model, and the photos.
        settings: size, hold-out and format.

    Raises:
        BadInput: the folder or a file in it cannot be used; the message says which and why.
        UsageError: the settings make no sense.
    """
    if settings.max_size < MIN_SIDE or settings.holdout < 0:
        raise UsageError(f"max_size is {settings.max_size} and holdout {settings.holdout}; they must be at least {MIN_SIDE} and 0")
    capture = read_capture(folder, settings.format)
    train, test = split_shots(sorted(capture.shots, key=lambda shot: shot.name), settings.holdout)
    _check_positions(folder, train)
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        views = tuple(pool.map(partial(develop, max_size=settings.max_size), (*train, *test)))
    views = without_opaque_alpha(views)
    identity = torch.eye(4, dtype=torch.float64)
    return Scene(views[: len(train)], views[len(train) :], capture.points, identity, capture.notes)


def read_capture(folder: Path, format: str = "auto") -> Capture:
    """What the files in a folder say of photos and cameras; no photo is decoded.

    Args:
        folder: as in `read_scene`.
        format: transforms, colmap, or auto to tell from the files.

    Raises:
        BadInput: the folder or a file in it cannot be used, or a photo is missing.
        UsageError: the format is not known.
    """
    if not os.path.isdir(folder):
        reason = "is not a folder" if os.path.exists(folder) else "does not exist"
        raise BadInput(f"{folder} {reason}; give the folder that holds the photos and their cameras")
    return FORMATS[_format(folder, format)](folder)


def without_opaque_alpha(views: Sequence[View]) -> tuple[View, ...]:
    """The photos; without their alpha where it is opaque everywhere in all of them, which says nothing about an object's outline."""
    if any(view.alpha is not None and bool((view.alpha < 255).any()) for view in views):
        return tuple(views)
    return tuple(replace(view, alpha=None) for view in views)


def split_shots(shots: Sequence[Shot], holdout: int) -> tuple[tuple[Shot, ...], tuple[Shot, ...]]:
    """Training and held-out photos: as the scene says, else every `holdout`-th photo is held out, counted from the first.

    Validation photos are held out when the scene has no test photos, and left out otherwise. Two photos always stay.

    Raises:
        BadInput: too few photos to fit to.
    """
    named = {shot.split for shot in shots} - {None}
    if named:
        held = "test" if "test" in named else "val"
        train = tuple(shot for shot in shots if shot.split in (None, "train"))
        test = tuple(shot for shot in shots if shot.split == held)
    else:
        spare = max(0, len(shots) - MIN_TRAIN)
        chosen = {index for index in range(len(shots)) if holdout and index % holdout == 0}
        chosen = set(sorted(chosen)[:spare])
        train = tuple(shot for index, shot in enumerate(shots) if index not in chosen)
        test = tuple(shots[index] for index in sorted(chosen))
    if len(train) < MIN_TRAIN:
        raise BadInput(
            f"there are {len(train)} photos to learn from, of {len(shots)}; a scene needs at least {MIN_TRAIN},"
            f" or {MIN_TRAIN + 1} with one held out: add photos"
        )
    return train, test


def orient_scene(scene: Scene) -> Scene:
    """The scene turned so that up, as the photographer held the camera, is +Y; scale and origin stay.

    A scene whose cameras agree on no direction is returned unchanged.
    """
    up = estimate_up(torch.cat([view.camera.world_to_camera for view in scene.views])[:, :3, :3].double())
    if up is None:
        return scene
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3] = _rotation_between(up, up.new_tensor([0.0, 1.0, 0.0]))
    points = scene.points
    if points is not None:
        points = replace(points, points=(points.points.double() @ turn[:3, :3].mT).float())
    return replace(
        scene,
        train=tuple(replace(view, camera=_turned(view.camera, turn)) for view in scene.train),
        test=tuple(replace(view, camera=_turned(view.camera, turn)) for view in scene.test),
        points=points,
        world_from_source=turn @ scene.world_from_source,
    )


def estimate_up(rotations: Float[Tensor, "v 3 3"]) -> Float[Tensor, " 3"] | None:
    """The world's up direction from world-to-camera rotations, or None when the cameras agree on none.

    The mean of the cameras' own up directions leans towards the side that cameras look down from, and photos taken upright
    spoil it. But a level camera has one image axis at right angles to up wherever it stands, so of many directions the one
    is taken from which the nearer axis of each camera deviates least (sum of absolute cosines, which a few tilted photos do
    not spoil); turning the camera by 90 degrees and pointing its top downwards cost a little extra.
    """
    across, along = rotations[:, 0], rotations[:, 1]
    # Cameras that all face the same way leave a circle free, and only their own up is exactly on it.
    directions = torch.cat([fibonacci_sphere(4096).to(rotations), -along])
    off_level, off_upright = (across @ directions.mT).abs(), (along @ directions.mT).abs()
    deviation = torch.minimum(off_level, off_upright + 0.1)
    best = (deviation + 0.05 * along @ directions.mT).mean(0).argmin()
    if deviation[:, best].mean() > 0.2:
        return None
    start = directions[best]
    axes = torch.where((off_level <= off_upright + 0.1)[:, best, None], across, along)
    up = start
    for _ in range(20):  # iteratively reweighted least squares
        weights = 1 / (axes @ up).abs().clamp_min(0.02)[:, None]
        # The last term decides where all cameras face the same way, and their axes leave a whole circle free.
        scatter = axes.mT @ (axes * weights) / weights.sum() - 0.01 * torch.outer(start, start)
        up = torch.linalg.eigh(scatter).eigenvectors[:, 0]
    return up if up @ start > 0 else -up


def _format(folder: Path, name: str) -> str:
    if name != "auto":
        if name not in FORMATS:
            raise UsageError(f"the scene format {name!r} is not known; choose one of auto, {', '.join(FORMATS)}")
        return name
    if find_transforms(folder):
        return "transforms"
    if find_model(folder) is not None:
        return "colmap"
    raise BadInput(
        f"{folder} holds no cameras that can be read; it needs transforms.json, transforms_train.json or a COLMAP model"
        " in sparse/0, sparse or colmap/sparse/0"
    )


def _check_positions(folder: Path, shots: Sequence[Shot]) -> None:
    """Refuse cameras that single precision cannot tell apart."""
    positions = torch.stack([-(shot.world_to_camera[:3, :3].mT @ shot.world_to_camera[:3, 3]) for shot in shots])
    spread = (positions - positions.mean(0)).norm(dim=-1).max().item()
    distance = positions.norm(dim=-1).max().item()
    if spread < max(1e-6, 1e-4 * distance):
        raise BadInput(
            f"the cameras of {folder} lie within {spread:.3g} of one another and {distance:.3g} from the origin; photos must be"
            " taken from different places, not further from the origin than 10,000 times their spread: move the origin or add photos"
        )


def _rotation_between(start: Float[Tensor, " 3"], end: Float[Tensor, " 3"]) -> Float[Tensor, "3 3"]:
    """The smallest rotation that takes one unit vector to another: two reflections, on `start` and on the half-way vector."""
    middle = start + end
    if middle.norm() < 1e-6:
        middle = torch.linalg.cross(start, start.new_tensor([0.0, 0.0, 1.0]) if start[2].abs() < 0.9 else start.new_tensor([1.0, 0.0, 0.0]))
    middle = middle / middle.norm()
    reflect_start = torch.eye(3, dtype=start.dtype) - 2 * torch.outer(start, start)
    reflect_middle = torch.eye(3, dtype=start.dtype) - 2 * torch.outer(middle, middle)
    return reflect_middle @ reflect_start


def _turned(camera: Cameras, turn: Float[Tensor, "4 4"]) -> Cameras:
    """A camera of the turned world, computed in double precision."""
    return camera.to(torch.float64).moved(turn).to(torch.float32)
