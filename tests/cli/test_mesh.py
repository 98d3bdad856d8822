"""`gen3d mesh`, and `photos`, `render` and `info` where meshes are concerned."""

import json
import struct
import sys

import pytest
import trimesh

from gen3d.pipeline.formats.mesh_files import write_mesh
from gen3d.pipeline.formats.registry import write_gaussians
from gen3d.pipeline.run import Run

FAST = ("--views", "12", "--resolution", "48", "--faces", "500", "--texture", "64", "-q")


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    monkeypatch.setattr("gen3d.pipeline.meshing.job.SIZE", 96)


@pytest.fixture
def ball(tmp_path, monkeypatch):
    """A file of 1,500 splats on a unit sphere, coloured by their place."""
    import torch

    from gen3d.renderers.gaussians import Gaussians
    from gen3d.renderers.harmonics import rgb_to_sh0
    from gen3d.renderers.sphere import fibonacci_sphere

    monkeypatch.chdir(tmp_path)
    directions = fibonacci_sphere(1_500).float()
    splats = Gaussians(
        means=directions,
        scales=torch.full((1_500, 3), 0.05),
        quats=torch.tensor([1.0, 0, 0, 0]).expand(1_500, 4),
        opacities=torch.full((1_500,), 0.95),
        sh=rgb_to_sh0((directions + 1) / 2)[:, None],
    )
    write_gaussians(tmp_path / "ball.ply", splats, unit="metre")
    return tmp_path / "ball.ply"


def needs(*packages):
    for package in packages:
        pytest.importorskip(package, reason=f"{package} is not installed")


class TestMesh:
    def test_nothing_else_is_replaced_unasked(self, gen3d, ball):
        """Neither the picture that an OBJ brings, nor the splats, nor a folder."""
        ball.with_suffix(".png").write_bytes(b"a photo")
        assert "ball.png exists" in gen3d("mesh", ball, "--out", "ball.obj", *FAST)[2]
        assert "ball.ply are the splats themselves" in gen3d("mesh", ball, "--out", "ball.ply", "--overwrite", *FAST)[2]
        ball.with_suffix(".stl").mkdir()
        assert "ball.stl is a folder; name a file" in gen3d("mesh", ball, "--out", "ball.stl", "--overwrite", *FAST)[2]
        assert ball.with_suffix(".png").read_bytes() == b"a photo"
        assert not ball.with_suffix(".mtl").exists()

    def test_files_without_a_texture_get_none(self, gen3d, ball):
        needs("open3d", "embreex")
        code, out, _ = gen3d("mesh", ball, "--out", "ball_mesh.ply", *FAST, "--json")
        mesh = json.loads(out)["mesh"]
        assert (code, "without_texel" in mesh, mesh["notes"]) == (0, False, [])
        assert mesh["render_back_psnr"] > 18

    def test_what_was_left_out_is_told(self, gen3d, ball):
        needs("open3d", "xatlas", "embreex")
        data = bytearray(ball.read_bytes())
        data[-4:] = struct.pack("<f", float("nan"))
        ball.write_bytes(data)
        assert "1 splats with numbers that are not finite were left out" in gen3d("mesh", ball, *FAST)[1]

    def test_a_splat_file_becomes_a_glb_beside_it(self, gen3d, ball):
        needs("open3d", "xatlas", "embreex")
        code, out, err = gen3d("mesh", ball, *FAST)
        assert (code, err) == (0, "")
        assert "ball.glb: 500 faces, watertight, 1 parts, Euler number 2" in out
        assert "dB against the splats" in out
        assert [line.split()[0] for line in out.splitlines()[1:5]] == ["pictures", "surface", "clean", "texture"]
        assert gen3d("mesh", ball, *FAST)[0] == 2  # nothing is replaced unasked
        seen = trimesh.load(ball.with_suffix(".glb")).to_geometry()
        assert abs(seen.bounds).max() < 1.2

    def test_json_holds_the_report_and_what_each_step_took(self, gen3d, ball):
        needs("open3d", "xatlas", "embreex")
        code, out, _ = gen3d("mesh", ball, "--out", "x/ball.obj", "--axes", "zup", "--watertight", *FAST, "--json")
        mesh = json.loads(out)["mesh"]
        assert code == 0
        assert mesh["report"]["watertight"]
        assert mesh["axes"] == "zup"
        assert mesh["render_back_psnr"] > 20
        assert set(mesh["seconds"]) == set(mesh["memory_mib"])
        assert {"voxel", "truncation", "views", "forward", "method"} <= set(mesh)

    def test_without_optional_packages_a_coarser_mesh_is_written(self, gen3d, ball, monkeypatch):
        for module in ("assemble", "methods"):
            monkeypatch.setattr(f"gen3d.pipeline.meshing.{module}.available", lambda name: False)
        for name in ("open3d", "xatlas", "embreex", "embreex.rtcore_scene"):
            monkeypatch.setitem(sys.modules, name, None)
        code, out, _ = gen3d("mesh", ball, *FAST, "--json")
        mesh = json.loads(out)["mesh"]
        assert (code, mesh["method"], mesh["render_back_psnr"]) == (0, "density", None)
        assert mesh["report"]["watertight"]
        assert "the mesh was not compared with the splats" in mesh["notes"][-1]
        assert ball.with_suffix(".glb").stat().st_size > 10_000

    def test_an_open_surface_is_no_stl_unless_forced(self, gen3d, ball, monkeypatch):
        needs("open3d", "embreex")
        from gen3d.pipeline.formats.registry import read_gaussians

        gaussians, _ = read_gaussians(ball)
        write_gaussians("half.ply", gaussians.select(gaussians.means[:, 1] > 0))
        code, _, err = gen3d("mesh", "half.ply", "--out", "half.stl", *FAST)
        assert code == 2
        assert "--watertight closes it, --force writes it" in err
        assert gen3d("mesh", "half.ply", "--out", "half.stl", "--force", *FAST)[0] == 0

    @pytest.mark.parametrize(
        ("flags", "code", "words"),
        [
            (["--out", "a.fbx"], 2, "a.fbx does not end in .glb or .obj or .ply or .stl"),
            (["--out", "a.glb", "--axes", "zup"], 2, "glTF is +Y up by its standard"),
            (["--method", "none"], 2, "--method none makes no mesh"),
            (["--method", "magic"], 2, "the setting method is 'magic'; choose one of auto, tsdf"),
            (["--faces", "2"], 2, "faces is 2"),
        ],
    )
    def test_what_cannot_be_is_said_at_once(self, gen3d, ball, flags, code, words):
        got, _, err = gen3d("mesh", ball, *flags)
        assert got == code
        assert words in err

    def test_splats_without_a_surface_end_in_a_sentence_and_leave_no_file(self, gen3d, ball):
        from gen3d.pipeline.formats.registry import read_gaussians

        gaussians, _ = read_gaussians(ball)
        import torch

        write_gaussians("two.ply", gaussians.select(torch.arange(2)))
        code, _, err = gen3d("mesh", "two.ply", *FAST)
        assert code == 6
        assert "2 of 2 splats are opaque enough to be seen and a surface needs at least 4" in err
        assert not ball.with_name("two.glb").exists()

    def test_a_truncated_file_ends_in_a_sentence(self, gen3d, ball):
        ball.with_name("cut.splat").write_bytes(b"\0" * 33)
        assert gen3d("mesh", "cut.splat")[0] == 6


