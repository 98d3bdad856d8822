import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gen3d.errors import BadInput, Gen3DError, Interrupted, UsageError
from gen3d.pipeline.run import Run
from gen3d.pipeline.stages.settings import PhotosSettings as Job


def manifest_of(folder):
    return json.loads((folder / "run.json").read_text())


def finished(folder, content="first"):
    with Run.create(folder, "photos", Job()) as run:
        (run.exports / "model.ply").write_text(content)
    return run


class TestOverwrite:
    def test_a_run_that_ends_well_replaces_the_old_results(self, tmp_path):
        finished(tmp_path, "first")
        with Run.create(tmp_path, "photos", Job(seed=4), overwrite=True):
            assert not (tmp_path / "exports" / "model.ply").exists()
            (tmp_path / "exports" / "model.ply").write_text("second")
        assert (tmp_path / "exports" / "model.ply").read_text() == "second"
        assert not (tmp_path / ".previous").exists()

    def test_figures_of_the_old_model_go_and_come_with_it(self, tmp_path):
        finished(tmp_path)
        (tmp_path / "metrics-eval.json").write_text("old")
        run = Run.create(tmp_path, "photos", Job(seed=4), overwrite=True)
        assert not (tmp_path / "metrics-eval.json").exists()
        (tmp_path / "metrics-other.json").write_text("new")
        with pytest.raises(BadInput), run:
            raise BadInput("the photos are not pictures")
        assert (tmp_path / "metrics-eval.json").read_text() == "old"
        assert not (tmp_path / "metrics-other.json").exists()
        with Run.create(tmp_path, "photos", Job(seed=5), overwrite=True):
            pass
        assert list(tmp_path.glob("metrics-*.json")) == []

    def test_a_run_that_fails_early_gives_the_old_results_back(self, tmp_path):
        finished(tmp_path, "first")
        with pytest.raises(BadInput), Run.create(tmp_path, "photos", Job(seed=4), overwrite=True):
            raise BadInput("the photos are not pictures")
        assert (tmp_path / "exports" / "model.ply").read_text() == "first"
        assert manifest_of(tmp_path)["status"] == "done"
        assert Run.open(tmp_path).settings(Job) == Job()
        assert "the photos are not pictures" in (tmp_path / "log.txt").read_text()

    def test_a_run_that_is_killed_keeps_the_old_results_through_a_second_attempt(self, tmp_path):
        finished(tmp_path, "first")
        Run.create(tmp_path, "photos", Job(seed=4), overwrite=True)  # never ends
        with pytest.raises(BadInput), Run.create(tmp_path, "photos", Job(seed=5), overwrite=True):
            raise BadInput("no")
        assert (tmp_path / "exports" / "model.ply").read_text() == "first"

    def test_a_run_that_fails_late_keeps_its_checkpoint(self, tmp_path):
        finished(tmp_path, "first")
        run = Run.create(tmp_path, "photos", Job(seed=4), overwrite=True)
        (run.checkpoints / "fit.ckpt").touch()
        with pytest.raises(RuntimeError), run:
            raise RuntimeError
        assert Run.open(tmp_path).resumable
        assert Run.open(tmp_path).settings(Job).seed == 4

    def test_a_disk_that_is_full_at_the_start_gives_the_old_results_back(self, tmp_path, monkeypatch):
        finished(tmp_path, "first")

        def full(*_):
            raise Gen3DError("could not write config.yaml: No space left on device")

        monkeypatch.setattr("gen3d.pipeline.run.write_text", full)
        with pytest.raises(Gen3DError, match="No space left"):
            Run.create(tmp_path, "photos", Job(seed=4), overwrite=True)
        assert (tmp_path / "exports" / "model.ply").read_text() == "first"
        assert manifest_of(tmp_path)["status"] == "done"
        assert not (tmp_path / ".previous").exists()

    def test_results_that_cannot_be_moved_all_stay_where_they_are(self, tmp_path, monkeypatch):
        finished(tmp_path, "first")
        before = sorted(path.name for path in tmp_path.iterdir() if path.name != ".previous")
        replace = os.replace

        def refuse(source, target):
            if Path(source) == tmp_path / "config.yaml":
                raise PermissionError(13, "Permission denied")
            replace(source, target)

        monkeypatch.setattr(os, "replace", refuse)
        with pytest.raises(Gen3DError, match="Permission denied"):
            Run.create(tmp_path, "photos", Job(seed=4), overwrite=True)
        assert sorted(path.name for path in tmp_path.iterdir() if path.name != ".previous") == before
        assert (tmp_path / "exports" / "model.ply").read_text() == "first"

    def test_a_disk_that_is_full_at_the_end_gives_the_old_results_back(self, tmp_path, monkeypatch):
        finished(tmp_path, "first")
        run = Run.create(tmp_path, "photos", Job(seed=4), overwrite=True)

        def full(*_):
            raise Gen3DError("could not write run.json: No space left on device")

        monkeypatch.setattr("gen3d.pipeline.run.write_json", full)
        with pytest.raises(BadInput, match="the true reason"), run:
            raise BadInput("the true reason")
        assert (tmp_path / "exports" / "model.ply").read_text() == "first"
        assert manifest_of(tmp_path)["status"] == "done"

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), Interrupted("while reading"), SystemExit(1)])
    def test_a_run_that_is_interrupted_early_gives_the_old_results_back(self, tmp_path, error):
        finished(tmp_path, "first")
        run = Run.create(tmp_path, "photos", Job(seed=4), overwrite=True)
        (run.checkpoints / ".fit-12345678.ckpt").touch()
        with pytest.raises(type(error)), run:
            raise error
        assert run.restored
        assert (tmp_path / "exports" / "model.ply").read_text() == "first"
        assert manifest_of(tmp_path)["status"] == "done"

    def test_a_folder_that_only_looks_like_earlier_results_is_kept(self, tmp_path):
        (tmp_path / ".previous").mkdir()
        (tmp_path / ".previous" / "thesis.txt").write_text("mine")
        with Run.create(tmp_path, "photos", Job(), overwrite=True):
            pass
        assert (tmp_path / ".previous" / "thesis.txt").read_text() == "mine"


