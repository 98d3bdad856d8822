"""`gen3d eval objects`: methods judged on a small library."""

import json

import pytest

SMALL = ("--size", "24", "--lpips", "none", "--holdout", "1", "--workers", "1", "--methods", "white,copy,nearest-pixels")


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Four boxes with a manifest, one of them a test object; the working folder is their folder's parent."""
    pytest.importorskip("embreex")
    trimesh = pytest.importorskip("trimesh")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "meshes").mkdir()
    records = []
    for number in range(4):
        box = trimesh.creation.box((1.0, 0.5 + 0.3 * number, 0.8))
        box.visual.vertex_colors = [60 * number, 90, 120, 255]
        box.export(tmp_path / "meshes" / f"b{number}.ply")
        told = {"caption": f"box {number}", "licence": "CC0", "attribution": "A", "tier": "scan"}
        records.append({"id": f"b{number}", "file": f"b{number}.ply", "split": "test" if number == 2 else "train", **told})
    (tmp_path / "meshes" / "manifest.json").write_text(json.dumps({"objects": records}))
    return tmp_path / "meshes"


def test_a_table_on_the_screen_and_in_a_file(gen3d, library, tmp_path):
    code, out, err = gen3d("eval", "objects", "meshes", "--out", "judged", *SMALL, "-q")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "# objects-v1-elevation-20-24"
    assert lines[-2:] == ["judged/table.md", "judged/scores.json"]
    assert [line.split()[1] for line in lines if line.startswith("| ")][:4] == ["method", "white", "copy", "nearest-pixels"]
    assert (tmp_path / "judged" / "table.md").read_text() == "\n".join(lines[:-3]) + "\n"
    assert sorted(each.name for each in (tmp_path / "outputs" / "protocols" / "meshes").iterdir()) == ["objects-v1-elevation-20-24"]


def test_json_has_means_and_margins(gen3d, library):
    code, out, _ = gen3d("eval", "objects", "meshes", "--out", "judged", *SMALL, "--over", "white", "--json", "-q")
    facts = json.loads(out)
    assert (code, facts["status"], facts["objects"], facts["over"]) == (0, "done", 1, "white")
    assert facts["files"] == ["judged/table.md", "judged/scores.json"]
    copied, nothing = (facts["methods"][name]["psnr"]["all"]["mean"] for name in ("copy", "white"))
    assert facts["margins"]["copy"]["psnr"]["all"]["mean"] == pytest.approx(copied - nothing, abs=1e-4)
    assert facts["methods"]["copy"]["psnr"]["scan"] == {"mean": copied, "error": None, "count": 1}


def test_methods_of_an_earlier_evaluation_are_added(gen3d, library):
    gen3d("eval", "objects", "meshes", "--out", "first", *SMALL, "-q")
    more = (*SMALL[:-1], "mean", "--add", "first/scores.json")
    code, out, _ = gen3d("eval", "objects", "meshes", "--out", "second", *more, "--json", "-q")
    assert (code, list(json.loads(out)["methods"])) == (0, ["white", "mean", "copy", "nearest-pixels"])
    code, _, err = gen3d("eval", "objects", "meshes", "--out", "third", *SMALL, "--add", "first/scores.json", "-q")
    assert (code, err) == (2, "error: there are two scores of the method copy; leave it out of --methods or of the files to --add\n")
    code, _, err = gen3d("eval", "objects", "meshes", "--out", "third", *more, "--protocol", "nano", "-q")
    assert code == 2
    assert err.startswith("error: scores on objects-v1-elevation-20-24 (pictures ")


def test_results_are_not_overwritten_unasked(gen3d, library, tmp_path):
    (tmp_path / "judged").mkdir()
    (tmp_path / "judged" / "table.md").write_text("mine")
    code, _, err = gen3d("eval", "objects", "meshes", "--out", "judged", *SMALL, "-q")
    assert (code, err) == (2, "error: judged/table.md exists; choose another --out, or add --overwrite\n")
    assert gen3d("eval", "objects", "meshes", "--out", "judged", *SMALL, "-q", "--overwrite")[0] == 0


def test_a_folder_is_made_below_outputs(gen3d, library, tmp_path):
    code, out, _ = gen3d("eval", "objects", "meshes", *SMALL, "--protocol", "nano", "-q", "--json")
    assert code == 0
    assert json.loads(out)["out"].startswith("outputs/eval-nano-24-")
    assert (tmp_path / json.loads(out)["files"][0]).read_text().startswith("# nano-elevation-20-24\n")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("objects",), 2, "gen3d eval objects needs a library: gen3d eval objects LIBRARY; a run of this name is meant by ./objects"),
        (("objects", "nowhere"), 6, "nowhere does not exist; give a folder of meshes"),
        (("objects", "meshes", "--methods", "coppy"), 2, "the method 'coppy' is not known; did you mean copy?"),
        (("objects", "meshes", "--elevation", "7"), 2, "the setting elevation is 7; choose one of 0, 20"),
        (("objects", "meshes", "--methods", "white", "--over", "copy"), 2, "the setting over is 'copy', which is not evaluated here"),
        (("objects", "meshes", "--against", "photos"), 2, "--against and --max-size belong to gen3d eval RUN"),
        (("objects", "meshes", "--workers", "-1"), 2, "workers is -1; it must be at least 0"),
        (
            ("objects", "meshes", "--add", "meshes/manifest.json"),
            6,
            "meshes/manifest.json holds no scores of objects; give the scores.json",
        ),
        (("run", "meshes"), 2, "a library, its settings, --out, --add, --cache and --workers belong to gen3d eval objects LIBRARY"),
        (("run", "--size", "128"), 2, "a library, its settings, --out"),
        ((), 2, "gen3d eval needs RUN; see gen3d eval --help"),
    ],
)
def test_bad_input_is_one_sentence(gen3d, library, arguments, code, sentence):
    quick = ("--size", "24", "--lpips", "none", "-q") if arguments[:1] == ("objects",) else ()
    got, out, err = gen3d("eval", *arguments, *quick)
    assert (got, out) == (code, "")
    assert err.startswith(f"error: {sentence}")
    assert len(err.splitlines()) == 1


def test_a_library_without_training_objects(gen3d, library):
    manifest = json.loads((library / "manifest.json").read_text())
    manifest["objects"] = [each for each in manifest["objects"] if each["split"] == "test"]
    (library / "manifest.json").write_text(json.dumps(manifest))
    assert gen3d("eval", "objects", "meshes", "--out", "a", *SMALL[:-1], "white,copy", "-q")[0] == 0
    code, _, err = gen3d("eval", "objects", "meshes", "--out", "b", *SMALL, "-q")
    assert code == 6
    assert err.startswith("error: no object has tier any and split train; the library has scan/test")
