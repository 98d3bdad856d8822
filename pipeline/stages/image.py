"""`image_to_3d`: a picture of an object becomes splats."""

from collections.abc import Sequence
from pathlib import Path

from gen3d.errors import UsageError
from gen3d.pipeline.asset import Asset
from gen3d.pipeline.fitting.machine import Machine, choose_device
from gen3d.pipeline.progress import Progress, Silent
from gen3d.pipeline.run import Run
from gen3d.pipeline.stages.chain import Stage, run_chain
from gen3d.pipeline.stages.generate import Generate, Prepare, Refine
from gen3d.pipeline.stages.make_mesh import MakeMesh
from gen3d.pipeline.stages.picture_volumes import picture_model, picture_volumes
from gen3d.pipeline.stages.place import Place, ShowSplats
from gen3d.pipeline.stages.results import Export
from gen3d.pipeline.stages.settings import ImageSettings
from gen3d.pipeline.stages.state import ImageState
from gen3d.priors.multiview.shipped import network_file, shipped_model
from gen3d.priors.shipped import file_facts


def image_to_3d(
    picture: str | Path | Sequence[str | Path],
    settings: ImageSettings | None = None,
    run: Run | None = None,
    progress: Progress | None = None,
    *,
    mask: str | Path | Sequence[str | Path] | None = None,
) -> Asset:
    """Make a 3D object of a picture.

    Args:
        picture: of one object, or several of it from the azimuths that the settings name; their transparency says where it is, else the
            masks, else a network.
        settings: None for the defaults.
        run: an open run folder; None makes a new one below `outputs/`.
        progress: told what happens; None for silence.
        mask: a picture, white where the object is; as many as there are pictures.

    Returns:
        the splats in the world frame: the picture shows the front, the longest side is 1. The run folder holds exports/model.ply,
        exports/mesh.glb, metrics.json and previews/.

    Raises:
        BadInput: a picture cannot be read, or shows no object.
        UsageError: see `check_inputs`.
        MissingWeights: the network, or the one for masks, is not here.
    """
    settings = settings or ImageSettings()
    progress = progress or Silent()
    pictures, masks = _paths(picture), [] if mask is None else _paths(mask)
    check_inputs(pictures, masks, settings)
    if run is None:
        with Run.create(None, "image", settings, inputs=[*pictures, *masks]) as created:
            return image_to_3d(picture, settings, created, progress, mask=mask)
    device = choose_device(settings.device, settings.backend, progress.note)
    run.record(device=device)
    generate: Stage[ImageState]
    if settings.route == "volumes":
        volumes = picture_model(settings, device)
        run.use_weights(*map(file_facts, volumes.files))
        size, generate = volumes.encoder.size, picture_volumes(run, settings, volumes, device)
    else:
        run.use_weights(file_facts(network_file(settings.weights)))
        model = shipped_model(settings.weights)
        size, generate = model.network.settings.size, Generate(run, settings, model, device)
    machine = Machine(device, 1, settings.backend)
    stages: list[Stage[ImageState]] = [
        Prepare(run, pictures, masks, size),
        generate,
        Refine(run, settings, device),
        Place(settings.azimuth[0]),
        ShowSplats(run, machine),
        Export(run),
        MakeMesh(run, settings.mesh, machine),
    ]
    state = run_chain(stages, ImageState(), run, progress)
    return Asset(state.fitted, provenance={"verb": "image", "run": str(run.folder), "seed": settings.seed})


def resume_image(run: Run, progress: Progress) -> Asset:
    """Continue a run of `image_to_3d`, which takes seconds, from its beginning.

    Raises:
        BadInput: the picture or its mask has changed since.
    """
    run.check_inputs()
    settings, inputs = run.settings(ImageSettings), list(run.manifest.inputs)
    count = len(settings.azimuth)
    return image_to_3d(inputs[:count], settings, run, progress, mask=inputs[count:] or None)


def check_inputs(pictures: Sequence[Path], masks: Sequence[Path], settings: ImageSettings) -> None:
    """Make sure that every picture has an azimuth, and a mask if any has, and that all are files of their own.

    Raises:
        UsageError: they are not.
    """
    if len(pictures) != len(settings.azimuth):
        told = ",".join(f"{each:g}" for each in settings.azimuth)
        raise UsageError(f"there are {len(pictures)} pictures and the azimuths {told}; give one for each, such as --azimuth 0,90")
    if len(masks) not in (0, len(pictures)):
        raise UsageError(f"there are {len(masks)} masks for {len(pictures)} pictures; give one for each, in the same order")
    inputs = [*pictures, *masks]
    for file in inputs:
        if inputs.count(file) > 1:
            raise UsageError(f"{file} is given twice; every picture and every mask is a file of its own")


def _paths(files: str | Path | Sequence[str | Path]) -> list[Path]:
    return [Path(each) for each in ([files] if isinstance(files, str | Path) else files)]
