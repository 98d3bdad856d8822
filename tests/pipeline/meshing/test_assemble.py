"""Splats to meshes, whole: what comes out, what is told, and what happens without optional packages or with bad input."""

from dataclasses import replace

import pytest
import torch

from gen3d.errors import BadInput, MissingDependency, UsageError
from gen3d.pipeline.formats.mesh_files import write_mesh
from gen3d.pipeline.formats.meshes import read_mesh
from gen3d.pipeline.meshing import assemble, methods
from gen3d.pipeline.meshing.assemble import mesh_splats
from gen3d.pipeline.meshing.check import render_back
from gen3d.pipeline.meshing.job import Origin
from gen3d.pipeline.meshing.settings import METHODS, MeshSettings
from gen3d.renderers.cameras import orbit
from gen3d.renderers.rendering import RasterSettings

SMALL = MeshSettings(views=16, resolution=64, faces=2_000, texture=128)


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    monkeypatch.setattr("gen3d.pipeline.meshing.job.SIZE", 128)


def needs(*packages):
    for package in packages:
        pytest.importorskip(package, reason=f"{package} is not installed")


def without(monkeypatch, *absent):
    """Make packages look as if they were not installed."""
    for module in (assemble, methods):
        monkeypatch.setattr(module, "available", lambda name: name not in absent)


def radii(mesh):
    return (mesh.vertices - torch.tensor([3.0, 0, 0])).norm(dim=-1)


@pytest.mark.parametrize("method", ["tsdf", "poisson", "density"])
def test_a_ball_of_splats_becomes_a_textured_ball(ball, method):
    needs("open3d", "xatlas", "embreex")
    result = mesh_splats(ball, replace(SMALL, method=method))
    assert result.mesh.texture.shape == (128, 128, 3)
    assert radii(result.mesh).min() > 0.97  # the splats are 0.03 thick and overlap: their outline has a radius of about 1.06
    assert radii(result.mesh).max() < 1.13
    assert radii(result.mesh).std() < 0.03
    assert 1_000 < len(result.mesh.faces) <= 2_000
    assert result.facts["method"] == method
    assert result.facts["report"]["watertight"]
    assert result.facts["seen"] > 0.9
    assert set(result.facts["seconds"]) == set(result.facts["memory_mib"]) == {"pictures", "surface", "clean", "texture"}


def test_the_file_shows_what_the_splats_show(ball, tmp_path):
    needs("open3d", "xatlas", "embreex")
    result = mesh_splats(ball, SMALL)
    write_mesh(tmp_path / "ball.glb", result.mesh)
    good = render_back(tmp_path / "ball.glb", ball, result.held, footprint=result.footprint)
    assert good > 22
    mesh = read_mesh(tmp_path / "ball.glb")
    write_mesh(tmp_path / "wrong.glb", replace(mesh, texture=1 - mesh.texture))
    assert render_back(tmp_path / "wrong.glb", ball, result.held, footprint=result.footprint) < good - 6
    write_mesh(tmp_path / "bare.stl", result.mesh, force=True)
    assert render_back(tmp_path / "bare.stl", ball, result.held) is None


def test_no_texture_gives_vertex_colours(ball):
    needs("open3d", "embreex")
    mesh = mesh_splats(ball, replace(SMALL, texture=0)).mesh
    assert mesh.texture is None
    expected = (torch.nn.functional.normalize(mesh.vertices - torch.tensor([3.0, 0, 0]), dim=-1) + 1) / 2
    assert (mesh.colors - expected).abs().mean() < 0.03


def test_an_open_surface_is_closed_on_demand(ball):
    needs("open3d", "embreex")
    half = ball.select(ball.means[:, 1] > -0.5)
    settings = replace(SMALL, texture=0, resolution=48)
    assert not mesh_splats(half, settings).facts["report"]["watertight"]
    closed = mesh_splats(half, replace(settings, watertight=True)).facts["report"]
    assert closed["watertight"]
    assert closed["volume"] > 1


def test_without_optional_packages_density_gives_vertex_colours(ball, monkeypatch):
    without(monkeypatch, "open3d", "xatlas", "embreex")
    result = mesh_splats(ball, SMALL)
    assert result.facts["method"] == "density"
    assert result.mesh.texture is None
    assert result.mesh.colors is not None
    assert result.facts["report"]["watertight"]
    told = [note.split(" ")[1] for note in result.facts["notes"]]
    assert told == ["open3d", "Open3D", "embreex"]


def test_auto_needs_the_ray_caster_too(ball, monkeypatch):
    without(monkeypatch, "embreex")
    assert mesh_splats(ball, replace(SMALL, faces=0)).facts["method"] == "density"


