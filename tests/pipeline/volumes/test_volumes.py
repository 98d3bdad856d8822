"""Volumes of objects: from depth maps to splats at nodes, closer to the pictures, into 8 bits and back."""

import itertools
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.optimize import linear_sum_assignment

from gen3d.errors import BadInput, Interrupted, UsageError
from gen3d.pipeline.fitting.machine import Machine
from gen3d.pipeline.fitting.object_views import photos_of
from gen3d.pipeline.progress import Silent
from gen3d.pipeline.volumes.fit_set import Portion, fit_object, fit_volumes, quality
from gen3d.pipeline.volumes.fitters import FITTERS, seen, without_unseen
from gen3d.pipeline.volumes.packing import pack, unpack
from gen3d.pipeline.volumes.pool_fit import pool_settings, pool_volume
from gen3d.pipeline.volumes.refine import refined
from gen3d.pipeline.volumes.settings import VolumeSettings
from gen3d.pipeline.volumes.surface import FILLED, SurfacePoints, framed, surface_points, surface_volume
from gen3d.pipeline.volumes.transport import organised, plan
from gen3d.pipeline.volumes.volume_set import VolumeSet
from gen3d.priors.volume.volume import COLOR, OFFSET, OPACITY, REACH, SCALE, GaussianVolume, nodes, visible
from gen3d.renderers.harmonics import sh0_to_rgb
from gen3d.renderers.rendering import rasterize

SETTINGS = VolumeSettings(steps=60)


@pytest.fixture(scope="module")
def start(ball):
    views, points, _, _ = framed(ball, surface_points(ball))
    return views, surface_volume(points, 16)


def test_pixels_are_points_of_the_surface(ball):
    points = surface_points(ball)
    away = (points.places - torch.tensor((0.05, 0.1, 0.0))).norm(dim=-1)
    assert len(away) > 5000
    assert torch.allclose(away, torch.full_like(away, 0.3), atol=1e-4)
    expected = 0.5 + 0.4 * (points.places - torch.tensor((0.05, 0.1, 0.0))) / 0.3
    assert torch.allclose(points.colors, expected, atol=1e-3)
    with pytest.raises(UsageError, match="the set holds no depth"):
        surface_points(replace(ball, depth=None))
    with pytest.raises(BadInput, match="the object covers no pixel of its pictures"):
        surface_points(replace(ball, alpha=ball.alpha * 0.5))


def test_objects_fill_the_grid(ball):
    views, points, centre, scale = framed(ball, surface_points(ball))
    low, high = points.places.amin(0), points.places.amax(0)
    assert float((high - low).amax()) == pytest.approx(FILLED, abs=1e-5)
    assert centre == pytest.approx((0.05, 0.1, 0.0), abs=0.01)
    assert scale == pytest.approx(FILLED / 0.6, rel=0.02)
    assert torch.allclose(surface_points(views).places, points.places, atol=1e-4)  # the cameras have moved along


def test_a_node_has_the_points_of_its_cell():
    places = torch.tensor([[0.0, 0.0, 0.0], [0.02, 0.0, 0.0], [0.3, 0.3, 0.3]]) + 0.5 / 15
    colors = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.2, 0.2, 0.9]])
    volume = surface_volume(SurfacePoints(places, colors), 16)
    held = (volume.values[OPACITY] > 0).nonzero()
    assert len(held) == 2
    first = volume.values[:, *held[0]]
    node = nodes(16).reshape(16, 16, 16, 3)[tuple(held[0])]
    assert torch.allclose(node + first[OFFSET], places[:2].mean(0), atol=1e-6)
    assert torch.allclose(sh0_to_rgb(first[3:6]), torch.tensor([0.5, 0.5, 0.0]), atol=1e-5)
    assert float(first[SCALE].max().exp()) == pytest.approx(0.01 * 1.7, rel=1e-2)  # the deviation of the two, widened


