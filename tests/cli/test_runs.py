"""The verbs around a run folder, with a stand-in for the job itself."""

import json
import re

import pytest

from gen3d.errors import BadInput
from gen3d.pipeline.configuration import override, read_preset
from gen3d.pipeline.run import Run
from gen3d.pipeline.stages.settings import PhotosSettings


def write_results(run, progress):
    with run.stage("fit"):
        progress.start("fit", 2)
        progress.advance(2, loss=0.5)
        progress.finish()
    (run.exports / "model.ply").write_text("ply")
    run.write_metrics({"psnr": 28.456, "views": 12, "per_view": [{"name": "a", "psnr": 28.456}]})


def interrupt(run, progress):
    (run.checkpoints / "fit.ckpt").touch()
    raise KeyboardInterrupt


def test_photos_hands_the_settings_and_the_run_to_the_job(gen3d, photos, photos_stage):
    photos_stage.job = write_results
    code, out, _ = gen3d("photos", "cat", "--preset", "draft", "--seed", "5")
    assert code == 0
    (_, settings, run) = photos_stage.seen[0]
    assert settings == override(override(PhotosSettings(), read_preset("photos", "draft"), "draft"), {"seed": 5}, "flag")
    assert re.fullmatch(r"cat-\d{8}-\d{6}", run.folder.name)
    assert run.manifest.status == "done"
    assert list(run.manifest.inputs) == [str(photos)]
    assert "psnr 28.46 views 12" in out
    assert f"outputs/{run.folder.name}/exports/model.ply" in out


def test_photos_as_json(gen3d, photos, photos_stage):
    photos_stage.job = write_results
    _, out, _ = gen3d("photos", "cat", "--out", "run", "--json")
    facts = json.loads(out)
    assert facts["status"] == "done"
    assert facts["run"] == str(photos.parent / "run")
    assert facts["metrics"] == {"psnr": 28.456, "views": 12}
    assert set(facts["files"]) == {"model.ply", "metrics.json", "run.json"}


def test_the_current_folder_as_input_gives_the_run_its_name(gen3d, photos, photos_stage, monkeypatch):
    monkeypatch.chdir(photos)
    assert gen3d("photos", ".")[0] == 0
    assert photos_stage.seen[0][2].folder.name.startswith("cat-")


def test_the_config_of_a_run_starts_an_equal_run(gen3d, photos, photos_stage):
    gen3d("photos", "cat", "--out", "first", "--preset", "high", "--fitting.rates.means", "1e-5", "--holdout", "3")
    gen3d("photos", "cat", "--out", "second", "--config", "first/config.yaml")
    first, second = (settings for _, settings, _ in photos_stage.seen)
    assert first == second
    assert (photos.parent / "first/config.yaml").read_bytes() == (photos.parent / "second/config.yaml").read_bytes()


def test_a_result_is_replaced_only_when_asked_for(gen3d, photos, photos_stage):
    photos_stage.job = write_results
    gen3d("photos", "cat", "--out", "run")
    code, _, err = gen3d("photos", "cat", "--out", "run")
    assert (code, err) == (2, "error: run is not empty: choose another --out, or add --overwrite\n")
    assert gen3d("photos", "cat", "--out", "run", "--overwrite")[0] == 0


def test_bad_input_leaves_earlier_results_untouched(gen3d, photos, photos_stage):
    photos_stage.job = write_results
    gen3d("photos", "cat", "--out", "run")

    def fail(run, progress):
        raise BadInput("a.png is empty")

    photos_stage.job = fail
    assert gen3d("photos", "cat", "--out", "run", "--overwrite")[0] == 6
    assert (photos.parent / "run" / "exports" / "model.ply").read_text() == "ply"
    assert Run.open("run").manifest.status == "done"


def test_an_interrupted_run_is_resumed(gen3d, photos, photos_stage):
    photos_stage.job = interrupt
    assert gen3d("photos", "cat", "--out", "run")[0] == 130
    code, _, err = gen3d("photos", "cat", "--out", "run")
    assert (code, err) == (2, "error: run holds an unfinished run: continue it with gen3d resume run, or add --overwrite\n")
    photos_stage.job = write_results
    code, out, _ = gen3d("resume", "run")
    assert code == 0
    assert "psnr 28.46" in out
    assert Run.open("run").manifest.status == "done"


def test_resuming_can_be_interrupted_again(gen3d, photos, photos_stage):
    photos_stage.job = interrupt
    gen3d("photos", "cat", "--out", "run")
    assert gen3d("resume", "run") == (130, "", "error: interrupted; continue with gen3d resume run\n")


def test_resuming_a_finished_run_does_nothing(gen3d, photos, photos_stage):
    photos_stage.job = write_results
    gen3d("photos", "cat", "--out", "run")
    photos_stage.job = interrupt
    assert gen3d("resume", "run")[0] == 0


