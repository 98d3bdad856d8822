"""Splats to a textured mesh: pictures, surface, clean-up, texture."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

from gen3d.errors import BadInput
from gen3d.pipeline.formats.contents import finite, visible
from gen3d.pipeline.meshing.bake import bake, paint
from gen3d.pipeline.meshing.cleanup import decimate, largest_components
from gen3d.pipeline.meshing.density import FEWEST, density_mesh
from gen3d.pipeline.meshing.outlines import best_forward, traced, within_outlines
from gen3d.pipeline.meshing.pictures import Pictures, take_pictures, views_around
from gen3d.pipeline.meshing.placement import cropped, footprint_of, held_out, spread_views, subject_box
from gen3d.pipeline.meshing.repair import fill_holes, repaired
from gen3d.pipeline.meshing.report import report
from gen3d.pipeline.meshing.settings import MANY_FACES, MeshSettings
from gen3d.pipeline.meshing.steps import Steps
from gen3d.pipeline.meshing.tsdf import TRUNCATION, tsdf_mesh
from gen3d.pipeline.meshing.unwrap import unwrap
from gen3d.pipeline.meshing.watertight import watertight
from gen3d.pipeline.paths import robust_box
from gen3d.pipeline.progress import Progress, Silent
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.mesh import Mesh
from gen3d.renderers.rendering import RasterSettings

SIZE = 512  # pixels along the longer side of the pictures
SMALLEST = 0.02  # of the largest part's area: smaller parts are dropped
HOLE = 0.05  # of the diagonal: boundaries up to three times as long are closed
CHECKED, TURN = 12, 77.0  # views of the check around objects, and degrees by which they are turned against the others
BAKED = 40  # pictures that colours are taken from


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
class MeshResult:
    """A mesh, and what is known of it.

    Attributes:
        mesh: in the frame of the splats.
        facts: for manifests: how it was made, its report, seconds and memory by step, notes.
        held: views that neither surface nor texture was made from.
        footprint: see `drawings`.
    """

    mesh: Mesh
    facts: dict[str, Any]
    held: Cameras
    footprint: float


@dataclass(frozen=True, slots=True)
class _Job:
    """What the extractors work on."""

    gaussians: Gaussians
    pictures: Pictures
    held: Cameras
    footprint: float
    voxel: float
    outlined: bool
    facts: dict[str, Any]


def mesh_splats(
    gaussians: Gaussians,
    settings: MeshSettings | None = None,
    origin: Origin | None = None,
    *,
    backend: str = "auto",
    progress: Progress | None = None,
) -> MeshResult:
    """The textured mesh of splats, in their frame.

    Args:
        gaussians: unbatched splats `[n]`.
        settings: None for the defaults.
        origin: the fit, where it is known; without it the splats are taken for an object that stands free.
        backend: of `rasterize`.
        progress: told of each step with its time and memory.

    Raises:
        BadInput: fewer than four splats can be seen, some are not finite, they have no extent, or no surface comes out of them.
        MissingDependency: the method needs a package that is not installed.
    """
    settings, steps = settings or MeshSettings(), Steps(progress or Silent())
    _check(gaussians)
    method, notes = _method(settings.method)
    facts: dict[str, Any] = {"method": method}
    with steps("pictures"):
        job = _job(gaussians, settings, origin, backend, facts, notes)
    with steps("surface"):
        mesh = EXTRACTORS[method](job)
    with steps("clean"):
        mesh = _cleaned(mesh, job, settings, notes)
    with steps("texture"):
        mesh = _coloured(mesh, job.pictures, settings, facts, notes)
    facts |= {"report": asdict(report(mesh)), "seconds": steps.seconds, "memory_mib": steps.memory_mib, "notes": notes}
    return MeshResult(mesh, facts, job.held, job.footprint)


def _check(gaussians: Gaussians) -> None:
    if bad := int((~finite(gaussians)).sum()):
        raise BadInput(f"{bad:,} of {gaussians.count:,} splats have numbers that are not finite; drop them first")
    seen = int(visible(gaussians).sum())
    if seen < FEWEST:
        raise BadInput(
            f"{seen} of {gaussians.count:,} splats are opaque enough to be seen and a surface needs at least {FEWEST}; "
            "is this the file that you meant?"
        )


def _method(name: str) -> tuple[str, list[str]]:
    if name != "auto":
        return name, []
    if find_spec("open3d") is not None:
        return "tsdf", []
    return "density", ["Open3D is not installed, so the surface is a level set of the splats' density, which is coarser than fused depths"]


def _job(
    gaussians: Gaussians, settings: MeshSettings, origin: Origin | None, backend: str, facts: dict[str, Any], notes: list[str]
) -> _Job:
    """Where to look from, and the pictures from there."""
    outlined = origin is None or origin.cut_out
    lower, upper = (corner.detach().cpu() for corner in robust_box(gaussians))
    box = None if outlined or origin is None else subject_box(gaussians, origin.cameras)
    if outlined or origin is None:
        cameras = views_around(gaussians, settings.views, size=SIZE)
        held = views_around(gaussians, CHECKED, size=SIZE // 2, turn=TURN)
    else:
        cameras, held = (spread_views(some, settings.views, size=SIZE) for some in held_out(origin.cameras))
        if box is None:
            notes.append("the photos share no view of one thing, so the mesh is of all that they show; it is open where none looked")
        else:
            lower, upper = box
    footprint = 0.0 if origin is None else footprint_of(origin.cameras, (lower + upper) / 2)
    raster = None if origin is None else origin.raster
    pictures = take_pictures(gaussians, cameras, footprint=footprint, raster=raster, backend=backend)
    if not bool((pictures.depth > 0).any()):
        raise BadInput(
            "the splats cover no pixel of any picture by more than half, so they show no surface; are they too small or too faint?"
        )
    if box is not None:
        pictures = cropped(pictures, box)
    voxel = float((upper - lower).norm()) / settings.resolution
    facts |= {"views": len(pictures.depth), "picture": [cameras.width, cameras.height], "voxel": voxel, "footprint": footprint}
    facts["crop"] = None if box is None else [corner.tolist() for corner in box]
    return _Job(gaussians.to("cpu"), pictures, held, footprint, voxel, outlined, facts)


def _tsdf(job: _Job) -> Mesh:
    job.facts["truncation"] = TRUNCATION * job.voxel
    if not job.outlined:
        return tsdf_mesh(job.pictures, voxel=job.voxel)
    mesh, forward = best_forward(lambda pictures: tsdf_mesh(pictures, voxel=job.voxel), job.pictures, job.voxel)
    job.facts["forward"] = forward
    return mesh


def _density(job: _Job) -> Mesh:
    return density_mesh(job.gaussians)


EXTRACTORS: dict[str, Callable[[_Job], Mesh]] = {"tsdf": _tsdf, "density": _density}


def _cleaned(mesh: Mesh, job: _Job, settings: MeshSettings, notes: list[str]) -> Mesh:
    """What belongs to the thing, without small holes, with the faces that were asked for."""
    if job.outlined and find_spec("embreex") is not None:
        mesh = within_outlines(mesh, job.pictures, reach=2 * job.voxel)
    mesh = repaired(largest_components(mesh, SMALLEST))
    mesh = fill_holes(mesh, longest=3 * HOLE * settings.resolution * job.voxel)
    if settings.watertight:
        mesh = watertight(mesh, resolution=settings.resolution)
    if not len(mesh.faces):
        raise BadInput("no face is left after cleaning; use another --method or a larger --resolution")
    if not settings.faces or len(mesh.faces) <= settings.faces:
        return mesh
    if find_spec("open3d") is None:
        notes.append(f"Open3D is not installed, so all {len(mesh.faces):,} faces were kept")
        return mesh
    return decimate(mesh, settings.faces)


def _coloured(mesh: Mesh, pictures: Pictures, settings: MeshSettings, facts: dict[str, Any], notes: list[str]) -> Mesh:
    """The mesh with a texture, or with vertex colours where that is asked for or all that can be."""
    if find_spec("embreex") is None:
        notes.append("embreex is not installed, so the vertices keep the colours of the surface's own method")
        return mesh
    few = (
        pictures.select(sorted({index * len(pictures.depth) // BAKED for index in range(BAKED)}))
        if len(pictures.depth) > BAKED
        else pictures
    )
    seen = traced(few, mesh)
    if settings.texture and find_spec("xatlas") is None:
        notes.append("xatlas is not installed, so the mesh has vertex colours and no texture")
    elif settings.texture:
        if len(mesh.faces) > MANY_FACES:
            notes.append(f"unwrapping {len(mesh.faces):,} faces takes minutes; --faces {MANY_FACES} or fewer is quicker")
        mesh, facts["seen"] = bake(unwrap(mesh, size=settings.texture), seen, size=settings.texture)
        return mesh
    mesh, facts["seen"] = paint(mesh, seen)
    return mesh