def test_refinement_comes_closer_and_stays_in_reach(start):
    views, volume = start
    made = refined(volume, views, SETTINGS)
    assert quality(volume, views) > 20
    assert quality(made, views) > quality(volume, views) + 3
    assert float(made.values[OFFSET].abs().max()) <= REACH / 15 + 1e-6
    assert torch.equal(made.values[:, volume.values[OPACITY] < 0], volume.values[:, volume.values[OPACITY] < 0])
    assert torch.equal(refined(volume, views, SETTINGS).values, made.values)
    assert torch.equal(refined(volume, views, replace(SETTINGS, steps=0)).values, volume.values)


def test_eight_bits_are_enough(start):
    views, volume = start
    made = refined(volume, views, SETTINGS)
    held, packed = pack(made)
    again = unpack(held, packed, 16)
    assert packed.dtype == torch.uint8
    assert len(held) == int((made.values[OPACITY] > -5).sum())
    assert quality(GaussianVolume.of_generated(again), views) > quality(made, views) - 0.3
    assert torch.equal(pack(GaussianVolume.of_generated(again))[0], held)


@pytest.fixture(scope="module")
def fitted(rendered, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted")
    return folder, fit_volumes(rendered, folder, SETTINGS, Silent(), workers=1)


def test_a_set_becomes_volumes(fitted):
    folder, report = fitted
    assert [record.id for record in report.records] == ["box0", "box1", "box2"]
    assert min(record.psnr for record in report.records) > 25
    volumes = VolumeSet(folder)
    assert (len(volumes), len(volumes.select("train")), volumes.select("test").records[0].id) == (3, 2, "box2")
    assert volumes.read(0).shape == (13, 16, 16, 16)
    assert torch.equal(volumes.select("test").read(0), volumes.read(2))
    assert not torch.equal(volumes.read(0), volumes.read(1))
    assert report.records[0].colors
    with pytest.raises(BadInput, match="holds no objects of the split other"):
        volumes.select("other")


def test_what_is_done_is_not_done_again(fitted, rendered, monkeypatch):
    folder, first = fitted
    with monkeypatch.context() as patch:
        patch.setattr("gen3d.pipeline.volumes.fit_set.fit_object", lambda *_: pytest.fail("it is done again"))
        again = fit_volumes(rendered, folder, SETTINGS, Silent(), workers=1)
    assert (again.reused, again.records) == (3, first.records)
    with pytest.raises(UsageError, match="holds volumes of another set or of other settings"):
        fit_volumes(rendered, folder, replace(SETTINGS, steps=61), Silent(), workers=1)


class Impatient(Silent):
    """Presses Ctrl-C when the first file is done."""

    def advance(self, step, **figures):
        if step:
            raise KeyboardInterrupt


def test_several_files_on_several_processes_go_on_where_they_stopped(fitted, rendered, tmp_path, monkeypatch):
    alone = [Portion(f"{number}.safetensors", (number,)) for number in range(3)]
    monkeypatch.setattr("gen3d.pipeline.volumes.fit_set.portions", lambda objects: alone)
    with pytest.raises(Interrupted, match="interrupted with 1 of 3 objects done; the same command goes on"):
        fit_volumes(rendered, tmp_path, SETTINGS, Impatient(), workers=2)
    report = fit_volumes(rendered, tmp_path, SETTINGS, Silent(), workers=2)
    assert (report.reused, len(report.records), report.failures) == (1, 3, ())
    assert len(list(tmp_path.glob("*.safetensors"))) == 3
    volumes, whole = VolumeSet(tmp_path), VolumeSet(fitted[0])
    assert [record.id for record in volumes.records] == [record.id for record in whole.records]
    assert all(torch.equal(volumes.read(number), whole.read(number)) for number in range(3))


def test_ctrl_c_within_a_fit_ends_the_job(rendered, tmp_path, monkeypatch):
    def fit(objects, number, *rest):
        if number == 1:
            raise Interrupted("interrupted at step 7")
        return fit_object(objects, number, *rest)

    alone = [Portion(f"{number}.safetensors", (number,)) for number in range(3)]
    monkeypatch.setattr("gen3d.pipeline.volumes.fit_set.portions", lambda objects: alone)
    with monkeypatch.context() as patch:
        patch.setattr("gen3d.pipeline.volumes.fit_set.fit_object", fit)
        with pytest.raises(Interrupted, match="interrupted with 1 of 3 objects done; the same command goes on"):
            fit_volumes(rendered, tmp_path, replace(SETTINGS, steps=1), Silent(), workers=1)
    report = fit_volumes(rendered, tmp_path, replace(SETTINGS, steps=1), Silent(), workers=1)
    assert (report.reused, len(report.records)) == (1, 3)


def test_fits_from_nothing_want_some_steps():
    with pytest.raises(UsageError, match="steps is 10 and pool begins with nothing; take at least 50"):
        VolumeSettings(fit="pool", steps=10)
    with pytest.raises(UsageError, match="the setting fit is 'tree'"):
        VolumeSettings(fit="tree")


def test_one_bad_object_does_not_end_a_job(rendered, tmp_path, monkeypatch):
    def fit(objects, number, *rest):
        if number == 1:
            raise BadInput("the object covers no pixel")
        return fit_object(objects, number, *rest)

    monkeypatch.setattr("gen3d.pipeline.volumes.fit_set.fit_object", fit)
    report = fit_volumes(rendered, tmp_path, replace(SETTINGS, steps=1), Silent(), workers=1)
    assert [record.id for record in report.records] == ["box0", "box2"]
    assert (report.planned, report.failures) == (3, (("box1", "the object covers no pixel"),))
    assert VolumeSet(tmp_path).read(1).shape == (13, 16, 16, 16)
    monkeypatch.setattr("gen3d.pipeline.volumes.fit_set.fit_object", lambda *_: fit(None, 1))
    with pytest.raises(BadInput, match=r"none of the 3 objects of .* could be fitted; the first, box0: the object covers no pixel"):
        fit_volumes(rendered, tmp_path / "other", SETTINGS, Silent(), workers=1)


def test_damaged_volumes_are_told(fitted, rendered, tmp_path):
    folder = tmp_path / "copy"
    fit_volumes(rendered, folder, replace(SETTINGS, steps=1), Silent(), workers=1)
    (file,) = folder.glob("*.safetensors")
    file.write_bytes(b"nothing")
    with pytest.raises(BadInput, match="cannot be read"):
        VolumeSet(folder).read(0)
    assert fit_volumes(rendered, folder, replace(SETTINGS, steps=1), Silent(), workers=1).reused == 0  # it is made anew
    assert VolumeSet(folder).read(0).shape == (13, 16, 16, 16)
    tensors = load_file(file)
    save_file({**tensors, "values": tensors["values"][:5]}, file)
    with pytest.raises(BadInput, match="is damaged"):
        VolumeSet(folder).read(2)
    content = json.loads((folder / "volumes.json").read_text())
    content["objects"][0]["file"] = "../else"
    (folder / "volumes.json").write_text(json.dumps(content))
    with pytest.raises(BadInput, match="does not lie in the folder"):
        VolumeSet(folder)
    with pytest.raises(BadInput, match="holds no volumes"):
        VolumeSet(tmp_path)


def test_a_volume_is_fitted_from_nothing(ball):
    views, _, _, _ = framed(ball, surface_points(ball))
    settings = pool_settings(8, 400)
    made = pool_volume(photos_of(views), settings, Machine("cpu", 1, "auto"))
    assert quality(made, views) > 24
    fixed = pool_volume(photos_of(views), pool_settings(8, 400, pool=False, offsets=False), Machine("cpu", 1, "auto"))
    assert float(fixed.values[OFFSET].abs().max()) == 0
    assert float(made.values[OFFSET].abs().max()) > 0.01
    assert quality(made, views) > quality(fixed, views)  # as in the paper's ablation


def test_plans_are_the_best_there_are_in_a_block():
    generator = torch.Generator().manual_seed(0)
    points, places = torch.rand(6, 3, generator=generator), torch.rand(8, 3, generator=generator)
    homes = plan(points, places)
    best = min(
        sum(float((points[i] - places[j]).square().sum()) for i, j in enumerate(chosen)) for chosen in itertools.permutations(range(8), 6)
    )
    assert sum(float((points[i] - places[j]).square().sum()) for i, j in enumerate(homes.tolist())) == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize("count", [50, 1200, 1728])
def test_plans_of_many_blocks_give_everybody_a_place_near_by(count):
    generator = torch.Generator().manual_seed(0)
    points, places = 0.9 * (torch.rand(count, 3, generator=generator) - 0.5), nodes(12)
    homes = plan(points, places)
    assert len(homes.unique()) == count
    assert int(homes.min()) >= 0
    moved = (points - places[homes]).norm(dim=-1).mean()
    exact = linear_sum_assignment(torch.cdist(points, places).square().numpy())[1]
    assert float(moved) < 1.25 * float((points - places[exact]).norm(dim=-1).mean())


def test_free_splats_become_a_volume_that_looks_the_same(ball):
    views, points, _, _ = framed(ball, surface_points(ball))
    start = visible(refined(surface_volume(points, 16), views, SETTINGS).gaussians())
    free = replace(start, means=start.means + 0.001)
    volume = organised(free, 16)
    white = torch.ones(3)
    drawn, again = (rasterize(each, views.cameras, background=white).rgb for each in (free, volume.gaussians()))
    assert torch.allclose(drawn, again, atol=2e-3)
    assert int((volume.values[OPACITY] > -5).sum()) == free.count
    with pytest.raises(ValueError, match="splats and 8 nodes; fit with a smaller cap"):
        organised(free, 2)


@pytest.mark.parametrize("fit", list(FITTERS))
def test_every_way_leads_to_a_volume(ball, fit):
    views, points, _, _ = framed(ball, surface_points(ball))
    volume = FITTERS[fit](views, points, VolumeSettings(fit=fit, size=12, steps=60 if fit == "surface" else 150))
    kept = GaussianVolume.of_generated(unpack(*pack(volume), 12))
    assert quality(kept, views) > 22
    assert float(kept.values[OFFSET].abs().max()) <= REACH / 11 + 1e-4
    if fit != "surface":
        assert bool(seen(volume, views)[(volume.values[OPACITY] > -5).flatten()].all())


def test_what_no_view_sees_becomes_nothing(start):
    views, volume = start
    values = volume.values.clone()
    inside = [int(each) for each in (15 * (framed_centre(volume) + 0.5)).round()]
    values[:, *inside] = torch.tensor([*(0.0,) * 6, *(-5.0,) * 3, 1.0, 0.0, 0.0, 0.0, 3.0])
    held = values[OPACITY] > -5
    opaque = values.clone()
    opaque[SCALE, held] = opaque[SCALE, held] + 0.7  # without gaps
    opaque[OPACITY, held] = 9.0
    found = without_unseen(GaussianVolume(opaque), views).values[OPACITY] > -5
    assert not found[tuple(inside)]
    black = opaque.clone()
    black[COLOR] = -3.0  # darker than black, where pictures are clamped
    assert torch.equal(without_unseen(GaussianVolume(black), views).values[OPACITY] > -5, found)
    assert int(found.sum()) > 0.8 * int(held.sum())


def framed_centre(volume):
    """The middle of what a volume shows."""
    means = visible(volume.gaussians()).means
    return (means.amax(0) + means.amin(0)) / 2
