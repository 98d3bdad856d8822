import dataclasses
import json
import os
import pickle
import re
import time
from pathlib import Path

import pytest

import gen3d
from gen3d.errors import BadInput, Gen3DError, Interrupted, UsageError
from gen3d.pipeline import manifest as manifests
from gen3d.pipeline.configuration import as_yaml, digest
from gen3d.pipeline.fitting.settings import FittingSettings
from gen3d.pipeline.run import Run, _new_folder
from gen3d.pipeline.stages.settings import PhotosSettings as Job


def manifest_of(folder):
    return json.loads((folder / "run.json").read_text())


class TestCreate:
    def test_the_folder_has_the_documented_layout(self, tmp_path, photos):
        run = Run.create(tmp_path / "out", "photos", Job(), inputs=[photos])
        assert {path.name for path in run.folder.iterdir()} == {
            *("inputs", "cameras", "checkpoints", "previews", "exports"),
            *("run.json", "config.yaml"),
        }
        facts = manifest_of(run.folder)
        assert facts["version"] == gen3d.__version__
        assert (facts["verb"], facts["seed"], facts["device"], facts["status"]) == ("photos", 0, "auto", "running")
        assert facts["config_sha256"] == digest(Job())
        assert list(facts["inputs"]) == [str(photos)]

    def test_the_default_folder_is_named_after_the_input_and_noted_as_latest(self, tmp_path, photos, monkeypatch):
        monkeypatch.chdir(tmp_path)
        first, second = (Run.create(None, "photos", Job(), inputs=[photos]) for _ in range(2))
        assert re.fullmatch(r"my-photos-\d{8}-\d{6}", first.folder.name)
        assert first.folder != second.folder
        assert first.folder.parent == tmp_path / "outputs"
        assert (tmp_path / "outputs" / "latest.txt").read_text() == f"{second.folder.name}\n"

    def test_two_starts_in_one_second_get_two_folders(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        folders = {_new_folder("cat") for _ in range(5)}
        assert len(folders) == 5
        assert all(folder.is_dir() for folder in folders)

    def test_a_named_folder_leaves_its_parent_alone(self, tmp_path):
        Run.create(tmp_path / "out", "photos", Job())
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_an_input_that_does_not_exist_leaves_nothing(self, tmp_path):
        with pytest.raises(BadInput, match="nowhere does not exist"):
            Run.create(tmp_path / "out", "photos", Job(), inputs=[tmp_path / "nowhere"])
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_with_other_things_is_refused(self, tmp_path):
        (tmp_path / "thesis.txt").write_text("mine")
        with pytest.raises(UsageError, match="is not empty: choose another --out, or add --overwrite"):
            Run.create(tmp_path, "photos", Job())

    def test_overwrite_takes_nothing_away_from_a_folder_that_is_no_run(self, tmp_path):
        (tmp_path / "thesis.txt").write_text("mine")
        for _ in range(2):
            with Run.create(tmp_path, "photos", Job(), overwrite=True):
                pass
        assert (tmp_path / "thesis.txt").read_text() == "mine"

    @pytest.mark.parametrize("name", ["exports/thesis.txt", "config.yaml", "metrics-mine.json"])
    def test_a_folder_with_something_of_the_same_name_is_refused(self, tmp_path, name):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
        with pytest.raises(UsageError, match=f"has its own {Path(name).parts[0]}, which a run would replace"):
            Run.create(tmp_path, "photos", Job(), overwrite=True)
        assert [path.name for path in tmp_path.iterdir()] == [Path(name).parts[0]]
        assert (tmp_path / name).read_text() == "mine"

    def test_a_folder_that_the_job_reads_is_refused(self, photos):
        with pytest.raises(UsageError, match="is what the job reads"):
            Run.create(photos, "photos", Job(), inputs=[photos], overwrite=True)
        assert sorted(path.name for path in photos.iterdir()) == ["images", "transforms.json"]

    def test_of_two_that_begin_at_once_the_later_one_runs(self, tmp_path):
        first = Run.create(tmp_path, "photos", Job(seed=1), overwrite=True)
        time.sleep(0.01)
        second = Run.create(tmp_path, "photos", Job(seed=2), overwrite=True)
        with pytest.raises(UsageError, match="another gen3d has begun a run"), first:
            pass
        with second:
            assert second.settings(Job) == Job(seed=2)

    def test_a_file_is_no_run_folder(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(UsageError, match="is a file"):
            Run.create(tmp_path / "file", "photos", Job(), overwrite=True)

    def test_a_finished_run_is_refused(self, tmp_path):
        with Run.create(tmp_path / "out", "photos", Job()):
            pass
        with pytest.raises(UsageError, match="is not empty"):
            Run.create(tmp_path / "out", "photos", Job())

    @pytest.mark.parametrize("status", ["running", "interrupted"])
    def test_an_unfinished_run_suggests_to_resume(self, tmp_path, status):
        Run.create(tmp_path / "out", "photos", Job()).record(status=status)
        with pytest.raises(UsageError, match=r"unfinished run: continue it with gen3d resume .*out"):
            Run.create(tmp_path / "out", "photos", Job())

    def test_a_run_that_failed_before_its_first_checkpoint_is_not_in_the_way(self, tmp_path):
        with pytest.raises(BadInput), Run.create(tmp_path / "out", "photos", Job()):
            raise BadInput("no photos")
        assert not Run.open(tmp_path / "out").resumable
        assert Run.create(tmp_path / "out", "photos", Job()).manifest.status == "running"


class TestStatus:
    def test_a_block_that_ends_well_is_done(self, tmp_path):
        with Run.create(tmp_path, "photos", Job()):
            assert manifest_of(tmp_path)["status"] == "running"
        assert manifest_of(tmp_path)["status"] == "done"
        assert not Run.open(tmp_path).resumable

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), Interrupted("at step 3"), SystemExit(1)])
    def test_an_interruption_can_be_resumed(self, tmp_path, error):
        with pytest.raises(type(error)), Run.create(tmp_path, "photos", Job()):
            raise error
        run = Run.open(tmp_path)
        assert run.manifest.status == "interrupted"
        assert run.resumable
        with run:
            assert manifest_of(tmp_path)["status"] == "running"
        assert manifest_of(tmp_path)["status"] == "done"

    def test_an_unexpected_error_leaves_its_traceback_in_the_log(self, tmp_path):
        with pytest.raises(ZeroDivisionError), Run.create(tmp_path, "photos", Job()):
            1 / 0  # noqa: B018
        assert manifest_of(tmp_path)["status"] == "failed"
        assert manifest_of(tmp_path)["error"] == "division by zero"
        assert "Traceback" in (tmp_path / "log.txt").read_text()

    def test_an_expected_error_is_one_sentence_in_the_log(self, tmp_path):
        with pytest.raises(BadInput), Run.create(tmp_path, "photos", Job()):
            raise BadInput("a photo is empty")
        log = (tmp_path / "log.txt").read_text()
        assert "failed: a photo is empty" in log
        assert "Traceback" not in log

    def test_a_disk_that_is_full_does_not_hide_the_reason(self, tmp_path, monkeypatch):
        run = Run.create(tmp_path, "photos", Job())

        def full(*_):
            raise Gen3DError("could not write run.json: No space left on device")

        monkeypatch.setattr("gen3d.pipeline.run.write_json", full)
        with pytest.raises(BadInput, match="the true reason"), run:
            raise BadInput("the true reason")


