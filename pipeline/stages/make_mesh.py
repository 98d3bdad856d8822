"""The stage that turns fitted splats into a textured mesh, and the same for runs and files that exist."""

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from gen3d.errors import Gen3DError
from gen3d.pipeline.configuration import override, read_layer
from gen3d.pipeline.fitting.machine import Machine
from gen3d.pipeline.formats.mesh_files import check_target, write_mesh
from gen3d.pipeline.meshing.assemble import Origin, mesh_splats
from gen3d.pipeline.meshing.check import render_back
from gen3d.pipeline.meshing.settings import MeshSettings
from gen3d.pipeline.progress import Progress
from gen3d.pipeline.run import Run
from gen3d.pipeline.scenes.transforms import are_cut_out, read_cameras
from gen3d.pipeline.stages.settings import PhotosSettings
from gen3d.pipeline.stages.state import HasSplats
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.rendering import RasterSettings

MESH = "mesh.glb"
Splats = TypeVar("Splats", bound=HasSplats)
POOR = 16.0  # dB: below, something is missing or wrong


class MakeMesh:
    """exports/mesh.glb; a scene that gives no mesh keeps its splats and gets a note."""

    name = "mesh"

    def __init__(self, run: Run, settings: MeshSettings, machine: Machine) -> None:
        self.results = run
        self.settings = settings
        self.machine = machine

    def run(self, state: Splats, progress: Progress) -> Splats:
        """Extract, texture, write and check, unless the settings want no mesh."""
        if self.settings.method == "none":
            return state
        gaussians = state.fitted.to(self.machine.accelerator)
        try:
            facts = export_mesh(
                self.results.exports / MESH,
                gaussians,
                self.settings,
                run_origin(self.results.folder),
                backend=self.machine.backend,
                progress=progress,
            )
        except Gen3DError as error:
            self.results.note(f"there is no mesh: {error}")
            return state
        self.results.record(mesh=facts)
        return state


def run_origin(folder: Path) -> Origin | None:
    """What a run folder tells of the fit; None where it keeps no cameras."""
    poses = folder / "cameras" / "transforms.json"
    if not poses.is_file():
        return None
    return Origin(read_cameras(poses), are_cut_out(poses), run_raster(folder))


def run_raster(folder: Path) -> RasterSettings:
    """The conventions that a run was fitted with."""
    config = folder / "config.yaml"
    # Not Run.settings: it refuses the runs of versions that knew fewer settings, which only matters to a job that goes on.
    settings = override(PhotosSettings(), read_layer(config), str(config))
    return RasterSettings(antialias=settings.fitting.antialias)


def export_mesh(
    path: Path,
    gaussians: Gaussians,
    settings: MeshSettings,
    origin: Origin | None,
    *,
    progress: Progress,
    axes: str | None = None,
    unit: str = "unitless",
    force: bool = False,
    backend: str = "auto",
) -> dict[str, Any]:
    """Make the mesh of splats, write it, read it back and compare.

    Args:
        path: the file; see `write_mesh`.
        gaussians: unbatched splats in the world frame.
        settings: of the mesh.
        origin: the fit, where it is known.
        progress: told of each step.
        axes: of the file; None takes what programs expect of the format.
        unit: what one scene unit is.
        force: see `write_mesh`.
        backend: of `rasterize`.

    Returns:
        facts for manifests, with the PSNR of the written file against the splats, dB, or None where that could not be measured.
    """
    if not check_target(path, axes)[0].textured:
        settings = replace(settings, texture=0)
    result = mesh_splats(gaussians, settings, origin, backend=backend, progress=progress)
    written = write_mesh(path, result.mesh, axes=axes, unit=unit, force=force)
    notes, psnr = [*result.facts["notes"], *written.comments], None
    try:
        psnr = render_back(
            path,
            gaussians,
            result.held,
            footprint=result.footprint,
            raster=None if origin is None else origin.raster,
            outlined=origin is None or origin.cut_out,
            backend=backend,
        )
    except Gen3DError as error:  # the mesh itself needs no ray casting
        notes.append(f"the mesh was not compared with the splats: {error}")
    if psnr is not None and psnr < POOR:
        notes.append(f"the mesh shows the splats poorly ({psnr:.1f} dB); another --method may do better")
    return result.facts | {"file": path.name, "axes": written.axes, "bytes": written.bytes, "render_back_psnr": psnr, "notes": notes}
