"""What the verbs that write run folders share."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from gen3d.cli.failures import explained
from gen3d.cli.parser import Parser
from gen3d.cli.progress import Bar, describe
from gen3d.cli.report import Report, short
from gen3d.errors import BadInput, UsageError
from gen3d.files import read_json
from gen3d.pipeline.run import Run

MODEL = Path("exports") / "model.ply"
MESH = Path("exports") / "mesh.glb"
FRAME_HELP = "frame of a file that does not name the right one: gltf, ply, ydown, zup; of a mesh gltf, ply, unity, zup"
RESULTS = (MODEL, MESH, Path("previews") / "turntable.mp4", Path("previews") / "contact_sheet.png", Path("metrics.json"), Path("run.json"))


@contextmanager
def recording(run: Run, *, quiet: bool) -> Iterator[Bar]:
    """Show progress, keep the manifest true however the block ends, and name the run in the error."""
    try:
        with run, Bar(log=run.log, quiet=quiet) as progress:
            yield progress
    except BaseException as error:
        raise explained(error, run.folder, resumable=not run.restored) from error


def run_report(run: Run) -> Report:
    """Where the results of a finished run are, and how good they are."""
    files = [run.folder / name for name in RESULTS if (run.folder / name).is_file()]
    metrics = mean_metrics(run)
    seconds = sum(run.manifest.stages.values())
    words = describe(metrics)
    mesh = run.manifest.mesh
    notes = list(dict.fromkeys([*run.manifest.notes, *mesh.get("notes", [])]))  # older runs hold those of the mesh twice
    lines = [f"done in {seconds:.0f} s" + (f": {words}" if words else ""), *(f"  {short(file)}" for file in files)]
    lines += [f"mesh: {mesh_words(mesh)}"] if mesh else []
    lines += [f"note: {note}" for note in notes]
    facts = {
        "verb": run.manifest.verb,
        "run": run.folder,
        "seconds": round(seconds, 3),
        "files": {file.name: file for file in files},
        "metrics": metrics,
        "mesh": mesh,
        "notes": notes,
    }
    return Report(facts, "\n".join(lines))


def mesh_words(facts: dict[str, Any]) -> str:
    """The report of a mesh in a line."""
    figures = facts.get("report", {})
    closed = "watertight" if figures.get("watertight") else "open"
    counts = f"{figures.get('faces', 0):,} faces, {closed}, {figures.get('components', 0)} parts, Euler number {figures.get('euler', 0)}"
    area = f"area {figures.get('area', 0):.4g}, {figures.get('degenerate', 0)} degenerate faces"
    psnr = facts.get("render_back_psnr")
    return f"{counts}, {area}" + (f", {psnr:.1f} dB against the splats" if psnr is not None else "")


def mean_metrics(run: Run) -> dict[str, float]:
    """The figures in metrics.json without those of single views; nothing where the run has none."""
    with suppress(BadInput):
        metrics = read_json(run.folder / "metrics.json")
        if isinstance(metrics, dict):
            return {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    return {}


def existing(path: str | Path) -> Path:
    """The path of a run folder or a splat file, when there is something.

    Raises:
        BadInput: there is nothing.
    """
    if not os.path.exists(path):  # False also for names that no file system takes, where pathlib raises
        raise BadInput(f"{path} does not exist; give a run folder or a file")
    return Path(path)


def splat_file(path: str | Path) -> Path:
    """The splat file meant by a path: the file itself, or the model of a run folder.

    Raises:
        BadInput: it does not exist, or the run has no model yet.
    """
    given = existing(path)
    if not given.is_dir():
        return given
    run = Run.open(given)
    if not (run.folder / MODEL).is_file():
        raise BadInput(f"the run {short(run.folder)} has no {MODEL} (it is {run.manifest.status}); let it end with gen3d resume first")
    return given / MODEL


def may_write(path: Path, overwrite: bool, instead: str = "choose another --out") -> Path:
    """The path, when nothing would be lost by writing it.

    Raises:
        UsageError: the file exists and `overwrite` is off, or it is a folder.
    """
    if path.is_dir():
        raise UsageError(f"{short(path)} is a folder; name a file")
    if path.exists() and not overwrite:
        raise UsageError(f"{short(path)} exists; {instead}, or add --overwrite")
    return path


def add_drawing(parser: Parser) -> None:
    """Add the flags of verbs that draw splats."""
    group = parser.flags.add_argument_group("drawing")
    group.add_argument("--device", type=Literal["auto", "cpu", "cuda"], default="auto", help="auto, cpu or cuda")
    group.add_argument("--backend", type=Literal["auto", "gsplat", "native", "reference"], default="auto", help="rasterizer")