class TestRecord:
    def test_stages_add_up_over_resumptions(self, tmp_path):
        run = Run.create(tmp_path, "photos", Job())
        with run.stage("fit"):
            pass
        first = run.manifest.stages["fit"]
        run.record(stages={"fit": first + 100})
        with pytest.raises(KeyError), run.stage("fit"):
            raise KeyError
        assert manifest_of(tmp_path)["stages"]["fit"] >= first + 100
        assert manifest_of(tmp_path)["peak_memory_mib"]["main"] > 0

    def test_mappings_merge_and_notes_append_once(self, tmp_path):
        run = Run.create(tmp_path, "photos", Job())
        run.record(budgets={"fit": 100})
        run.record(budgets={"refine": 20}, device="cpu", weights=[{"name": "lpips", "licence": "BSD"}])
        run.note("k of n registered")
        run.note("k of n registered")
        facts = manifest_of(tmp_path)
        assert facts["budgets"] == {"fit": 100, "refine": 20}
        assert facts["device"] == "cpu"
        assert facts["notes"] == ["k of n registered"]
        assert facts["weights"] == [{"name": "lpips", "licence": "BSD"}]

    def test_a_transform_is_replaced_not_appended(self, tmp_path):
        run = Run.create(tmp_path, "photos", Job())
        rows = [[0.0, 1.0], [1.0, 0.0]]
        run.record(world_from_source=rows)
        run.record(world_from_source=rows[::-1])
        assert manifest_of(tmp_path)["world_from_source"] == rows[::-1]

    def test_an_unknown_fact_is_refused(self, tmp_path):
        with pytest.raises(TypeError, match="colour"):
            Run.create(tmp_path, "photos", Job()).record(colour="red")

    def test_a_manifest_survives_opening(self, tmp_path, photos):
        run = Run.create(tmp_path / "out", "photos", Job(), inputs=[photos])
        run.record(budgets={"fit": 7}, notes=["a", "b"], world_from_source=[[1.0]])
        again = Run.open(tmp_path / "out")
        assert dataclasses.asdict(again.manifest) == {**dataclasses.asdict(run.manifest), "world_from_source": ([1.0],)}

    def test_metrics_are_json(self, tmp_path):
        run = Run.create(tmp_path, "photos", Job())
        run.write_metrics({"psnr": 28.5})
        assert json.loads((tmp_path / "metrics.json").read_text()) == {"psnr": 28.5}
        with pytest.raises(ValueError, match="JSON"):
            run.write_metrics({"psnr": float("inf")})
        assert json.loads((tmp_path / "metrics.json").read_text()) == {"psnr": 28.5}

    def test_nothing_is_half_written(self, tmp_path):
        run = Run.create(tmp_path, "photos", Job())
        before = (tmp_path / "run.json").read_bytes()
        with pytest.raises(TypeError):
            run.record(device=object())
        assert (tmp_path / "run.json").read_bytes() == before
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