def test_resuming_with_other_photos_is_refused(gen3d, photos, photos_stage):
    photos_stage.job = interrupt
    gen3d("photos", "cat", "--out", "run")
    (photos / "new.png").touch()
    code, _, err = gen3d("resume", "run")
    assert code == 6
    assert "has changed since the run began" in err
    assert Run.open("run").resumable


def test_resuming_reads_the_photos_once(gen3d, photos, photos_stage, monkeypatch):
    photos_stage.job = interrupt
    gen3d("photos", "cat", "--out", "run")
    checks = []
    monkeypatch.setattr(Run, "check_inputs", lambda run: checks.append(run))
    gen3d("resume", "run")
    assert len(checks) == 1


def test_a_run_that_somebody_works_in_is_left_alone(gen3d, photos, photos_stage):
    answers = []

    def ask(run, progress):
        photos_stage.job = interrupt
        answers.append(gen3d("resume", "run"))
        answers.append(gen3d("photos", "cat", "--out", "run", "--overwrite"))
        write_results(run, progress)

    photos_stage.job = ask
    assert gen3d("photos", "cat", "--out", "run")[0] == 0
    (code, out, err), overwriting = answers
    assert (code, out) == (2, "")
    assert err.startswith("error: another gen3d works in ")
    assert overwriting[0] == 2
    assert Run.open("run").manifest.status == "done"
    assert (photos.parent / "run" / "exports" / "model.ply").read_text() == "ply"


def test_out_of_memory_while_resuming_names_flags_of_the_job(gen3d, photos, photos_stage):
    photos_stage.job = interrupt
    gen3d("photos", "cat", "--out", "run")

    def fail(run, progress):
        raise MemoryError

    photos_stage.job = fail
    code, _, err = gen3d("resume", "run")
    assert code == 5
    assert "close other programs, or try a new run with --max-size 384, " in err


def test_what_the_user_should_know_is_in_the_report(gen3d, photos, photos_stage):
    def noted(run, progress):
        write_results(run, progress)
        run.note("LPIPS is absent: offline")

    photos_stage.job = noted
    _, out, _ = gen3d("photos", "cat", "--out", "run")
    assert out.splitlines()[-1] == "note: LPIPS is absent: offline"
    assert gen3d("resume", "run")[1].splitlines()[-1] == "note: LPIPS is absent: offline"
    assert json.loads(gen3d("resume", "run", "--json")[1])["notes"] == ["LPIPS is absent: offline"]


def test_the_notes_of_the_mesh_are_in_the_report_once(gen3d, photos, photos_stage):
    def noted(run, progress):
        write_results(run, progress)
        run.note("LPIPS is absent: offline")
        run.record(mesh={"notes": ["LPIPS is absent: offline", "without embreex there is no texture"]})

    photos_stage.job = noted
    _, out, _ = gen3d("photos", "cat", "--out", "run")
    expected = ["LPIPS is absent: offline", "without embreex there is no texture"]
    assert [line for line in out.splitlines() if line.startswith("note: ")] == [f"note: {note}" for note in expected]
    assert gen3d("resume", "run")[1].splitlines()[-1] == f"note: {expected[-1]}"
    assert json.loads(gen3d("resume", "run", "--json")[1])["notes"] == expected


def test_an_early_interruption_leaves_earlier_results_untouched(gen3d, photos, photos_stage):
    photos_stage.job = write_results
    gen3d("photos", "cat", "--out", "run")

    def interrupt_early(run, progress):
        raise KeyboardInterrupt

    photos_stage.job = interrupt_early
    assert gen3d("photos", "cat", "--out", "run", "--overwrite") == (130, "", "error: interrupted\n")
    assert (photos.parent / "run" / "exports" / "model.ply").read_text() == "ply"
    assert Run.open("run").manifest.status == "done"


def test_resuming_what_is_no_run(gen3d, photos):
    code, _, err = gen3d("resume", "cat")
    assert (code, err) == (6, "error: cat is not a run folder (it has no run.json); give a folder that gen3d wrote\n")


def test_resuming_a_job_of_another_kind(gen3d, photos):
    Run.create("run", "sculpt", PhotosSettings())
    code, _, err = gen3d("resume", "run")
    assert code == 6
    assert "was made by gen3d sculpt, which cannot be resumed" in err


@pytest.mark.parametrize("verb", ["render", "export", "eval"])
def test_a_run_without_a_model_is_explained(gen3d, photos, photos_stage, verb):
    photos_stage.job = interrupt
    gen3d("photos", "cat", "--out", "run")
    code, _, err = gen3d(verb, "run", *(["--to", "splat"] if verb == "export" else []))
    assert (code, err) == (6, "error: the run run has no exports/model.ply (it is interrupted); let it end with gen3d resume first\n")
