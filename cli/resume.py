"""`gen3d resume`: continue a run that was cut off."""

import importlib
from types import SimpleNamespace

from gen3d.cli import photos
from gen3d.cli.parser import Parser
from gen3d.cli.report import Report
from gen3d.cli.runs import recording, run_report
from gen3d.errors import BadInput
from gen3d.pipeline.run import Run

SMALLER = f"a new run with {photos.SMALLER}"
# The function `(run, progress)` that continues a job, by the verb that began it; it checks the inputs.
RESUME = {
    "image": ("gen3d.pipeline.stages.image", "resume_image"),
    "photos": ("gen3d.pipeline.stages.photos", "resume_photos"),
    "text": ("gen3d.pipeline.stages.text", "resume_text"),
}


def configure(parser: Parser) -> None:
    """Add the flags."""
    parser.add_input("run", "the folder of the run")


def execute(options: SimpleNamespace) -> Report:
    """Continue the run; one that is done is only reported."""
    run = Run.open(options.run)
    verb = run.manifest.verb
    if verb not in RESUME:
        raise BadInput(f"{options.run} was made by gen3d {verb}, which cannot be resumed; run it again with --overwrite")
    if run.manifest.status != "done":
        module, name = RESUME[verb]
        continue_job = getattr(importlib.import_module(module), name)
        with recording(run, quiet=options.quiet) as progress:
            continue_job(run, progress)
    return run_report(run)
