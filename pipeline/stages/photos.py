"""`photos_to_3d`: a folder of photos with cameras becomes splats."""

from pathlib import Path

import torch

from gen3d.errors import BadInput, UsageError
from gen3d.pipeline.asset import Asset
from gen3d.pipeline.fitting.machine import Machine, choose_device
from gen3d.pipeline.progress import Progress, Silent
from gen3d.pipeline.run import Run
from gen3d.pipeline.scenes.reading import orient_scene, read_scene
from gen3d.pipeline.scenes.scene import Scene
from gen3d.pipeline.scenes.transforms import write_transforms
from gen3d.pipeline.stages.chain import Stage, run_chain
from gen3d.pipeline.stages.fit_splats import FitSplats
from gen3d.pipeline.stages.make_mesh import MakeMesh
from gen3d.pipeline.stages.results import Evaluate, Export, Preview
from gen3d.pipeline.stages.settings import PhotosSettings
from gen3d.pipeline.stages.state import PhotosState
from gen3d.renderers.rendering import RasterSettings


def photos_to_3d(
    folder: str | Path,
    settings: PhotosSettings | None = None,
    run: Run | None = None,
    progress: Progress | None = None,
) -> Asset:
    """Reconstruct a scene from photos with known cameras.

    Args:
        folder: holds transforms.json or a COLMAP model, and the photos.
        settings: None for the defaults.
        run: an open run folder, which a resumed job continues; None makes a new one below `outputs/`.
        progress: told what happens; None for silence.

    Returns:
        the splats in the world frame. The run folder holds exports/model.ply, exports/mesh.glb, metrics.json and previews/.

    Raises:
        BadInput: the folder, a photo or a camera breaks a rule.
        Interrupted: Ctrl-C; the run can be resumed.
    """
    settings = settings or PhotosSettings()
    progress = progress or Silent()
    if run is None:
        with Run.create(None, "photos", settings, inputs=[folder]) as created:
            return photos_to_3d(folder, settings, created, progress)
    machine = choose_machine(settings, progress)
    run.record(device=machine.accelerator)
    with run.stage("read"):
        scene = load_scene(Path(folder), settings, run, progress)
    raster = RasterSettings(antialias=settings.fitting.antialias)
    stages: list[Stage[PhotosState]] = [
        FitSplats(run, settings, machine),
        Export(run),
        Evaluate(run, machine, raster),
        Preview(run, machine, raster),
        MakeMesh(run, settings.mesh, machine),
    ]
    state = run_chain(stages, PhotosState(scene), run, progress)
    return Asset(state.fitted, provenance={"verb": "photos", "run": str(run.folder), "seed": settings.seed})


def resume_photos(run: Run, progress: Progress) -> Asset:
    """Continue a run of `photos_to_3d` where it stopped.

    Raises:
        BadInput: the photos have changed since.
    """
    run.check_inputs()
    folders = [Path(path) for path in run.manifest.inputs]
    if len(folders) != 1:
        raise BadInput(f"{run.folder} names {len(folders)} inputs and a photo run has one; start the job again")
    return photos_to_3d(folders[0], run.settings(PhotosSettings), run, progress)


def choose_machine(settings: PhotosSettings, progress: Progress) -> Machine:
    """The accelerator that the settings and this machine allow; see `choose_device`.

    Raises:
        UsageError: the device, the backend or the number of devices cannot be had here.
    """
    settings.fitting.for_devices(settings.devices)
    accelerator = choose_device(settings.device, settings.backend, progress.note)
    if accelerator == "cuda" and settings.devices > torch.cuda.device_count():
        raise UsageError(f"devices is {settings.devices} and this machine has {torch.cuda.device_count()} GPUs; choose at most so many")
    return Machine(accelerator, settings.devices, settings.backend)


def load_scene(folder: Path, settings: PhotosSettings, run: Run, progress: Progress) -> Scene:
    """Photos and cameras, upright; the cameras that are used and the transform that was applied go into the run."""
    scene = orient_scene(read_scene(folder, settings.scene))
    run.record(world_from_source=scene.world_from_source.tolist())
    write_transforms(run.cameras / "transforms.json", scene.views)
    for note in scene.notes:
        progress.note(note)
    progress.note(f"{len(scene.train)} photos to fit, {len(scene.test)} held out, {_points(scene)}")
    return scene


def _points(scene: Scene) -> str:
    return "no points" if scene.points is None else f"{len(scene.points.points):,} points"
