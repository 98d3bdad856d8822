"""The `gen3d` command: finds the verb, reads its flags, runs it, and says how it ended."""

import contextlib
import dataclasses
import importlib
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence

import gen3d
from gen3d.cli.failures import explained
from gen3d.cli.parser import Parser
from gen3d.cli.report import Report, json_line, table
from gen3d.errors import Interrupted, UsageError
from gen3d.pipeline.configuration import as_yaml, did_you_mean

# Each verb is a module with `configure(parser)` and `execute(options) -> Report`; it imports heavy packages in `execute`.
# Its `SMALLER`, if it has one, are the flags that lower its memory.
VERBS: dict[str, tuple[str, str]] = {
    "text": ("gen3d.cli.text", "a sentence becomes splats and a mesh"),
    "image": ("gen3d.cli.image", "a picture of an object becomes splats and a mesh"),
    "photos": ("gen3d.cli.photos", "a folder of photos with cameras becomes splats"),
    "resume": ("gen3d.cli.resume", "continue a run that was cut off"),
    "mesh": ("gen3d.cli.mesh", "a textured mesh of a run or a splat file: GLB, OBJ, PLY, STL"),
    "render": ("gen3d.cli.render", "draw splats or a mesh: a turntable video, a contact sheet, stills, depth"),
    "export": ("gen3d.cli.export", "write splats in other formats and frames"),
    "info": ("gen3d.cli.info", "what is in a splat file, a mesh file or a run"),
    "eval": ("gen3d.cli.eval", "measure a run against photos that it has not seen, or methods on objects"),
    "data": ("gen3d.cli.data", "meshes become sets to train with: pictures, volumes of splats; what is in one"),
    "train": ("gen3d.cli.train", "train a prior: from pictures or from volumes to weights"),
    "models": ("gen3d.cli.models", "list, fetch and check pretrained weights"),
    "config": ("gen3d.cli.config", "list, show and compare presets"),
    "doctor": ("gen3d.cli.doctor", "what works on this machine, and how to mend the rest"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code (see `gen3d.errors`)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    if arguments[0] == "--version":
        print(f"gen3d {gen3d.__version__}")
        return 0
    as_json, verbose = "--json" in arguments, bool({"-v", "--verbose"} & set(arguments))
    try:
        with _signals(), _calm_warnings(verbose):
            report = _run(arguments)
    except BaseException as error:
        failure = explained(error)
        if verbose:
            traceback.print_exception(error)
        print(f"error: {failure}", file=sys.stderr)
        status = "interrupted" if isinstance(failure, Interrupted) else "failed"
        report = Report({"status": status, "error": str(failure), "exit_code": failure.exit_code}, "", failure.exit_code)
    text = json_line({"status": "done" if report.exit_code == 0 else "failed", **report.facts}) if as_json else report.text
    with contextlib.suppress(BrokenPipeError):
        if text and not report.silent:
            print(text, flush=True)
    return report.exit_code


def _run(arguments: list[str]) -> Report:
    name, *rest = arguments
    if name not in VERBS:
        if name.startswith("-"):
            raise UsageError(f"{name} stands before the verb; flags come after it: gen3d VERB {name}")
        raise UsageError(f"the verb {name!r} is not known{did_you_mean(name, VERBS)}")
    path, summary = VERBS[name]
    module = importlib.import_module(path)
    parser = Parser(name, summary)
    module.configure(parser)
    try:
        options = parser.parse(rest)
    except SystemExit:
        return Report({}, "")  # --help has printed itself
    if getattr(options, "print_config", False):
        return Report(dataclasses.asdict(options.settings), as_yaml(options.settings).rstrip())
    try:
        # Standard output belongs to the report: what libraries print goes to the other stream.
        with contextlib.redirect_stdout(sys.stderr):
            return module.execute(options)
    except BaseException as error:
        raise explained(error, smaller=getattr(module, "SMALLER", "")) from error


def _help() -> str:
    verbs = table([(f"  {name}", summary) for name, (_, summary) in VERBS.items()])
    return f"""usage: gen3d VERB [INPUT] [flags]

A sentence, a picture or photos become Gaussian splats and a textured mesh.

{verbs}

gen3d VERB --help shows the flags of a verb; gen3d --version the version.
Exit codes: 0 done, 1 failed, 2 usage, 3 missing optional package, 4 missing weights, 5 out of memory, 6 bad input, 130 interrupted."""


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM ends a job as Ctrl-C does; both handlers are put back, because libraries leave theirs behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _calm_warnings(verbose: bool) -> Iterator[None]:
    """Show gen3d's own warnings as notes; those of libraries only when they are asked for."""
    with warnings.catch_warnings():
        if not verbose:
            warnings.simplefilter("ignore")
            warnings.filterwarnings("default", category=UserWarning, module=r"gen3d\.")
        warnings.showwarning = lambda message, *_: print(f"note: {message}", file=sys.stderr)
        yield
