"""`gen3d info`: what is in a splat file, a mesh file or a run."""

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gen3d.cli.parser import Parser
from gen3d.cli.report import Report, short, table
from gen3d.cli.runs import FRAME_HELP, MODEL, existing, mean_metrics
from gen3d.pipeline.run import Run


def configure(parser: Parser) -> None:
    """Add the flags."""
    parser.add_input("source", "a run folder, a splat file or a mesh file")
    parser.flags.add_argument(
        "--frame",
        type=str,
        help=FRAME_HELP,
    )


def execute(options: SimpleNamespace) -> Report:
    """Read and describe."""
    source = existing(options.source)
    if not source.is_dir():
        from gen3d.pipeline.formats.meshes import is_mesh

        facts = (_mesh if is_mesh(source) else _splats)(source, options.frame)
        return Report({"file": source, **facts}, table([("file", short(source)), *_rows(facts)]))
    run = Run.open(source)
    facts = {"run": run.folder, "manifest": asdict(run.manifest), "metrics": mean_metrics(run)}
    rows = [("run", short(run.folder)), *_rows(facts["manifest"]), *_rows(facts["metrics"])]
    if (run.folder / MODEL).is_file():
        facts["model"] = _splats(run.folder / MODEL, options.frame)
        rows += [("model", short(run.folder / MODEL)), *_rows(facts["model"])]
    return Report(facts, table(rows))


def _splats(path: Path, frame: str | None) -> dict[str, Any]:
    from gen3d.pipeline.formats.registry import read_gaussians

    gaussians, facts = read_gaussians(path, frame=frame)
    lower, upper = gaussians.means.min(0).values, gaussians.means.max(0).values
    return {
        **asdict(facts),
        "lower_corner": [round(value, 4) for value in lower.tolist()],
        "upper_corner": [round(value, 4) for value in upper.tolist()],
        "centre": [round(value, 4) for value in gaussians.means.mean(0).tolist()],
        "median_scale": round(gaussians.scales.median().item(), 6),
        "median_opacity": round(gaussians.opacities.median().item(), 4),
    }


def _mesh(path: Path, axes: str | None) -> dict[str, Any]:
    from gen3d.pipeline.formats.meshes import read_mesh
    from gen3d.pipeline.meshing.report import report

    mesh = read_mesh(path, axes=axes)
    lower, upper = mesh.vertices.amin(0), mesh.vertices.amax(0)
    colours = [name for name, part in (("texture", mesh.texture), ("vertex colours", mesh.colors)) if part is not None]
    return {
        "bytes": path.stat().st_size,
        **asdict(report(mesh)),
        "colours": " and ".join(colours) or "none",
        "texture_size": [] if mesh.texture is None else list(mesh.texture.shape[1::-1]),
        "lower_corner": [round(value, 4) for value in lower.tolist()],
        "upper_corner": [round(value, 4) for value in upper.tolist()],
    }


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Facts as lines of a table; empty ones say nothing and are left out."""
    rows = []
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {each}" for key, each in value.items())
        elif isinstance(value, list | tuple):
            value = "  ".join(str(each) for each in value)
        text = f"{value:,}" if type(value) is int else str(value)
        if text:
            rows.append((f"  {name.replace('_', ' ')}", text))
    return rows