def test_photos_make_a_mesh_and_it_is_in_the_report(gen3d, photo_folder, tmp_path):
    needs("open3d", "xatlas", "embreex")
    small = ("--mesh.views", "12", "--mesh.resolution", "48", "--mesh.faces", "500", "--mesh.texture", "64")
    fast = ("--holdout", "4", "--fitting.initial-splats", "400", "--fitting.steps", "150", "-q")
    code, out, _ = gen3d("photos", photo_folder, "--out", tmp_path / "run", *fast, *small)
    assert code == 0
    assert "mesh: " in out
    manifest = Run.open(tmp_path / "run").manifest
    assert manifest.mesh["file"] == "mesh.glb"
    assert manifest.mesh["report"]["faces"] > 50
    assert "mesh" in manifest.stages
    size = (tmp_path / "run" / "exports" / "mesh.glb").stat().st_size
    assert "truncation" in manifest.mesh
    code, _, _ = gen3d("mesh", tmp_path / "run", *FAST, "--faces", "100", "--overwrite")
    assert code == 0
    assert Run.open(tmp_path / "run").manifest.mesh["report"]["faces"] <= 100
    code, _, _ = gen3d("mesh", tmp_path / "run", *FAST, "--method", "density", "--overwrite")
    assert code == 0
    again = Run.open(tmp_path / "run").manifest.mesh
    assert again["method"] == "density"
    assert "truncation" not in again
    assert (tmp_path / "run" / "exports" / "mesh.glb").stat().st_size != size


class TestMeshFiles:
    @pytest.fixture
    def box(self, tmp_path, monkeypatch):
        import torch

        from gen3d.renderers.mesh import Mesh

        monkeypatch.chdir(tmp_path)
        solid = trimesh.creation.box((1, 2, 3))
        red = torch.tensor([1.0, 0, 0]).expand(8, 3)
        write_mesh(tmp_path / "box.glb", Mesh(torch.tensor(solid.vertices).float(), torch.tensor(solid.faces).long(), colors=red))
        write_mesh(tmp_path / "box.ply", Mesh(torch.tensor(solid.vertices).float(), torch.tensor(solid.faces).long(), colors=red))
        return tmp_path / "box.glb"

    @pytest.mark.parametrize("suffix", [".glb", ".ply"])
    def test_info_describes_a_mesh(self, gen3d, box, suffix):
        code, out, _ = gen3d("info", box.with_suffix(suffix), "--json")
        facts = json.loads(out)
        assert code == 0
        assert (facts["faces"], facts["watertight"], facts["euler"], facts["colours"]) == (12, True, 2, "vertex colours")
        assert facts["volume"] == pytest.approx(6)
        assert facts["upper_corner"] == [0.5, 1.0, 1.5]

    def test_render_draws_a_mesh_as_it_draws_splats(self, gen3d, box):
        needs("embreex")
        from gen3d.pipeline.formats.images import read_image

        flags = ("--size", "32", "--views", "4", "--stills", "2", "--depth", "-q")
        code, out, _ = gen3d("render", box, "--out", "drawn", *flags)
        assert code == 0
        assert len(out.splitlines()) == 8
        still, _ = read_image(box.parent / "drawn" / "still_00.png")
        assert still[16, 16].tolist() == [255, 0, 0]
        assert (box.parent / "drawn" / "turntable_depth.mp4").stat().st_size > 0
