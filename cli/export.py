"""`gen3d export`: write splats in other formats and frames."""

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

from gen3d.cli.parser import Parser
from gen3d.cli.report import Report, short
from gen3d.cli.runs import may_write, splat_file
from gen3d.errors import UsageError
from gen3d.pipeline.configuration import did_you_mean


def configure(parser: Parser) -> None:
    """Add the flags."""
    parser.add_input("source", "a run folder or a splat file")
    group = parser.flags.add_argument_group("result")
    group.add_argument("--out", type=str, help="the file to write; its suffix names the format")
    group.add_argument("--to", type=str, help="formats such as ply,splat: written into the run's exports, or beside the file")
    group.add_argument("--frame", type=str, help="frame of the input when the file does not name the right one: gltf, ply, ydown, zup")
    group.add_argument("--axes", type=str, default="ply", help="frame of the result: gltf, ply, ydown or zup; viewers expect ply")
    group.add_argument("--overwrite", action="store_true", help="replace files that exist")


def execute(options: SimpleNamespace) -> Report:
    """Read once, write each format."""
    if (options.out is None) == (options.to is None):
        raise UsageError("give either --out FILE or --to with formats, such as --to ply,splat")
    from gen3d.pipeline.formats.registry import SPLAT_FORMATS, read_gaussians, write_gaussians

    suffixes = [Path(options.out).suffix] if options.to is None else [f".{kind.strip(' .')}" for kind in options.to.split(",")]
    for suffix in suffixes:
        if suffix.lower() not in SPLAT_FORMATS:
            known = [each.removeprefix(".") for each in SPLAT_FORMATS]
            raise UsageError(f"the format {suffix.removeprefix('.')!r} is not known{did_you_mean(suffix.removeprefix('.'), known)}")
    source = splat_file(options.source)
    targets = [Path(options.out)] if options.to is None else [source.with_suffix(suffix) for suffix in suffixes]
    for target in targets:
        may_write(target, options.overwrite)
    gaussians, facts = read_gaussians(source, frame=options.frame)
    written = {target: write_gaussians(target, gaussians, frame=options.axes, unit=facts.unit) for target in targets}
    lines = []
    for target, result in written.items():
        lines.append(f"{short(target)}: {result.count:,} splats, {result.bytes:,} bytes, frame {result.frame}")
        lines += [f"  note: {comment}" for comment in result.comments]
        if result.dropped:
            lines.append(f"  note: {result.dropped:,} splats were too faint or not finite, and were left out")
    files = {str(target): asdict(result) for target, result in written.items()}
    return Report({"source": source, "dropped_on_reading": facts.dropped, "files": files}, "\n".join(lines))
