"""export, info, render and eval on small splat files."""

import json

import pytest
import torch

from gen3d.pipeline.fitting.settings import FittingSettings
from gen3d.pipeline.formats.images import read_image, write_image
from gen3d.pipeline.formats.registry import read_gaussians, write_gaussians
from gen3d.pipeline.run import Run
from gen3d.pipeline.stages.settings import PhotosSettings
from gen3d.renderers import gsplat_backend
from gen3d.renderers.cameras import opencv_to_opengl, orbit
from gen3d.renderers.rendering import rasterize

SMALL = ("--size", "32", "--views", "4", "--backend", "reference", "-q")


@pytest.fixture
def run(tmp_path, monkeypatch, gaussians):
    """A finished run over six photos that its own splats drew."""
    monkeypatch.chdir(tmp_path)
    cameras = orbit(torch.arange(6) * 60.0, torch.full((6,), 10.0), radius=3.0, fov=40.0, width=48, height=32)
    drawn = rasterize(gaussians, cameras, backend="reference").rgb
    frames = []
    for index, pose in enumerate(opencv_to_opengl(cameras.world_to_camera)):
        (tmp_path / "photos").mkdir(exist_ok=True)
        write_image(tmp_path / "photos" / f"{index}.png", drawn[index].clamp(0, 1))
        frames.append({"file_path": f"{index}.png", "transform_matrix": pose.tolist()})
    focal = float(cameras.intrinsics[0, 0, 0])
    lens = {"w": 48, "h": 32, "fl_x": focal, "fl_y": focal, "cx": 24.0, "cy": 16.0}
    (tmp_path / "photos" / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))
    with Run.create("run", "photos", PhotosSettings(holdout=3), inputs=["photos"]) as run:
        run.record(world_from_source=torch.eye(4).tolist())
        (run.cameras / "transforms.json").write_text(json.dumps({"frames": [{**lens, **frame} for frame in frames]}))
        write_gaussians(run.exports / "model.ply", gaussians)
    return run


@pytest.fixture
def antialiased(run):
    """The same, fitted with antialiasing."""
    with Run.create("smooth", "photos", PhotosSettings(holdout=3, fitting=FittingSettings(antialias=True)), inputs=["photos"]) as other:
        for file in ("cameras/transforms.json", "exports/model.ply"):
            (other.folder / file).write_bytes((run.folder / file).read_bytes())
    return other


@pytest.mark.parametrize("words", [["info"], ["render"], ["export", "--to", "splat"]])
@pytest.mark.parametrize("name", ["nowhere", "nowhere.ply", "x" * 300])
def test_what_does_not_exist_is_said_first(gen3d, tmp_path, monkeypatch, words, name):
    monkeypatch.chdir(tmp_path)
    verb, *flags = words
    assert gen3d(verb, name, *flags) == (6, "", f"error: {name} does not exist; give a run folder or a file\n")


class TestExport:
    def test_the_suffix_names_the_format(self, gen3d, splats):
        code, out, _ = gen3d("export", splats, "--out", "a/b.splat")
        assert code == 0
        assert "3 splats" in out
        assert "harmonics above degree 0 were dropped" in out
        assert read_gaussians("a/b.splat")[1].format == "splat"

    def test_several_formats_at_once(self, gen3d, run):
        code, out, _ = gen3d("export", "run", "--to", "splat, ply", "--overwrite", "--json")
        assert code == 0
        assert set(json.loads(out)["files"]) == {"run/exports/model.splat", "run/exports/model.ply"}

    def test_frames_are_changed_together(self, gen3d, splats, gaussians):
        gen3d("export", splats, "--axes", "zup", "--out", "z.ply")
        same, facts = read_gaussians("z.ply")
        assert (facts.frame, facts.unit) == ("zup", "metre")
        torch.testing.assert_close(same.means, gaussians.means, atol=1e-5, rtol=0)
        turned, _ = read_gaussians("z.ply", frame="gltf")
        assert not torch.allclose(turned.means, gaussians.means, atol=1e-2)

    def test_a_file_is_not_overwritten_unasked(self, gen3d, splats):
        before = splats.read_bytes()
        code, _, err = gen3d("export", splats, "--out", "toy.ply", "--axes", "zup")
        assert (code, err) == (2, "error: toy.ply exists; choose another --out, or add --overwrite\n")
        assert splats.read_bytes() == before

    @pytest.mark.parametrize(
        ("flags", "code", "reason"),
        [
            ([], 2, "give either --out FILE or --to"),
            (["--out", "a.ply", "--to", "splat"], 2, "give either --out FILE or --to"),
            (["--out", "a.obj"], 2, "the format 'obj' is not known; known are ply, splat"),
            (["--to", "ply,"], 2, "the format '' is not known; known are ply, splat"),
            (["--out", "a.ply", "--axes", "up"], 2, "the frame 'up' is not known"),
        ],
    )
    def test_wrong_usage(self, gen3d, splats, flags, code, reason):
        got, _, err = gen3d("export", splats, *flags)
        assert got == code
        assert reason in err

    def test_no_format_is_written_when_one_is_not_known(self, gen3d, splats, tmp_path):
        code, _, err = gen3d("export", splats, "--to", "splat,spz")
        assert code == 2
        assert err.startswith("error: the format 'spz' is not known")
        assert [path.name for path in tmp_path.iterdir()] == ["toy.ply"]

    def test_the_format_is_checked_before_anything_is_read(self, gen3d, tmp_path):
        (tmp_path / "broken.ply").write_bytes(b"")
        assert gen3d("export", tmp_path / "broken.ply", "--to", "spz")[0] == 2


