"""`gen3d eval`: measure a run against photos that it has not seen."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from gen3d.cli.parser import Parser
from gen3d.cli.report import Report, short, table
from gen3d.cli.runs import add_drawing, may_write, splat_file
from gen3d.errors import BadInput, UsageError
from gen3d.files import write_json
from gen3d.pipeline.run import Run
from gen3d.pipeline.scenes.settings import SceneSettings
from gen3d.pipeline.stages.settings import PhotosSettings

if TYPE_CHECKING:
    from gen3d.pipeline.scenes.scene import View

SMALLER = "--max-size 384, --device cpu or --against with fewer photos"


def configure(parser: Parser) -> None:
    """Add the flags."""
    parser.add_input("run", "the folder of the run")
    parser.flags.add_argument("--against", type=str, help="another folder of photos of the same place, in the same frame")
    parser.flags.add_argument("--max_size", type=int, help="longest side of the photos in pixels; the run's own when not given")
    parser.flags.add_argument("--overwrite", action="store_true", help="replace the figures of an earlier evaluation")
    add_drawing(parser)


def execute(options: SimpleNamespace) -> Report:
    """Draw each photo from its camera and compare."""
    run = Run.open(options.run)
    model = splat_file(options.run)
    name = "metrics-eval.json" if options.against is None else f"metrics-{Path(options.against).resolve().name}.json"
    file = may_write(run.folder / name, options.overwrite, "move it away")
    settings = run.settings(PhotosSettings)
    if options.max_size is not None:
        settings = replace(settings, max_size=options.max_size)
    from gen3d.pipeline.evaluation.metrics import evaluate_views
    from gen3d.pipeline.evaluation.protocol import background_of, lpips_or_reason
    from gen3d.pipeline.fitting.machine import choose_device
    from gen3d.pipeline.formats.registry import read_gaussians
    from gen3d.renderers.rendering import RasterSettings

    device = choose_device(options.device, options.backend)
    views = _views(run, settings, options.against)
    gaussians = read_gaussians(model)[0].to(device)
    lpips, reason = lpips_or_reason()
    raster = RasterSettings(antialias=settings.fitting.antialias)
    result = evaluate_views(gaussians, views, background=background_of(views), settings=raster, backend=options.backend, lpips=lpips)
    metrics = {**result.to_json(), "splats": gaussians.count}
    write_json(file, metrics)
    rows = [(key, f"{value:.4g}") for key, value in metrics.items() if isinstance(value, float)]
    note = f"\nnote: {reason}" if reason else ""
    text = f"{table(rows)}\n{len(views)} photos, {gaussians.count:,} splats; {short(file)}{note}"
    return Report({"run": run.folder, "file": file, "metrics": metrics, "note": reason}, text)


def _views(run: Run, settings: PhotosSettings, against: str | None) -> "tuple[View, ...]":
    """Photos to compare with, their cameras in the frame of the run's splats."""
    import torch

    from gen3d.pipeline.scenes.reading import read_scene

    if against is not None:
        views = _photos(Path(against), settings.scene)
    else:
        if len(run.manifest.inputs) != 1:
            raise BadInput(f"{short(run.folder)} does not name its one folder of photos; give --against")
        run.check_inputs()
        views = read_scene(Path(next(iter(run.manifest.inputs))), settings.scene).test
    if not views:
        raise UsageError("no photo was held out, so there is nothing to compare with; give other photos with --against DIR")
    moved = torch.tensor(run.manifest.world_from_source or torch.eye(4).tolist(), dtype=torch.float64)
    return tuple(replace(view, camera=view.camera.to(torch.float64).moved(moved).to(torch.float32)) for view in views)


def _photos(folder: Path, settings: SceneSettings) -> "tuple[View, ...]":
    """All photos of a folder, or its test photos where it names some; one is enough, for nothing is learned from them."""
    from gen3d.pipeline.scenes.photos import develop
    from gen3d.pipeline.scenes.reading import read_capture, without_opaque_alpha

    shots = read_capture(folder, settings.format).shots
    held = [shot for shot in shots if shot.split == "test"] or shots
    return without_opaque_alpha([develop(shot, settings.max_size) for shot in sorted(held, key=lambda shot: shot.name)])
