"""Splats as the methods of meshing see them: pictures from the right places, and the scale of their details."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from gen3d.errors import BadInput
from gen3d.pipeline.meshing.pictures import Pictures, take_pictures, views_around
from gen3d.pipeline.meshing.placement import cropped, footprint_of, held_out, spread_views, subject_box
from gen3d.pipeline.meshing.settings import MeshSettings
from gen3d.pipeline.paths import robust_box
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.rendering import RasterSettings

SIZE = 512  # pixels along the longer side of the pictures
COARSEST = 3.0  # pixels of the photos that a voxel of a scene measures at least: its depths are no better than that
CHECKED, TURN = 12, 77.0  # views of the check around objects, and degrees by which they are turned against the others


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of the fit that the splats come from.

    Attributes:
        cameras: of its photos `[v]`.
        cut_out: whether the photos show an object in front of nothing.
        raster: its conventions.
    """

    cameras: Cameras
    cut_out: bool
    raster: RasterSettings


@dataclass(frozen=True, slots=True)
class Job:
    """What the methods work on.

    Attributes:
        gaussians: on the CPU.
        pictures: of the splats, cropped to the subject of a scene.
        held: views for checks, that no picture was taken from unless there are fewer than five.
        footprint: see `drawings`.
        box: of a scene's subject, two corners; None for things that stand free and scenes without one.
        diagonal: of the box around what is meshed, scene units.
        voxel: scene units.
        resolution: voxels along the diagonal, at least 16.
        outlined: the pictures show a thing in front of nothing.
        facts: for manifests; methods add theirs.
        notes: what the user should know.
    """

    gaussians: Gaussians
    pictures: Pictures
    held: Cameras
    footprint: float
    box: tuple[Float[Tensor, " 3"], Float[Tensor, " 3"]] | None
    diagonal: float
    voxel: float
    resolution: int
    outlined: bool
    facts: dict[str, Any]
    notes: list[str]


def photographed(gaussians: Gaussians, settings: MeshSettings, origin: Origin | None, *, backend: str = "auto") -> Job:
    """Pictures of splats: of an object from all around, of a scene from where its photos were taken.

    Args:
        gaussians: unbatched splats `[n]`.
        settings: how many pictures, and how fine the surface.
        origin: the fit, where it is known; without it the splats are taken for an object that stands free.
        backend: of `rasterize`.

    Raises:
        BadInput: the splats cover nothing, or have no extent.
    """
    outlined = origin is None or origin.cut_out
    notes: list[str] = []
    lower, upper = (corner.detach().cpu() for corner in robust_box(gaussians))
    box = None
    if origin is None or origin.cut_out:
        cameras = views_around(gaussians, settings.views, size=SIZE)
        held = views_around(gaussians, CHECKED, size=SIZE // 2, turn=TURN)
    else:
        cameras, held = (spread_views(some, settings.views, size=SIZE) for some in held_out(origin.cameras))
        box = subject_box(gaussians.to("cpu"), origin.cameras)
        lower, upper = box or (lower, upper)
        if box is None:
            notes.append("the photos share no view of one thing, so the mesh is of all that they show, and open where none looked")
    footprint = 0.0 if origin is None else footprint_of(origin.cameras, (lower + upper) / 2)
    raster = None if origin is None else origin.raster
    pictures = take_pictures(gaussians, cameras, footprint=footprint, raster=raster, backend=backend)
    if not bool((pictures.depth > 0).any()):
        raise BadInput(
            "the splats cover no pixel of a picture by more than half, so they show no surface; "
            "are they too faint, or less than 0.02 units in size?"
        )
    pictures = pictures if box is None else cropped(pictures, box)
    diagonal = float((upper - lower).norm())
    voxel = max(diagonal / settings.resolution, 0.0 if outlined else COARSEST * footprint)
    facts = {
        "views": len(pictures.depth),
        "picture_size": [cameras.width, cameras.height],
        "voxel": voxel,
        "footprint": footprint,
        "crop": None if box is None else [corner.tolist() for corner in box],
    }
    return Job(
        gaussians.to("cpu"), pictures, held, footprint, box, diagonal, voxel, max(16, round(diagonal / voxel)), outlined, facts, notes
    )