class TestInfo:
    def test_a_file(self, gen3d, splats):
        code, out, _ = gen3d("info", splats, "--json")
        facts = json.loads(out)
        assert code == 0
        assert (facts["count"], facts["degree"], facts["frame"], facts["unit"]) == (3, 1, "ply", "metre")
        assert facts["lower_corner"] == pytest.approx([-0.2, 0, 0], abs=1e-4)
        assert facts["upper_corner"] == pytest.approx([0.4, 0.3, 0.5], abs=1e-4)

    def test_a_file_for_people(self, gen3d, splats):
        _, out, _ = gen3d("info", splats)
        assert any(line.split() == ["count", "3"] for line in out.splitlines())

    def test_a_run(self, gen3d, run):
        run.write_metrics({"psnr": 30.5})
        _, out, _ = gen3d("info", "run", "--json")
        facts = json.loads(out)
        assert facts["manifest"]["status"] == "done"
        assert facts["metrics"] == {"psnr": 30.5}
        assert facts["model"]["count"] == 3
        _, text, _ = gen3d("info", "run")
        assert "30.5" in text

    @pytest.mark.parametrize("content", [b"", b"ply\nnot really", b"\0" * 100])
    def test_a_bad_file(self, gen3d, tmp_path, content):
        path = tmp_path / "a.ply"
        path.write_bytes(content)
        code, out, err = gen3d("info", path)
        assert (code, out) == (6, "")
        assert err.startswith("error: ")
        assert len(err.splitlines()) == 1


