"""`gen3d text`: a sentence becomes splats and a mesh."""

from dataclasses import replace
from types import SimpleNamespace

from gen3d.cli.parser import Parser
from gen3d.cli.report import Report
from gen3d.cli.runs import recording, run_report
from gen3d.errors import UsageError
from gen3d.pipeline.run import Run
from gen3d.pipeline.stages.settings import TextSettings

SMALLER = "--seeds 1 or --mesh.method none"


def configure(parser: Parser) -> None:
    """Add the flags."""
    parser.add_input("words", 'what to make, such as "a red barrel"', many=True, optional=True)
    parser.add_run()
    parser.flags.add_argument("--interpolate", type=str, nargs=2, help="two prompts, and a video that leads from the one to the other")
    parser.flags.add_argument("--no_mesh", action="store_true", help="leave the textured mesh out, like --mesh.method none")
    parser.add_settings(TextSettings, presets=True)


def execute(options: SimpleNamespace) -> Report:
    """Run the job."""
    words, pair = options.words or [], options.interpolate or []
    if words and pair:
        raise UsageError("--interpolate names both prompts; leave the other words out")
    if pair and options.settings.other:
        raise UsageError("--interpolate names both prompts; leave --other out")
    if pair and not all(each.strip() for each in pair):
        raise UsageError("--interpolate leads from one prompt to another and one of the two is empty; name both")
    prompt, other = pair or (" ".join(words), options.settings.other)
    settings = replace(options.settings, prompt=prompt or options.settings.prompt, other=other)
    if not settings.prompt:
        raise UsageError('the prompt is empty; say what to make, such as gen3d text "a red barrel"')
    if options.no_mesh:
        settings = replace(settings, mesh=replace(settings.mesh, method="none"))
    from gen3d.pipeline.stages.text import text_to_3d

    run = Run.create(options.out, "text", settings, name=settings.prompt, overwrite=options.overwrite)
    with recording(run, quiet=options.quiet) as progress:
        text_to_3d(settings.prompt, settings, run, progress)
    return run_report(run)
