"""`gen3d photos` from the folder of photos to the files of the run, also when it is killed on the way."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from gen3d.cli.main import main
from gen3d.pipeline.formats.registry import read_gaussians

FAST = ["--holdout", "4", "--fitting.densify.cap", "400", "--fitting.initial-splats", "200", "--fitting.densify.every", "20", "-q"]
RESULTS = ("exports/model.ply", "previews/turntable.mp4", "previews/contact_sheet.png", "metrics.json", "run.json", "config.yaml")


def photos(folder, out, *flags):
    return main(["photos", str(folder), "--out", str(out), *FAST, *flags])


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
    assert photos(photo_folder, run, "--fitting.steps", "10", "--devices", "2", "--fitting.views-per-step", "2") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert all((run / name).stat().st_size > 0 for name in RESULTS)


def command(*words):
    return [sys.executable, "-W", "ignore", "-m", "gen3d", *words]


def start(folder, run):
    flags = [*FAST, "--fitting.steps", "1500", "--fitting.checkpoints", "150"]
    return subprocess.Popen(command("photos", str(folder), "--out", str(run), *flags), stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def whole(photo_folder, tmp_path_factory):
    """A run that nobody stopped."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert start(photo_folder, run).wait(timeout=300) == 0
    return run


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_stopped_job_resumes_to_the_same_metrics(photo_folder, whole, tmp_path, stop):
    stopped = tmp_path / "stopped"
    job = start(photo_folder, stopped)
    checkpoint = stopped / "checkpoints" / "fit.ckpt"
    while not checkpoint.exists() and job.poll() is None:
        time.sleep(0.02)
    time.sleep(random.uniform(0, 0.5))
    job.send_signal(stop)
    assert job.wait(timeout=60) == (-9 if stop == signal.SIGKILL else 130)
    assert manifest(stopped)["status"] == ("running" if stop == signal.SIGKILL else "interrupted")
    assert checkpoint.exists()
    assert not (stopped / "exports" / "model.ply").exists()
    assert subprocess.run(command("resume", str(stopped), "-q"), stderr=subprocess.DEVNULL, timeout=300).returncode == 0
    assert metrics(stopped) == metrics(whole)
    assert (stopped / "exports" / "model.ply").read_bytes() == (whole / "exports" / "model.ply").read_bytes()
