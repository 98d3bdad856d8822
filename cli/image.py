"""`gen3d image`: a picture of an object becomes splats and a mesh."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from gen3d.cli.parser import Parser
from gen3d.cli.report import Report
from gen3d.cli.runs import recording, run_report
from gen3d.errors import BadInput
from gen3d.pipeline.run import Run
from gen3d.pipeline.stages.settings import ImageSettings

SMALLER = "--seeds 1 or --mesh.method none"


def configure(parser: Parser) -> None:
    """Add the flags."""
    parser.add_input("pictures", "one object, on a transparent or plain background; several of it with --azimuth 0,90", many=True)
    parser.add_run()
    parser.flags.add_argument("--mask", type=str, nargs="+", help="after the pictures: one for each, white where the object is")
    parser.flags.add_argument("--no_mesh", action="store_true", help="leave the textured mesh out, like --mesh.method none")
    parser.add_settings(ImageSettings, presets=True)


def execute(options: SimpleNamespace) -> Report:
    """Run the job."""
    pictures, masks = ([Path(each) for each in given or ()] for given in (options.pictures, options.mask))
    for file in (*pictures, *masks):
        if not file.is_file():
            raise BadInput(f"{file} {'is not a file' if file.exists() else 'does not exist'}; give a picture")
    settings = options.settings
    if options.no_mesh:
        settings = replace(settings, mesh=replace(settings.mesh, method="none"))
    from gen3d.pipeline.stages.image import check_inputs, image_to_3d

    check_inputs(pictures, masks, settings)
    inputs = [file.resolve() for file in (*pictures, *masks)]
    run = Run.create(options.out, "image", settings, inputs=inputs, overwrite=options.overwrite)
    with recording(run, quiet=options.quiet) as progress:
        image_to_3d(pictures, settings, run, progress, mask=masks or None)
    return run_report(run)