def faded(mesh):
    """The mesh, smaller than the thing that it is of."""
    return replace(mesh, vertices=0.9 * (mesh.vertices - torch.tensor([3.0, 0, 0])) + torch.tensor([3.0, 0, 0]))


@pytest.mark.parametrize(("worse", "better"), [("tsdf", "poisson"), ("poisson", "tsdf")])
def test_auto_takes_the_surface_that_fills_the_outlines(ball, monkeypatch, worse, better):
    needs("open3d", "embreex")
    right = methods.METHODS[worse]
    monkeypatch.setitem(methods.METHODS, worse, lambda job: faded(right(job)))
    facts = mesh_splats(ball, replace(SMALL, texture=0)).facts
    assert facts["method"] == better
    assert facts["outline_error"][worse] > 2 * facts["outline_error"][better]


def test_auto_does_with_one_method_where_the_other_finds_nothing(ball, monkeypatch):
    needs("open3d", "embreex")

    def nothing(job):
        raise BadInput("there is no surface")

    monkeypatch.setitem(methods.METHODS, "poisson", nothing)
    assert mesh_splats(ball, replace(SMALL, texture=0)).facts["method"] == "tsdf"
    monkeypatch.setitem(methods.METHODS, "tsdf", nothing)
    with pytest.raises(BadInput, match="there is no surface"):
        mesh_splats(ball, replace(SMALL, texture=0))


def test_every_method_can_be_named():
    assert set(METHODS) == {"auto", "none", *methods.METHODS}


def test_a_method_that_was_asked_for_is_not_replaced(ball, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "open3d", None)
    with pytest.raises(MissingDependency, match="open3d"):
        mesh_splats(ball, replace(SMALL, method="poisson"))


def scene_origin(count=12):
    angles = torch.arange(count) * (360 / count)
    cameras = orbit(angles, torch.full((count,), 10.0), radius=4.0, fov=45, width=96, height=96, target=(3.0, 0.0, 0.0))
    return Origin(cameras, cut_out=False, raster=RasterSettings())


def test_a_scene_is_cropped_to_its_subject_and_open_where_no_photo_looked(ball):
    needs("open3d", "embreex")
    far = replace(ball, means=ball.means * 6)
    both = type(ball)(
        *(torch.cat([getattr(part, name) for part in (ball, far)]) for name in ("means", "scales", "quats", "opacities", "sh"))
    )
    result = mesh_splats(both, replace(SMALL, texture=0), scene_origin())
    assert result.facts["crop"] is not None
    assert "forward" not in result.facts
    assert radii(result.mesh).max() < 2.5
    assert (result.facts["views"], result.held.shape[0]) == (11, 1)


def test_density_keeps_to_the_crop(ball):
    """Without it the shell around the subject would come out as one solid ball."""
    needs("embreex")
    shell = replace(ball, means=(ball.means - torch.tensor([3.0, 0, 0])) * 6 + torch.tensor([3.0, 0, 0]))
    both = type(ball)(
        *(torch.cat([getattr(part, name) for part in (ball, shell)]) for name in ("means", "scales", "quats", "opacities", "sh"))
    )
    result = mesh_splats(both, replace(SMALL, texture=0, method="density"), scene_origin())
    assert radii(result.mesh).max() < 2.5


def test_splats_that_show_nothing_are_refused(ball):
    with pytest.raises(BadInput, match="0 of 4,000 splats are opaque enough"):
        mesh_splats(replace(ball, opacities=torch.zeros(4_000)), SMALL)
    with pytest.raises(BadInput, match="0 of 0 splats"):
        mesh_splats(ball.select(torch.arange(0)), SMALL)
    with pytest.raises(BadInput, match=r"2 of 2 splats .* at least 4"):
        mesh_splats(ball.select(torch.arange(2)), SMALL)
    with pytest.raises(BadInput, match="too faint"):
        mesh_splats(replace(ball, opacities=torch.full((4_000,), 0.01)), SMALL)


def test_numbers_that_are_not_finite_are_refused(ball):
    means = ball.means.clone()
    means[7, 1] = float("nan")
    with pytest.raises(BadInput, match="1 of 4,000 splats have numbers that are not finite"):
        mesh_splats(replace(ball, means=means), SMALL)


def test_splats_at_one_place_are_refused(ball):
    with pytest.raises(BadInput, match="radius 0"):
        mesh_splats(replace(ball, means=torch.ones(4_000, 3)), SMALL)


@pytest.mark.parametrize(("field", "value"), [("method", "magic"), ("faces", 3), ("faces", -1), ("views", 1), ("texture", 99_999)])
def test_settings_are_checked(field, value):
    with pytest.raises(UsageError, match=str(value)):
        MeshSettings(**{field: value})
