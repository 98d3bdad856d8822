import json
import os
import signal
import subprocess
import sys
import warnings

import pytest

from gen3d import errors
from gen3d.cli.main import VERBS, main

HEAVY = ("torch", "numpy", "lightning", "diffusers", "scipy", "PIL", "rich", "trimesh")


@pytest.mark.parametrize(
    "command", ["--help", "--version", "photos --help", "config show draft", "config list", "phots", "photos --print_config"]
)
def test_quick_answers_import_nothing_heavy(command):
    code = f"import sys; from gen3d.cli.main import main; main({command.split()!r}); print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_imports_anything_heavy_for_its_help(verb):
    code = f"import sys; from gen3d.cli.main import main; main([{verb!r}, '--help']); print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert f"usage: gen3d {verb}" in done.stdout


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "gen3d", "photos", "/nowhere/at/all"], capture_output=True, text=True, check=False)
    assert done.returncode == 6
    assert done.stdout == ""
    assert done.stderr == "error: /nowhere/at/all does not exist; give the folder of the photos\n"


def test_a_file_in_place_of_the_photos_leaves_no_run(gen3d, photos):
    (photos.parent / "cat.jpg").touch()
    assert gen3d("photos", "cat.jpg", "--out", "run") == (6, "", "error: cat.jpg is not a folder; give the folder of the photos\n")
    assert not (photos.parent / "run").exists()


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_names_every_verb(gen3d, arguments):
    code, out, _ = gen3d(*arguments)
    assert code == 0
    assert all(f"\n  {verb}" in out for verb in VERBS)


