"""`gen3d eval`: measure a run against photos that it has not seen, or methods that see one picture against objects."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from gen3d.cli.parser import Parser
from gen3d.cli.progress import Bar
from gen3d.cli.report import Report, short, table
from gen3d.cli.runs import add_drawing, may_write, splat_file
from gen3d.errors import BadInput, UsageError
from gen3d.files import write_json, write_text
from gen3d.pipeline.evaluation.settings import ObjectsSettings
from gen3d.pipeline.run import Run
from gen3d.pipeline.scenes.settings import SceneSettings
from gen3d.pipeline.stages.settings import PhotosSettings

if TYPE_CHECKING:
    from gen3d.pipeline.scenes.scene import View

SMALLER = "--max-size 384, --device cpu or --against with fewer photos"
OBJECTS = "objects"  # the word that stands in the place of a run
CACHE = "outputs/protocols"


def configure(parser: Parser) -> None:
    """Add the flags."""
    parser.add_input("run", "the folder of the run; or the word objects, which a library follows")
    parser.add_input("library", "eval objects: a folder of meshes, as gen3d data render takes it", optional=True)
    parser.flags.add_argument("--against", type=str, help="another folder of photos of the same place, in the same frame")
    parser.flags.add_argument("--max_size", type=int, help="longest side of the photos in pixels; the run's own when not given")
    parser.flags.add_argument("--overwrite", action="store_true", help="replace the figures of an earlier evaluation")
    add_drawing(parser)
    group = parser.flags.add_argument_group("gen3d eval objects LIBRARY, beside the settings at the end")
    group.add_argument("--out", type=str, help="folder of table.md and scores.json; a new one below outputs when not given")
    group.add_argument("--cache", type=str, default=CACHE, help="folder that the pictures of protocols are kept in")
    group.add_argument("--add", type=str, action="append", help="scores.json of other methods for the same table; may be repeated")
    group.add_argument("--workers", type=int, default=0, help="processes that draw, 0 for one a processor")
    parser.add_settings(ObjectsSettings)


def execute(options: SimpleNamespace) -> Report:
    """Measure a run, or methods."""
    return _measure_methods(options) if options.run == OBJECTS else _measure_run(options)


def _measure_methods(options: SimpleNamespace) -> Report:
    """Judge methods on the test objects of a library."""
    if options.library is None:
        raise UsageError("gen3d eval objects needs a library: gen3d eval objects LIBRARY; a run of this name is meant by ./objects")
    if options.against is not None or options.max_size is not None:
        raise UsageError("--against and --max-size belong to gen3d eval RUN; gen3d eval objects takes --over and --size")
    if options.workers < 0:
        raise UsageError(f"workers is {options.workers}; it must be at least 0")
    settings: ObjectsSettings = options.settings
    out = Path(options.out or f"outputs/eval-{settings.protocol}-{settings.size}-{datetime.now():%Y%m%d-%H%M%S}")
    sheet, scores = (may_write(out / name, options.overwrite) for name in ("table.md", "scores.json"))
    from gen3d.pipeline.evaluation.objects_job import ObjectsJob, evaluate_objects
    from gen3d.pipeline.evaluation.results import read_results, write_results
    from gen3d.pipeline.evaluation.table import markdown, summary
    from gen3d.pipeline.fitting.machine import choose_device

    device, earlier = choose_device(options.device, options.backend), tuple(read_results(path) for path in options.add or ())
    job = ObjectsJob(Path(options.library), Path(options.cache), settings, options.workers, device, options.backend, earlier)
    with Bar(quiet=options.quiet) as progress:
        found = evaluate_objects(job, progress)
    text = markdown(found, settings.over)
    write_results(scores, found)
    write_text(sheet, text)
    return Report({"out": out, "files": [sheet, scores], **summary(found, settings.over)}, f"{text}\n{short(sheet)}\n{short(scores)}")


def _measure_run(options: SimpleNamespace) -> Report:
    """Draw each photo from its camera and compare."""
    others = (options.library, options.out, options.add, options.settings, options.cache, options.workers)
    if others != (None, None, None, ObjectsSettings(), CACHE, 0):
        raise UsageError("a library, its settings, --out, --add, --cache and --workers belong to gen3d eval objects LIBRARY")
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
