"""`gen3d photos`: a folder of photos with cameras becomes splats."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from gen3d.cli.parser import Parser
from gen3d.cli.report import Report
from gen3d.cli.runs import recording, run_report
from gen3d.errors import BadInput
from gen3d.pipeline.run import Run
from gen3d.pipeline.stages.settings import PhotosSettings

SMALLER = "--max-size 384, --fitting.densify.cap 30000 or --fitting.sh-degree 0"


def configure(parser: Parser) -> None:
    """Add the flags."""
    parser.add_input("folder", "photos with a transforms.json or a COLMAP model")
    parser.add_run()
    parser.flags.add_argument("--no_mesh", action="store_true", help="leave the textured mesh out, like --mesh.method none")
    parser.add_settings(PhotosSettings, presets=True)


def execute(options: SimpleNamespace) -> Report:
    """Run the job."""
    folder = Path(options.folder)
    if not os.path.isdir(folder):
        reason = "is not a folder" if os.path.exists(folder) else "does not exist"
        raise BadInput(f"{folder} {reason}; give the folder of the photos")
    settings = options.settings
    if options.no_mesh:
        settings = replace(settings, mesh=replace(settings.mesh, method="none"))
    from gen3d.pipeline.stages.photos import photos_to_3d

    run = Run.create(options.out, "photos", settings, inputs=[folder.resolve()], overwrite=options.overwrite)
    with recording(run, quiet=options.quiet) as progress:
        photos_to_3d(folder, settings, run, progress)
    return run_report(run)
