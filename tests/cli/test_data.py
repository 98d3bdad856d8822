"""`gen3d data`: from a folder of meshes to a training set, and what is in one."""

import json

import pytest

SMALL = ("--size", "24", "--views", "8", "--workers", "1", "-q")


@pytest.fixture
def meshes(tmp_path, monkeypatch):
    """A folder of three boxes and a broken file, without a manifest; the working folder is its parent."""
    pytest.importorskip("embreex")
    trimesh = pytest.importorskip("trimesh")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "meshes" / "boxes").mkdir(parents=True)
    for number, name in enumerate(("red_box.ply", "boxes/BlueBox.obj", "boxes/plain.stl")):
        box = trimesh.creation.box((1.0, 1.0 + number, 2.0))
        if number == 0:
            box.visual.vertex_colors = [200, 30, 35, 255]
        box.export(tmp_path / "meshes" / name)
    (tmp_path / "meshes" / "broken.glb").write_bytes(b"glTF")
    return tmp_path / "meshes"


@pytest.fixture
def rendered(gen3d, meshes):
    assert gen3d("data", "render", "meshes", "--out", "set", *SMALL)[0] == 0
    return meshes.parent / "set"


class TestRender:
    def test_a_folder_becomes_a_set(self, gen3d, meshes):
        code, out, err = gen3d("data", "render", "meshes", "--out", "set", *SMALL)
        assert (code, err) == (0, "")
        lines = out.splitlines()
        assert lines[0].startswith("set: 3 objects in ")
        assert "  8 views of 24 pixels each: colour, alpha, depth, normal; seed 0, quality 100" in lines
        assert "  licences: unknown 3" in lines
        assert lines[-1].startswith("  failed: broken.glb: broken.glb is not a readable glb file")

    def test_json_names_everything(self, gen3d, meshes):
        code, out, _ = gen3d("data", "render", "meshes", "--out", "set", "--geometry", "false", *SMALL, "--json")
        facts = json.loads(out)
        assert (code, facts["status"], facts["set"], facts["complete"]) == (0, "done", "set", True)
        assert (facts["objects"], facts["planned"], facts["reused"], facts["shards"]) == (3, 4, 0, 1)
        assert sum(sum(splits.values()) for splits in facts["tiers"].values()) == 3
        assert facts["settings"]["geometry"] is False
        assert [(each["id"], each["file"]) for each in facts["failures"]] == [("broken", "broken.glb")]
        assert facts["bytes"] == sum(path.stat().st_size for path in (meshes.parent / "set").glob("*.shard"))

    def test_the_second_time_there_is_nothing_left_to_do(self, gen3d, rendered):
        code, out, _ = gen3d("data", "render", "meshes", "--out", "set", *SMALL)
        assert code == 0
        assert ", 3 of them by an earlier run" in out

    def test_progress_is_told(self, gen3d, meshes):
        _, _, err = gen3d("data", "render", "meshes", "--out", "set", *SMALL[:-1])
        assert err == "render done failed 1\n"

    def test_an_interruption_says_how_to_continue(self, gen3d, meshes, monkeypatch):
        def stop(*arguments, **options):
            raise KeyboardInterrupt

        monkeypatch.setattr("gen3d.pipeline.objects.render_set.draw_entry", stop)
        code, _, err = gen3d("data", "render", "meshes", "--out", "set", *SMALL)
        assert (code, err) == (130, "error: interrupted with 0 of 4 objects done; the same command goes on from there\n")
        monkeypatch.undo()
        monkeypatch.chdir(meshes.parent)
        code, out, _ = gen3d("data", "show", "set")
        assert code == 0
        assert "  not complete: 0 of 4 objects; the gen3d data render that made it goes on from there" in out

    @pytest.mark.parametrize(
        ("arguments", "code", "sentence"),
        [
            (("meshes",), 2, "gen3d data render needs --out SET, the folder to write the set to"),
            (("nowhere", "--out", "set"), 6, "nowhere does not exist; give a folder of meshes"),
            (("empty", "--out", "set"), 6, "empty holds no meshes (.glb, .gltf, .obj, .ply, .stl); give a folder with at least one"),
            (("meshes", "--out", "meshes"), 2, "meshes holds files that are no rendered set; choose another --out"),
            (("meshes", "--out", "set", "--views", "3"), 2, "the setting views is 3; it must lie between 8 and 1000"),
            (("meshes", "--out", "set", "--size", "1024"), 2, "16 views of 1024 pixels are 16,384 rows and at most 16,383 fit"),
            (("meshes", "--out", "set", "--frame", "up"), 2, "the setting frame is 'up'; choose one of auto, gltf, ply, unity, zup"),
            (("meshes", "--out", "set", "--workers", "-1"), 2, "workers is -1; it must be at least 0"),
            (("meshes", "--out", "set", "--object", "box"), 2, "--object belongs to gen3d data show"),
            (("meshes", "--out", "set", "--sise", "64"), 2, "the flag --sise is not known; did you mean --size?"),
        ],
    )
    def test_bad_input_is_one_sentence(self, gen3d, meshes, arguments, code, sentence):
        (meshes.parent / "empty").mkdir()
        got, out, err = gen3d("data", "render", *arguments)
        assert (got, out) == (code, "")
        assert err.startswith(f"error: {sentence}")
        assert len(err.splitlines()) == 1
        assert not (meshes.parent / "set").exists()

    def test_other_settings_need_overwrite(self, gen3d, rendered):
        code, _, err = gen3d("data", "render", "meshes", "--out", "set", *SMALL, "--seed", "3")
        assert code == 2
        assert err == "error: set was rendered with --seed 0; give the same settings, choose another --out, or add --overwrite\n"
        assert gen3d("data", "render", "meshes", "--out", "set", *SMALL, "--seed", "3", "--overwrite")[0] == 0


