"""`gen3d mesh`: a textured mesh of a run or of any splat file."""

from pathlib import Path
from types import SimpleNamespace

from gen3d.cli.parser import Parser
from gen3d.cli.progress import Bar
from gen3d.cli.report import Report, short, table
from gen3d.cli.runs import MESH, add_drawing, may_write, mesh_words, splat_file
from gen3d.errors import UsageError
from gen3d.pipeline.meshing.settings import MeshSettings
from gen3d.pipeline.run import Run

SMALLER = "--resolution 128, --views 40 or --texture 512"


def configure(parser: Parser) -> None:
    """Add the flags."""
    parser.add_input("source", "a run folder or a splat file")
    group = parser.flags.add_argument_group("result")
    group.add_argument("--out", type=str, help="the file: .glb, .obj, .ply or .stl; mesh.glb in the run's exports, or beside the splats")
    group.add_argument("--axes", type=str, help="gltf, zup, unity or ply; what programs expect of the format when not given")
    group.add_argument("--force", action="store_true", help="write an open surface as STL")
    group.add_argument("--overwrite", action="store_true", help="replace files that exist")
    group.add_argument("--frame", type=str, help="frame of the input when the file does not name the right one: gltf, ply, ydown, zup")
    add_drawing(parser)
    parser.add_settings(MeshSettings)


def execute(options: SimpleNamespace) -> Report:
    """Extract, write, check."""
    if options.settings.method == "none":
        raise UsageError("--method none makes no mesh; choose auto, tsdf, poisson or density")
    source, given = splat_file(options.source), Path(options.source)
    target = Path(options.out) if options.out is not None else given / MESH if given.is_dir() else source.with_suffix(".glb")
    from gen3d.pipeline.fitting.machine import choose_device
    from gen3d.pipeline.formats.mesh_files import check_target
    from gen3d.pipeline.formats.registry import read_gaussians
    from gen3d.pipeline.stages.make_mesh import export_mesh, run_origin

    kind, _ = check_target(target, options.axes)
    if target.resolve() == source.resolve():
        raise UsageError(f"{short(target)} are the splats themselves; choose another --out")
    for name in (target.name, *kind.beside(target.stem)):
        may_write(target.with_name(name), options.overwrite)
    gaussians, facts = read_gaussians(source, frame=options.frame)
    with Bar(quiet=options.quiet) as progress:
        mesh = export_mesh(
            target,
            gaussians.to(choose_device(options.device, options.backend)),
            options.settings,
            run_origin(given) if given.is_dir() else None,
            progress=progress,
            axes=options.axes,
            unit=facts.unit,
            force=options.force,
            backend=options.backend,
        )
    if facts.dropped:
        mesh["notes"].append(f"{facts.dropped:,} splats with numbers that are not finite were left out")
    if given.is_dir() and target.resolve() == (given / MESH).resolve():
        Run.open(given).record(mesh=mesh)
    steps = [(f"  {name}", f"{seconds:.1f} s", f"{mesh['memory_mib'][name]:,} MiB") for name, seconds in mesh["seconds"].items()]
    lines = [f"{short(target)}: {mesh_words(mesh)}", table(steps), *(f"note: {note}" for note in mesh["notes"])]
    return Report({"source": source, "file": target, "mesh": mesh}, "\n".join(lines))
