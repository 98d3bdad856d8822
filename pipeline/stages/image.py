"""`image_to_3d`: a picture of an object becomes splats."""

from pathlib import Path

from gen3d.pipeline.asset import Asset
from gen3d.pipeline.fitting.machine import Machine, choose_device
from gen3d.pipeline.progress import Progress, Silent
from gen3d.pipeline.run import Run
from gen3d.pipeline.stages.chain import Stage, run_chain
from gen3d.pipeline.stages.generate import Generate, Prepare, ShowSplats
from gen3d.pipeline.stages.make_mesh import MakeMesh
from gen3d.pipeline.stages.results import Export
from gen3d.pipeline.stages.settings import ImageSettings
from gen3d.pipeline.stages.state import ImageState
from gen3d.priors.multiview.shipped import shipped_network


def image_to_3d(
    picture: str | Path,
    settings: ImageSettings | None = None,
    run: Run | None = None,
    progress: Progress | None = None,
    *,
    mask: str | Path | None = None,
) -> Asset:
    """Make a 3D object of a picture.

    Args:
        picture: of one object; its transparency says where that is, else the mask, else a network.
        settings: None for the defaults.
        run: an open run folder; None makes a new one below `outputs/`.
        progress: told what happens; None for silence.
        mask: a picture, white where the object is.

    Returns:
        the splats in the world frame: the picture shows the front, the longest side is 1. The run folder holds exports/model.ply,
        exports/mesh.glb, metrics.json and previews/.

    Raises:
        BadInput: the picture cannot be read, or shows no object.
        MissingWeights: the network, or the one for masks, is not here.
    """
    settings = settings or ImageSettings()
    progress = progress or Silent()
    inputs = [picture] if mask is None else [picture, mask]
    if run is None:
        with Run.create(None, "image", settings, inputs=inputs) as created:
            return image_to_3d(picture, settings, created, progress, mask=mask)
    device = choose_device(settings.device, settings.backend, progress.note)
    run.record(device=device)
    network = shipped_network(settings.weights)
    stages: list[Stage[ImageState]] = [
        Prepare(run, Path(picture), None if mask is None else Path(mask), network.settings.size),
        Generate(run, settings, network, device),
        ShowSplats(run),
        Export(run),
        MakeMesh(run, settings.mesh, Machine(device, 1, settings.backend)),
    ]
    state = run_chain(stages, ImageState(), run, progress)
    return Asset(state.fitted, provenance={"verb": "image", "run": str(run.folder), "seed": settings.seed})


def resume_image(run: Run, progress: Progress) -> Asset:
    """Continue a run of `image_to_3d`, which takes seconds, from its beginning.

    Raises:
        BadInput: the picture or its mask has changed since.
    """
    run.check_inputs()
    picture, *masks = run.manifest.inputs
    return image_to_3d(picture, run.settings(ImageSettings), run, progress, mask=masks[0] if masks else None)