class TestProcesses:
    def test_another_process_reads_the_run_and_does_not_write_it(self, tmp_path, monkeypatch):
        run = Run.create(tmp_path, "photos", Job())
        copy = pickle.loads(pickle.dumps(run))
        monkeypatch.setattr(os, "getpid", lambda: -1)
        copy.record(device="cuda")
        copy.finish("failed", "in the copy")
        assert copy.manifest.device == "cuda"
        assert manifest_of(tmp_path)["device"] == "auto"
        assert manifest_of(tmp_path)["status"] == "running"


class TestSettings:
    def test_config_yaml_gives_the_settings_back(self, tmp_path):
        settings = Job(seed=9, fitting=FittingSettings(steps=4, scale_regularizer=2.5e-7))
        run = Run.create(tmp_path, "photos", settings)
        assert (tmp_path / "config.yaml").read_text() == as_yaml(settings)
        assert run.settings(Job) == settings

    def test_settings_that_were_changed_are_refused(self, tmp_path):
        run = Run.create(tmp_path, "photos", Job())
        path = tmp_path / "config.yaml"
        path.write_text(path.read_text().replace("steps: 0", "steps: 11"))
        with pytest.raises(BadInput, match="is not what this run started with"):
            run.settings(Job)


class TestInputs:
    def test_a_changed_photo_is_noticed(self, tmp_path, photos):
        run = Run.create(tmp_path / "out", "photos", Job(), inputs=[photos])
        run.check_inputs()
        (photos / "images" / "a.png").write_bytes(b"b")
        with pytest.raises(BadInput, match="has changed since the run began"):
            run.check_inputs()

    def test_a_renamed_photo_is_noticed(self, photos):
        before = manifests.input_digest(photos)
        (photos / "images" / "a.png").rename(photos / "images" / "b.png")
        assert manifests.input_digest(photos) != before

    def test_hidden_files_and_results_inside_the_input_do_not_count(self, photos, monkeypatch):
        before = manifests.input_digest(photos)
        (photos / ".DS_Store").write_text("x")
        Run.create(photos / "result", "photos", Job())
        monkeypatch.chdir(photos)
        Run.create(None, "photos", Job())
        assert manifests.input_digest(photos) == before

    def test_a_folder_of_everything_is_refused(self, photos, monkeypatch):
        monkeypatch.setattr(manifests, "MOST_INPUT_FILES", 1)
        with pytest.raises(BadInput, match="give the folder of one scene"):
            manifests.input_digest(photos)


class TestOpen:
    def test_a_folder_that_is_no_run(self, tmp_path):
        with pytest.raises(BadInput, match=r"is not a run folder \(it has no run.json\)"):
            Run.open(tmp_path)

    @pytest.mark.parametrize("content", ["", "[]", "{}", "null", "{", '{"version": "1"}'])
    def test_a_damaged_manifest(self, tmp_path, content):
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(BadInput):
            Run.open(tmp_path)
        with pytest.raises(UsageError, match="is not empty"):
            Run.create(tmp_path, "photos", Job())

    @pytest.mark.parametrize("change", [{"inputs": 3}, {"stages": []}, {"seed": "x"}, {"status": None}, {"notes": "word"}])
    def test_a_manifest_with_a_wrong_type(self, tmp_path, change):
        Run.create(tmp_path, "photos", Job())
        (tmp_path / "run.json").write_text(json.dumps({**manifest_of(tmp_path), **change}))
        with pytest.raises(BadInput, match=f"says {next(iter(change))} is"):
            Run.open(tmp_path)

    def test_facts_of_later_versions_are_passed_over(self, tmp_path):
        Run.create(tmp_path, "photos", Job(seed=3))
        facts = manifest_of(tmp_path)
        (tmp_path / "run.json").write_text(json.dumps({**facts, "mood": "good"}))
        assert Run.open(tmp_path).manifest.seed == 3

    def test_a_run_is_found_from_anywhere(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Run.create("out", "photos", Job())
        run = Run.open("out")
        monkeypatch.chdir("/")
        run.record(device="cpu")
        assert manifest_of(tmp_path / "out")["device"] == "cpu"
        assert run.folder == Path(tmp_path / "out")

    def test_weights_must_stay_the_same(self, tmp_path):
        run = Run.create(tmp_path, "photos", Job())
        run.record(weights=[{"name": "lpips", "licence": "BSD"}])
        field, attributes = ({"name": "best.safetensors", "licence": "own", "sha256": digest} for digest in ("1", "2"))
        run.use_weights(field, attributes)  # of one name, in two folders
        run.use_weights(field, attributes)
        assert [each.get("sha256") for each in manifest_of(tmp_path)["weights"]] == [None, "1", "2"]
        with pytest.raises(BadInput, match=r"best\.safetensors has changed since this run began; start it again"):
            run.use_weights({**field, "sha256": "3"})