def test_the_version(gen3d):
    code, out, _ = gen3d("--version")
    assert (code, out.split()[0]) == (0, "gen3d")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["phots"], "the verb 'phots' is not known; did you mean photos?"),
        (["-q", "photos"], "-q stands before the verb; flags come after it: gen3d VERB -q"),
        (["photos"], "gen3d photos needs FOLDER; see gen3d photos --help"),
        (["photos", "a", "b"], "the argument 'b' is one too many; see gen3d photos --help"),
        (["photos", "a", "--presett", "draft"], "the flag --presett is not known; did you mean --preset?"),
        (["photos", "a", "--fitting.stps", "3"], "the flag --fitting.stps is not known; did you mean --fitting.steps?"),
        (["photos", "a", "--steps=3"], "the flag --steps is not known; did you mean --fitting.steps?"),
        (["photos", "a", "--see", "3"], "the flag --see is not known; did you mean --seed?"),
        (["photos", "a", "-z"], "the flag -z is not known"),
        (["photos", "a", "--seed", "x"], "seed is 'x'; it must be of type int"),
        (["photos", "a", "--seed"], "argument --seed: expected one argument"),
        (["photos", "a", "--preset", "drft"], "the preset 'drft' of gen3d photos is not known; did you mean draft?"),
        (
            ["photos", "a", "--fitting.ssim-weight", ".inf"],
            "the command line: the setting fitting.ssim_weight is inf; it must be a finite number",
        ),
        (["config", "shw"], "action is 'shw'; choose one of 'list', 'show', 'diff'"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(gen3d, arguments, sentence):
    assert gen3d(*arguments) == (2, "", f"error: {sentence}\n")


@pytest.mark.parametrize("kind", ["UsageError", "MissingDependency", "MissingWeights", "BadInput", "Gen3DError"])
def test_every_error_has_its_exit_code_and_its_json(gen3d, photos, photos_stage, kind):
    def fail(run, progress):
        raise getattr(errors, kind)("the sentence")

    photos_stage.job = fail
    code, out, err = gen3d("photos", photos, "--json")
    assert code == getattr(errors, kind).exit_code
    assert err == "error: the sentence\n"
    assert json.loads(out) == {"status": "failed", "error": "the sentence", "exit_code": code}


def test_an_unexpected_error_says_where_the_traceback_is(gen3d, photos, photos_stage):
    def fail(run, progress):
        raise ZeroDivisionError("by zero\nand more")

    photos_stage.job = fail
    code, out, err = gen3d("photos", photos, "--out", "run")
    assert (code, out) == (1, "")
    assert err == f"error: unexpected ZeroDivisionError: by zero; the traceback is in {os.path.join('run', 'log.txt')}\n"
    assert "ZeroDivisionError" in (photos.parent / "run" / "log.txt").read_text()


def test_verbose_shows_the_traceback(gen3d, photos, photos_stage):
    def fail(run, progress):
        raise ZeroDivisionError("by zero")

    photos_stage.job = fail
    _, _, err = gen3d("photos", photos, "-v")
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("error: unexpected ZeroDivisionError")


def test_an_unexpected_error_without_a_run(gen3d, monkeypatch):
    monkeypatch.setattr("gen3d.cli.config._list", lambda verb: 1 / 0)
    assert gen3d("config", "list") == (1, "", "error: unexpected ZeroDivisionError: division by zero; -v shows the traceback\n")


def out_of_memory():
    import torch

    kinds = [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        errors.OutOfMemory("the job does not fit into memory: said by a part that knows it"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 8"),
    ]
    return [pytest.param(kind, id=type(kind).__name__) for kind in kinds]


@pytest.mark.parametrize("error", out_of_memory())
def test_out_of_memory_names_flags_that_help(gen3d, photos, photos_stage, error):
    def fail(run, progress):
        raise error

    photos_stage.job = fail
    code, _, err = gen3d("photos", photos)
    assert code == 5
    assert err.startswith("error: the job does not fit into memory")
    flags = [word.strip(",\n") for word in err.split() if word.startswith("--")]
    assert len(flags) == 3
    _, out, _ = gen3d("photos", "--help")
    assert all(flag.replace("-", "_").replace("__", "--", 1) in out for flag in flags)


def test_an_interruption_says_how_to_continue(gen3d, photos, photos_stage):
    def interrupt(run, progress):
        raise KeyboardInterrupt

    photos_stage.job = interrupt
    code, out, err = gen3d("photos", photos, "--out", "run", "--json")
    assert code == 130
    assert err == "error: interrupted; continue with gen3d resume run\n"
    assert json.loads(out)["status"] == "interrupted"


def test_the_fit_that_stops_in_order_says_where(gen3d, photos, photos_stage):
    def interrupt(run, progress):
        raise errors.Interrupted("the fit was interrupted at step 3 of 9")

    photos_stage.job = interrupt
    code, _, err = gen3d("photos", photos, "--out", "run")
    assert (code, err) == (130, "error: the fit was interrupted at step 3 of 9; continue with gen3d resume run\n")


def test_sigterm_is_an_interruption_and_handlers_are_put_back(gen3d, photos, photos_stage):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def terminate(run, progress):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the signal was not heard")

    photos_stage.job = terminate
    code, _, err = gen3d("photos", photos, "--out", "run")
    assert code == 130
    assert "continue with gen3d resume run" in err
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_what_libraries_print_stays_out_of_the_json(gen3d, photos, photos_stage):
    photos_stage.job = lambda run, progress: print("hello from a library")
    code, out, err = gen3d("photos", photos, "--json")
    assert code == 0
    assert len(out.splitlines()) == 1
    assert json.loads(out)["status"] == "done"
    assert "hello from a library" in err


@pytest.mark.parametrize(("flags", "shown"), [([], ["ours"]), (["-v"], ["ours", "theirs"])])
def test_warnings_of_libraries_are_shown_only_when_asked_for(gen3d, photos, photos_stage, flags, shown):
    def warn(run, progress):
        warnings.warn_explicit("ours", UserWarning, "a.py", 1, module="gen3d.renderers.rendering")
        warnings.warn_explicit("theirs", UserWarning, "b.py", 1, module="lightning.pytorch")

    photos_stage.job = warn
    _, _, err = gen3d("photos", photos, *flags)
    assert [line for line in err.splitlines() if line.startswith("note")] == [f"note: {word}" for word in shown]


def test_a_reader_that_goes_away_is_no_error(monkeypatch):
    class Gone:
        def write(self, text):
            raise BrokenPipeError

        def flush(self):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Gone())
    assert main(["config", "list"]) == 0


def test_numbers_that_json_lacks_become_null(gen3d, photos, photos_stage, monkeypatch):
    from gen3d.cli import photos as verb
    from gen3d.cli.report import Report

    monkeypatch.setattr(verb, "run_report", lambda run: Report({"psnr": float("inf"), "list": (1.0, float("nan"))}, ""))
    _, out, _ = gen3d("photos", photos, "--json")
    assert json.loads(out) == {"status": "done", "psnr": None, "list": [1.0, None]}
