"""Where the splats of a real scene are looked at from, and which part of it becomes a mesh."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.pipeline.meshing.pictures import Pictures, spread_indices
from gen3d.pipeline.meshing.projecting import project_points
from gen3d.pipeline.paths import OPAQUE, robust_box
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.projection import unproject

SHARED = (0.9, 0.5)  # of the cameras must see what belongs to the subject; the second where the first leaves nothing
FEWEST = 100  # splats that make a subject
HOLD = 8  # every so many-th camera is kept for the check
GROWN = 0.05  # of its size: room around the subject

Box = tuple[Float[Tensor, " 3"], Float[Tensor, " 3"]]


def subject_box(gaussians: Gaussians, cameras: Cameras) -> Box | None:
    """Lower and upper corner of what nearly all photos show, or at least half of them; None where they share no view, as in a room.

    Args:
        gaussians: unbatched splats of a scene.
        cameras: of the photos `[v]`.
    """
    opaque = gaussians.opacities > OPAQUE
    views = torch.zeros(gaussians.count)
    for view in range(cameras.shape[0]):
        places, depth = project_points(gaussians.means, cameras.select([view]))
        views += (places[0].abs() < 1).all(-1) & (depth[0] > 0)
    for share in SHARED:
        subject = opaque & (views >= share * cameras.shape[0])
        if int(subject.sum()) >= FEWEST:
            lower, upper = robust_box(gaussians.select(subject))
            room = GROWN * (upper - lower).max()
            return lower - room, upper + room
    return None


def held_out(cameras: Cameras) -> tuple[Cameras, Cameras]:
    """Most of the cameras `[v]`, and every eighth, which colours are checked from; with fewer than five all are both."""
    total = cameras.shape[0]
    if total <= HOLD // 2:
        return cameras, cameras
    held = [index for index in range(total) if index % HOLD == HOLD // 2]
    return cameras.select([index for index in range(total) if index not in held]), cameras.select(held)


def spread_views(cameras: Cameras, count: int, *, size: int) -> Cameras:
    """At most `count` of the cameras, evenly chosen, with pictures of at most `size` pixels along the longer side."""
    chosen = cameras.select(spread_indices(cameras.shape[0], count))
    scale = min(1.0, size / max(cameras.width, cameras.height))
    return chosen.resized(max(1, round(cameras.width * scale)), max(1, round(cameras.height * scale)))


def cropped(pictures: Pictures, box: Box) -> Pictures:
    """The pictures without depths outside of the box."""
    depths = []
    for view, depth in enumerate(pictures.depth):
        points = unproject(depth, pictures.cameras.select([view]))
        depths.append(((points >= box[0]) & (points <= box[1])).all(-1) * depth)
    return replace(pictures, depth=torch.stack(depths))


def footprint_of(cameras: Cameras, centre: Float[Tensor, " 3"]) -> float:
    """What a pixel of the photos measures at a place, scene units: the median over views `[v]`."""
    distances = (cameras.positions - centre).norm(dim=-1)
    return float((distances / cameras.intrinsics[:, 0, 0]).median())