class TestShow:
    def test_the_summary(self, gen3d, rendered):
        code, out, err = gen3d("data", "show", "set")
        assert (code, err) == (0, "")
        assert out.splitlines()[0] == "set"
        assert " MiB in 1 shard, " in out
        assert "checksums match" in out
        assert "failed: broken.glb" in out
        assert json.loads(gen3d("data", "show", "set", "--json")[1])["objects"] == 3

    def test_a_contact_sheet_of_the_set(self, gen3d, rendered):
        from gen3d.pipeline.formats.images import read_image

        code, out, _ = gen3d("data", "show", "set", "--out", "sheet.png")
        assert (code, out.splitlines()[-1]) == (0, "sheet.png")
        image, _ = read_image("sheet.png")
        assert image.shape == (24, 72, 3)
        corners = image[0, ::24]
        assert (corners == corners[0, 0]).all()
        assert (image != corners[0, 0]).any()
        assert gen3d("data", "show", "set", "--out", "sheet.png")[0] == 2
        assert gen3d("data", "show", "set", "--out", "sheet.png", "--overwrite")[0] == 0

    def test_all_that_is_kept_of_one_object(self, gen3d, rendered):
        from gen3d.pipeline.formats.images import read_image

        code, out, _ = gen3d("data", "show", "set", "--object", "boxes/BlueBox", "--out", "box.png", "--json")
        facts = json.loads(out)
        assert (code, facts["sheet"]) == (0, "box.png")
        assert (facts["object"]["name"], facts["object"]["category"], facts["object"]["tier"]) == ("blue box", "boxes", "unknown")
        image, _ = read_image("box.png")
        assert image.shape == (4 * 24, 8 * 24, 3)
        unlit, lit, depth, normal = image.float().reshape(4, 24, 8, 24, 3).mean((1, 2, 3))
        assert (lit < unlit).all()
        assert not (depth == normal).all()

    def test_a_set_without_geometry_has_one_row(self, gen3d, meshes):
        from gen3d.pipeline.formats.images import read_image

        gen3d("data", "render", "meshes", "--out", "flat", "--geometry", "false", *SMALL)
        gen3d("data", "show", "flat", "--object", "red_box", "--out", "box.png")
        assert read_image("box.png")[0].shape == (24, 8 * 24, 3)

    def test_damage_ends_in_a_sentence(self, gen3d, rendered):
        shard = rendered / "00000.shard"
        shard.write_bytes(shard.read_bytes()[:-1] + b"?")
        code, _, err = gen3d("data", "show", "set")
        assert code == 6
        assert "00000.shard is damaged: it does not match its checksum; copy the set again, or" in err
        code, _, err = gen3d("data", "render", "meshes", "--out", "set", *SMALL[:-1])
        assert code == 0
        assert err.splitlines()[0] == "note: 00000.shard is damaged: it does not match its checksum; it is rendered again"
        assert gen3d("data", "show", "set")[0] == 0

    @pytest.mark.parametrize(
        ("arguments", "code", "sentence"),
        [
            (
                ("meshes",),
                6,
                "meshes holds no rendered set (it has no manifest.json); make one with gen3d data render LIBRARY --out meshes",
            ),
            (("set", "--object", "x"), 2, "--object needs --out sheet.png, the picture to draw"),
            (("set", "--object", "x", "--out", "a.png"), 6, "set has no object 'x' among its 3"),
            (("set", "--out", "a.gif"), 2, "a.gif does not end in one of"),
            (("set", "--size", "32"), 2, "the settings of a set belong to gen3d data render"),
        ],
    )
    def test_bad_input_is_one_sentence(self, gen3d, rendered, arguments, code, sentence):
        got, out, err = gen3d("data", "show", *arguments)
        assert (got, out) == (code, "")
        assert err.startswith(f"error: {sentence}")


class TestVolumes:
    def test_a_set_becomes_volumes(self, gen3d, rendered):
        code, out, _ = gen3d("data", "volumes", "set", "--out", "volumes", "--volume.steps", "5", "--workers", "1", "--json", "-q")
        facts = json.loads(out)
        assert (code, facts["objects"], facts["settings"]["steps"]) == (0, 3, 5)
        assert all(psnr > 10 for psnr in facts["psnr"].values())

    @pytest.mark.parametrize(
        ("flags", "words"), [([], "needs --out"), (["--out", "x", "--size", "32"], "how pictures are drawn belongs to gen3d data render")]
    )
    def test_what_is_missing_or_wrong_is_told(self, gen3d, rendered, flags, words):
        code, _, err = gen3d("data", "volumes", "set", *flags)
        assert (code, words in err) == (2, True)

    def test_flags_of_other_actions_are_refused(self, gen3d, rendered):
        code, _, err = gen3d("data", "show", "set", "--volume.steps", "5")
        assert (code, "belong to gen3d data volumes" in err) == (2, True)
        code, _, err = gen3d("data", "volumes", "set", "--out", "volumes", "--workers", "-1")
        assert (code, "workers is -1" in err) == (2, True)
