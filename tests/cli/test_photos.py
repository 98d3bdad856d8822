"""`gen3d photos` from the folder of photos to the files of the run, also when it is killed on the way."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from gen3d.cli.main import main
from gen3d.pipeline.formats.registry import read_gaussians

FAST = ["--no-mesh", "--holdout", "4", "--fitting.densify.cap", "400", "--fitting.initial-splats", "200", "--fitting.densify.every", "20"]
RESULTS = ("exports/model.ply", "previews/turntable.mp4", "previews/contact_sheet.png", "metrics.json", "run.json", "config.yaml")


def photos(folder, out, *flags):
    return main(["photos", str(folder), "--out", str(out), "-q", *FAST, *flags])


def metrics(run):
    return json.loads((run / "metrics.json").read_text())


def manifest(run):
    return json.loads((run / "run.json").read_text())


def test_a_folder_of_photos_becomes_a_run(photo_folder, tmp_path, capsys):
    run = tmp_path / "run"
    assert photos(photo_folder, run, "--fitting.steps", "60", "--json") == 0
    line = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert line["status"] == "done"
    assert all((run / name).stat().st_size > 0 for name in RESULTS)
    assert metrics(run)["psnr"] > 15
    assert manifest(run)["status"] == "done"
    assert manifest(run)["budgets"] == {"fit": 60}
    assert set(manifest(run)["stages"]) >= {"read", "fit", "export", "evaluate", "preview"}
    gaussians, facts = read_gaussians(run / "exports" / "model.ply")
    assert gaussians.count == facts.count > 100
    assert not [path for path in (run / "checkpoints").iterdir() if path.suffix == ".ckpt"]


def test_a_result_is_not_overwritten_unasked(photo_folder, tmp_path, capsys):
    run = tmp_path / "run"
    assert photos(photo_folder, run, "--fitting.steps", "5") == 0
    assert photos(photo_folder, run, "--fitting.steps", "5") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert photos(photo_folder, run, "--fitting.steps", "6", "--overwrite") == 0
    assert manifest(run)["budgets"] == {"fit": 6}


def test_one_photo_is_not_enough(photo_folder, tmp_path, capsys):
    alone = shutil.copytree(photo_folder, tmp_path / "alone")
    meta = json.loads((alone / "transforms.json").read_text())
    meta["frames"] = meta["frames"][:1]
    (alone / "transforms.json").write_text(json.dumps(meta))
    assert photos(alone, tmp_path / "run", "--fitting.steps", "5") == 6
    error = capsys.readouterr().err
    assert error.count("error:") == 1
    assert "there are 1 photos" in error


def test_devices_share_one_run_folder(photo_folder, tmp_path):
    run = tmp_path / "run"
    assert photos(photo_folder, run, "--fitting.steps", "10", "--devices", "2") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert all((run / name).stat().st_size > 0 for name in RESULTS)


def command(*words):
    return [sys.executable, "-W", "ignore", "-m", "gen3d", *words]


def start(folder, run, *flags):
    fast = [*FAST, "--fitting.steps", "1500", "--fitting.checkpoints", "150"]
    return subprocess.Popen(command("photos", str(folder), "--out", str(run), *fast, *flags), stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def whole(photo_folder, tmp_path_factory):
    """A run that nobody stopped."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert start(photo_folder, run).wait(timeout=300) == 0
    return run


def wait_for(path, job, times=1):
    """Until `path` has been written `times` times."""
    seen = set()
    while len(seen) < times and job.poll() is None:
        if path.exists():
            seen.add(path.stat().st_mtime_ns)
        time.sleep(0.005)
    assert path.exists(), "the job ended first"


def resume(run):
    return subprocess.run(command("resume", str(run), "-q"), stderr=subprocess.DEVNULL, timeout=300).returncode


def same_results(run, other):
    return metrics(run) == metrics(other) and (run / "exports/model.ply").read_bytes() == (other / "exports/model.ply").read_bytes()


# Every checkpoint of the first part of the fit, the end of the fit, and the export are places to be stopped at.
STOPS = [
    (signal.SIGKILL, "checkpoints/fit.ckpt", 3),
    (signal.SIGINT, "checkpoints/fit.ckpt", 17),
    (signal.SIGTERM, "checkpoints/fit.ckpt", 30),
    (signal.SIGKILL, "checkpoints/fitted.safetensors", 1),
    (signal.SIGKILL, "exports/model.ply", 1),
    (signal.SIGINT, "metrics.json", 1),
]


@pytest.mark.parametrize(("stop", "file", "times"), STOPS)
def test_a_stopped_job_resumes_to_the_same_results(photo_folder, whole, tmp_path, stop, file, times):
    run = tmp_path / "run"
    job = start(photo_folder, run)
    wait_for(run / file, job, times)
    job.send_signal(stop)
    assert job.wait(timeout=60) == (-9 if stop == signal.SIGKILL else 130)
    assert manifest(run)["status"] == ("running" if stop == signal.SIGKILL else "interrupted")
    assert resume(run) == 0
    assert same_results(run, whole)


def test_several_processes_are_stopped_together(photo_folder, tmp_path):
    run, flags = tmp_path / "run", ("--devices", "2")
    job = subprocess.Popen(
        command("photos", str(photo_folder), "--out", str(run), *FAST, "--fitting.steps", "600", "--fitting.checkpoints", "60", *flags),
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for(run / "checkpoints" / "fit.ckpt", job, 2)
    os.killpg(job.pid, signal.SIGTERM)
    assert job.wait(timeout=60) == 130
    assert resume(run) == 0
    assert metrics(run)["psnr"] > 15