HOLD = """
import sys, time
from gen3d.pipeline.run import Run
from gen3d.pipeline.stages.settings import PhotosSettings as Job
with Run.open(sys.argv[1]):
    print("inside", flush=True)
    time.sleep(60)
"""


class TestLock:
    @pytest.fixture
    def busy(self, tmp_path):
        """A run that another process works in."""
        pytest.importorskip("fcntl")
        Run.create(tmp_path, "photos", Job())
        with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout.readline() == "inside\n"
            yield other
            other.kill()

    def test_one_process_at_a_time(self, tmp_path, busy):
        with pytest.raises(UsageError, match=r"another gen3d works in .*; wait until it ends"), Run.open(tmp_path):
            pass
        with pytest.raises(UsageError, match="another gen3d works in"):
            Run.create(tmp_path, "photos", Job(seed=4), overwrite=True)
        assert manifest_of(tmp_path)["status"] == "running"
        assert manifest_of(tmp_path)["seed"] == 0

    def test_a_process_that_is_killed_locks_nobody_out(self, tmp_path, busy):
        busy.send_signal(signal.SIGKILL)
        busy.wait()
        with Run.open(tmp_path):
            pass
        assert manifest_of(tmp_path)["status"] == "done"

    def test_a_run_can_be_entered_again(self, tmp_path):
        run = Run.create(tmp_path, "photos", Job())
        for _ in range(2):
            with run:
                pass
        with pytest.raises(BadInput), run:
            raise BadInput("no")
        with run:
            pass


class TestLeftovers:
    def test_halves_of_files_are_swept_and_are_no_checkpoint(self, tmp_path):
        run = Run.create(tmp_path, "photos", Job())
        halves = [run.checkpoints / ".fit-ab12_9zz.ckpt", run.exports / ".model-abcdefgh.ply", run.previews / ".turntable-01234567.mp4"]
        for half in halves:
            half.touch()
        assert not run.has_checkpoint
        with run:
            assert not [half for half in halves if half.exists()]