class TestRender:
    def test_a_file_gets_a_turntable_and_a_sheet(self, gen3d, splats):
        code, out, _ = gen3d("render", splats, "--out", "pictures", *SMALL)
        assert code == 0
        assert out.splitlines() == ["pictures/turntable.mp4", "pictures/contact_sheet.png"]
        sheet, _ = read_image("pictures/contact_sheet.png")
        assert sheet.shape == (64, 64, 3)
        assert (sheet[0, 0] == 255).all()  # white around objects
        assert (sheet < 250).any()

    def test_stills_and_depth(self, gen3d, splats):
        code, out, _ = gen3d("render", splats, "--out", "pictures", "--stills", "2", "--depth", *SMALL, "--json")
        names = {path.rsplit("/", 1)[-1] for path in json.loads(out)["files"]}
        assert code == 0
        assert {"turntable_depth.mp4", "contact_sheet_depth.png", "still_01.png", "still_01_depth.png"} < names
        assert len(names) == 8
        first, second = (read_image(f"pictures/still_0{index}.png")[0] for index in range(2))
        assert (first != second).any()

    def test_a_run_is_seen_from_near_its_photos(self, gen3d, run):
        code, out, _ = gen3d("render", "run", *SMALL, "--stills", "1")
        still = next(line for line in out.splitlines() if line.endswith("still_00.png"))
        image, _ = read_image(still)
        assert code == 0
        assert still.startswith("run/previews/")
        assert image.shape == (21, 32, 3)  # the shape of the photos
        assert (image[0, 0] == 0).all()

    def test_a_cut_out_object_is_seen_on_white(self, gen3d, run):
        cameras = run.cameras / "transforms.json"
        cameras.write_text(json.dumps(json.loads(cameras.read_text()) | {"cut_out": True}))
        gen3d("render", "run", *SMALL, "--out", "a")
        assert (read_image("a/contact_sheet.png")[0][0, 0] == 255).all()
        gen3d("render", "run", *SMALL, "--out", "b", "--background", "black")
        assert (read_image("b/contact_sheet.png")[0][0, 0] == 0).all()

    def test_a_run_is_drawn_as_it_was_fitted(self, gen3d, antialiased):
        pictures = []
        for source in ("run", "smooth", "smooth/exports/model.ply", "run/exports/model.ply"):
            assert gen3d("render", source, *SMALL, "--path", "turntable", "--out", f"of-{source}")[0] == 0
            pictures.append(read_image(f"of-{source}/contact_sheet.png")[0])
        plain, smooth, *files = pictures
        assert (smooth != plain).any()
        assert all(torch.equal(file, plain) for file in files)

    def test_the_run_of_a_version_with_fewer_settings_is_drawn(self, gen3d, antialiased):
        (antialiased.folder / "config.yaml").write_text("max_size: 640\n")
        assert gen3d("render", "smooth", *SMALL, "--out", "pictures")[0] == 0

    def test_the_path_can_be_chosen(self, gen3d, run, splats):
        gen3d("render", "run", *SMALL, "--stills", "1", "--path", "turntable", "--out", "a", "--background", "0,1,0")
        image, _ = read_image("a/still_00.png")
        assert image.shape == (32, 32, 3)
        assert image[0, 0].tolist() == [0, 255, 0]
        code, _, err = gen3d("render", splats, *SMALL, "--path", "photos", "--out", "b")
        assert code == 6
        assert "choose --path turntable" in err

    def test_a_damaged_camera_file(self, gen3d, run):
        (run.cameras / "transforms.json").write_text('{"frames": [{"w": 1}]}')
        code, _, err = gen3d("render", "run", *SMALL)
        assert code == 6
        assert "has a frame without file_path" in err

    @pytest.mark.parametrize(
        ("flags", "reason"),
        [
            (["--views", "0"], "views is 0; it must be at least 1"),
            (["--background", "pink"], "the background 'pink' is not a colour"),
            (["--background", "1,2,3"], "is not a colour"),
            (["--device", "tpu"], "device is 'tpu'"),
            (["--device", "cuda"], "choose --device cpu"),
            (["--backend", "gsplat"], "the backend is gsplat, which cannot run here: PyTorch sees no CUDA device"),
        ],
    )
    def test_wrong_usage(self, gen3d, splats, tmp_path, flags, reason, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(gsplat_backend, "unavailable", lambda: "PyTorch sees no CUDA device")
        code, _, err = gen3d("render", splats, "--out", "pictures", *SMALL, *flags)
        assert code == 2
        assert reason in err
        assert not (tmp_path / "pictures").exists()

    def test_out_of_memory_names_flags_that_help(self, gen3d, splats, monkeypatch):
        def fail(*_):
            raise MemoryError("8 GB")

        monkeypatch.setattr("gen3d.cli.render._draw", fail)
        code, _, err = gen3d("render", splats, "--out", "pictures")
        assert code == 5
        assert err == (
            "error: the job does not fit into memory (8 GB); close other programs, or try --size 256, --views 24 or leaving --depth out\n"
        )

    def test_pictures_are_not_overwritten_unasked(self, gen3d, splats, tmp_path):
        (tmp_path / "contact_sheet.png").write_text("mine")
        code, _, err = gen3d("render", splats, "--out", ".", *SMALL)
        assert (code, err) == (2, "error: contact_sheet.png exists; choose another --out, or add --overwrite\n")
        assert (tmp_path / "contact_sheet.png").read_text() == "mine"
        assert not (tmp_path / "turntable.mp4").exists()


@pytest.fixture
def no_lpips(monkeypatch):
    from gen3d.pipeline.evaluation import protocol

    monkeypatch.setattr(protocol, "lpips_or_reason", lambda: (None, "LPIPS is absent: offline"))


@pytest.mark.usefixtures("no_lpips")
class TestEval:
    def test_photos_drawn_from_the_splats_are_nearly_perfect(self, gen3d, run):
        code, out, _ = gen3d("eval", "run", "--backend", "reference", "--json")
        facts = json.loads(out)
        assert code == 0
        assert facts["metrics"]["views"] == 2
        assert facts["metrics"]["psnr"] > 50
        assert facts["note"] == "LPIPS is absent: offline"
        assert json.loads((run.folder / "metrics-eval.json").read_text()) == facts["metrics"]

    def test_figures_are_not_overwritten_unasked(self, gen3d, run):
        run.write_metrics({"psnr": 1.0})
        words = ("eval", "run", "--backend", "reference")
        assert gen3d(*words)[0] == 0
        (run.folder / "metrics-eval.json").write_text("{}")
        assert gen3d(*words) == (2, "", "error: run/metrics-eval.json exists; move it away, or add --overwrite\n")
        assert (run.folder / "metrics-eval.json").read_text() == "{}"
        assert gen3d(*words, "--overwrite")[0] == 0
        assert json.loads((run.folder / "metrics-eval.json").read_text())["views"] == 2
        assert json.loads((run.folder / "metrics.json").read_text()) == {"psnr": 1.0}

    def test_out_of_memory_names_flags_that_help(self, gen3d, run, monkeypatch):
        def fail(*_, **__):
            raise MemoryError

        monkeypatch.setattr("gen3d.pipeline.evaluation.metrics.evaluate_views", fail)
        code, _, err = gen3d("eval", "run")
        assert code == 5
        assert err.endswith(", or try --max-size 384, --device cpu or --against with fewer photos\n")

    def test_a_table_for_people(self, gen3d, run):
        _, out, _ = gen3d("eval", "run", "--backend", "reference")
        assert [line.split()[0] for line in out.splitlines()][:2] == ["psnr", "ssim"]
        assert "2 photos, 3 splats; run/metrics-eval.json" in out
        assert "note: LPIPS is absent: offline" in out

    def test_against_other_photos(self, gen3d, run, tmp_path):
        (tmp_path / "photos").rename(tmp_path / "others")
        code, out, _ = gen3d("eval", "run", "--backend", "reference", "--against", "others", "--json")
        assert code == 0
        assert json.loads(out)["metrics"]["views"] == 6
        assert (run.folder / "metrics-others.json").is_file()
        assert not (run.folder / "metrics.json").exists()

    def test_one_photo_is_enough_to_compare_with(self, gen3d, run, tmp_path):
        (tmp_path / "photos").rename(tmp_path / "one")
        meta = json.loads((tmp_path / "one" / "transforms.json").read_text())
        meta["frames"] = meta["frames"][:1]
        (tmp_path / "one" / "transforms.json").write_text(json.dumps(meta))
        code, out, _ = gen3d("eval", "run", "--backend", "reference", "--against", "one", "--json")
        assert code == 0
        assert json.loads(out)["metrics"]["views"] == 1
        assert json.loads(out)["metrics"]["psnr"] > 50

    def test_against_what_is_no_scene(self, gen3d, run):
        for name, reason in (("nowhere", "does not exist"), ("run/run.json", "is not a folder")):
            sentence = f"error: {name} {reason}; give the folder that holds the photos and their cameras\n"
            assert gen3d("eval", "run", "--against", name) == (6, "", sentence)

    def test_against_photos_in_the_format_of_the_run(self, gen3d, run):
        with Run.create("other", "photos", PhotosSettings(format="colmap"), inputs=["photos"]) as other:
            (other.exports / "model.ply").write_bytes((run.exports / "model.ply").read_bytes())
        code, _, err = gen3d("eval", "other", "--against", "photos")
        assert code == 6
        assert "sparse/0" in err

    @pytest.mark.parametrize("size", ["4", "0"])
    @pytest.mark.parametrize("against", [[], ["--against", "photos"]])
    def test_a_size_that_is_too_small_is_wrong_usage(self, gen3d, run, size, against):
        sentence = f"error: the setting max_size is {size}; it must be at least 16\n"
        assert gen3d("eval", "run", "--max-size", size, *against) == (2, "", sentence)

    def test_a_run_is_measured_as_it_was_fitted(self, gen3d, antialiased):
        plain, smooth = (json.loads(gen3d("eval", name, "--backend", "reference", "--json")[1])["metrics"] for name in ("run", "smooth"))
        assert smooth["psnr"] < plain["psnr"] - 10

    def test_a_backend_that_cannot_draw_on_the_device_is_wrong_usage(self, gen3d, run, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(gsplat_backend, "unavailable", lambda: None)
        code, _, err = gen3d("eval", "run", "--backend", "gsplat", "--device", "cpu")
        assert code == 2
        assert "choose --device cuda or --backend auto" in err

    def test_the_runs_own_frame_is_applied(self, gen3d, run):
        half_turn = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0]))
        run.record(world_from_source=half_turn.tolist())
        _, out, _ = gen3d("eval", "run", "--backend", "reference", "--json")
        assert json.loads(out)["metrics"]["psnr"] < 40

    def test_nothing_held_out(self, gen3d, run, tmp_path):
        with Run.create("all", "photos", PhotosSettings(holdout=0), inputs=["photos"]) as other:
            (other.exports / "model.ply").write_bytes((run.exports / "model.ply").read_bytes())
        code, _, err = gen3d("eval", "all")
        assert code == 2
        assert "give other photos with --against DIR" in err
