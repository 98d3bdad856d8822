"""A picture becomes splats, by a tiny network that has learned nothing."""

import json
import math
from dataclasses import replace

import pytest
import torch
from scenes import save_pipeline

from gen3d.errors import BadInput, MissingWeights, UsageError
from gen3d.pipeline.formats.images import read_image, write_image
from gen3d.pipeline.meshing.settings import MeshSettings
from gen3d.pipeline.objects.views import object_cameras
from gen3d.pipeline.progress import Silent
from gen3d.pipeline.run import Run
from gen3d.pipeline.stages.generate import farthest
from gen3d.pipeline.stages.image import image_to_3d, resume_image
from gen3d.pipeline.stages.place import normalised
from gen3d.pipeline.stages.refine import refined, sides
from gen3d.pipeline.stages.settings import ImageSettings, TextSettings
from gen3d.pipeline.stages.text import text_to_3d
from gen3d.pipeline.stages.widening import as_drawn
from gen3d.priors.multiview.network import MultiviewNetwork
from gen3d.priors.multiview.pretrained import from_pretrained
from gen3d.priors.multiview.settings import MultiviewSettings
from gen3d.priors.multiview.shipped import shipped_model
from gen3d.priors.multiview.views import draw
from gen3d.priors.multiview.weights import load_network, save_network
from gen3d.priors.volume.network import VolumeNetwork
from gen3d.priors.volume.settings import VolumeNetworkSettings
from gen3d.priors.volume.weights import save_network as save_volume_network
from gen3d.renderers.gaussians import Gaussians

NONE = MeshSettings(method="none")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    network = MultiviewNetwork(MultiviewSettings(size=16, channels=(16, 32), groups=8, heads=2, layers=2, text=8))
    torch.nn.init.normal_(network.unet.conv_out.weight, std=0.2)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_network(network, path)
    return str(path)


@pytest.fixture
def picture(tmp_path):
    """A red ball on a transparent ground."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 60), torch.linspace(-1, 1, 80), indexing="ij")
    ball = (x**2 + y**2 < 0.3).float()[..., None]
    write_image(tmp_path / "ball.png", torch.cat([0.8 * ball, 0.1 * ball, 0.1 * ball, ball], -1))
    return tmp_path / "ball.png"


def made(picture, settings, out, **more):
    with Run.create(out, "image", settings, inputs=[picture]) as run:
        asset = image_to_3d(picture, settings, run, **more)
    return asset, run


def test_a_picture_becomes_splats_and_previews(picture, weights, tmp_path):
    asset, run = made(picture, ImageSettings(refine=0, weights=weights, steps=2, mesh=NONE), tmp_path / "run")
    assert asset.gaussians.count == 4 * 64 * 2
    assert {path.name for path in run.previews.iterdir()} == {"mask.png", "contact_sheet.png", "turntable.mp4"}
    assert (run.exports / "model.ply").stat().st_size > 1000
    assert run.manifest.status == "done"
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert metrics["splats"] == 512
    assert 3 < metrics["input_psnr"] < 40


def test_seeds_are_reproducible_and_differ(picture, weights, tmp_path):
    def means(seed, name):
        return made(picture, ImageSettings(refine=0, weights=weights, steps=2, seed=seed, mesh=NONE), tmp_path / name)[0].gaussians.means

    assert torch.equal(means(1, "a"), means(1, "b"))
    assert not torch.equal(means(1, "c"), means(2, "d"))


def test_the_best_of_some_samples_comes_first(picture, weights, tmp_path, monkeypatch):
    settings = ImageSettings(refine=0, weights=weights, steps=2, mesh=NONE)
    alone, likeness = [], []
    for seed in range(3):
        asset, run = made(picture, replace(settings, seed=seed), tmp_path / str(seed))
        alone.append(asset.gaussians.means)
        likeness.append(json.loads((run.folder / "metrics.json").read_text())["input_psnr"])
    unlike = [sum(other > mine for other in likeness) for mine in likeness]  # places by the picture
    for first in range(3):
        doubts = [2.0 if number == first else 10.0 + place for number, place in enumerate(unlike)]
        asked = iter(doubts)
        monkeypatch.setattr("gen3d.pipeline.stages.generate.renoise_score", lambda *_, asked=asked, **__: torch.tensor([next(asked)]))
        several, run = made(picture, replace(settings, seeds=3), tmp_path / f"run-{first}")
        doubted = [sum(other < mine for other in doubts) for mine in doubts]
        best = min(range(3), key=lambda number, doubted=doubted: (doubted[number] + unlike[number], number))
        assert torch.allclose(several.gaussians.means, alone[best], atol=1e-5)
        assert read_image(run.previews / "contact_sheet.png")[0].shape[:2] == (3 * 256, 6 * 256)


def test_one_step_has_no_chance(picture, weights, tmp_path):
    settings = ImageSettings(refine=0, weights=weights, mode="one-step", seeds=4, mesh=NONE)
    first, run = made(picture, settings, tmp_path / "a")
    assert first.gaussians.count == 64 * 2
    assert run.manifest.notes == ("4 samples were asked for and one was made: one step has one result; --mode sampled has many",)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"azimuth": (float("nan"),)}, "the setting azimuth is .*; it must be numbers"),
        ({"azimuth": "0, 90"}, "the setting azimuth is '0, 90'; it must be numbers"),
        ({"field": "f.safetensors"}, "the route views has no use for field; leave it out, or choose the other --route"),
        ({"route": "volumes", "field": "f", "attributes": "a", "weights": "w"}, "the route volumes has no use for weights"),
    ],
)
def test_settings_that_make_no_sense_are_told(change, words):
    with pytest.raises(UsageError, match=words):
        ImageSettings(**change)
    assert ImageSettings(azimuth=90).azimuth == (90.0,)


def test_a_mask_may_be_given(picture, weights, tmp_path):
    square = torch.zeros(60, 80, 3)
    square[20:40, 30:50] = 1
    write_image(tmp_path / "mask.png", square)
    settings = ImageSettings(refine=0, weights=weights, mode="one-step", mesh=NONE)
    with_mask, _ = made(picture, settings, tmp_path / "a", mask=tmp_path / "mask.png")
    without, _ = made(picture, settings, tmp_path / "b")
    assert not torch.equal(with_mask.gaussians.means, without.gaussians.means)


def test_several_pictures_are_given_views(picture, weights, tmp_path):
    write_image(tmp_path / "other.png", torch.rand(60, 80, 3, generator=torch.Generator().manual_seed(0)))
    square = torch.zeros(60, 80, 3)
    square[15:50, 20:60] = 1
    write_image(tmp_path / "mask.png", square)
    write_image(tmp_path / "mask-2.png", square)
    both, masks = [picture, tmp_path / "other.png"], [tmp_path / "mask.png", tmp_path / "mask-2.png"]

    def make(azimuth, name, **changes):
        settings = ImageSettings(refine=0, weights=weights, steps=2, azimuth=azimuth, mesh=NONE, **changes)
        with Run.create(tmp_path / name, "image", settings, inputs=both) as run:
            return image_to_3d(both, settings, run, mask=masks), run

    first, run = make((0.0, 90.0), "a")
    assert {"mask.png", "mask-2.png"} < {path.name for path in run.previews.iterdir()}
    assert first.gaussians.count == 4 * 64 * 2
    assert make((0.0, 90.0), "b", mode="one-step")[0].gaussians.count == 2 * 64 * 2
    assert not torch.equal(make((0.0, 180.0), "c")[0].gaussians.means, first.gaussians.means)
    with pytest.raises(UsageError, match="there are 2 pictures and the azimuths 0; give one for each"):
        make((0.0,), "d")
    with pytest.raises(UsageError, match=r"azimuth is \[0, 360\]; give one for each picture, all different"):
        make((0.0, 360.0), "e")
    masks[1] = masks[0]
    with pytest.raises(UsageError, match=r"mask.png is given twice; every picture and every mask is a file of its own"):
        make((0.0, 90.0), "f")


def test_pictures_of_different_things_are_told(picture, weights, tmp_path):
    flat = torch.zeros(40, 1000, 4)
    flat[19:22, 10:990] = 1
    write_image(tmp_path / "flat.png", flat)
    settings = ImageSettings(refine=0, weights=weights, azimuth=(0.0, 90.0), mesh=NONE)
    with pytest.raises(BadInput, match=r"the object is \d+ times flatter in one picture than in another"):
        image_to_3d([picture, tmp_path / "flat.png"], settings, Run.create(tmp_path / "run", "image", settings, inputs=[picture]))


def test_volumes_are_another_route(picture, weights, tmp_path):
    width = load_network(weights).settings.channels[-1]
    shape = VolumeNetworkSettings(size=8, channels=(16, 32), head=8, groups=8, text=width, encoder=weights)
    torch.manual_seed(0)
    files = {}
    for name, outputs, kind in (("field", 1, "v"), ("attributes", 13, "none")):
        net = VolumeNetwork(shape, 1, outputs, kind)
        if name == "attributes":
            net.mean.copy_(torch.tensor([*(0.0,) * 6, *(-3.0,) * 3, *(0.0,) * 3, -2.0]))
        for parameter in net.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.2)
        files[name] = str(tmp_path / f"{name}.safetensors")
        save_volume_network(net, files[name], bits=16)
    settings = ImageSettings(refine=0, route="volumes", steps=2, seeds=2, mesh=NONE, **files)
    asset, run = made(picture, settings, tmp_path / "run")
    assert 0 < asset.gaussians.count <= 512
    assert (run.previews / "contact_sheet.png").is_file()
    found = {}
    for steps in (1, 60):
        _, run = made(picture, replace(settings, seeds=1, refine=steps), tmp_path / f"refined-{steps}")
        found[steps] = json.loads((run.folder / "metrics.json").read_text())["refined_psnr"]
    assert found[60] > found[1] + 1
    with pytest.raises(UsageError, match="takes one picture, and networks that read pictures"):
        ImageSettings(route="volumes")
    with pytest.raises(UsageError, match="these networks read pictures, not words"):
        text_to_3d("a chair", TextSettings(**files))


def test_networks_of_latents_bring_their_autoencoder(picture, tmp_path):
    source = save_pipeline(tmp_path / "sd")
    model = from_pretrained(source, MultiviewSettings(size=32, layers=2))
    torch.nn.init.normal_(model.network.unet.conv_out.weight, std=0.2)
    save_network(model.network, tmp_path / "latent.safetensors", bits=16)
    settings = ImageSettings(refine=0, weights=str(tmp_path / "latent.safetensors"), steps=2, seeds=2, mesh=NONE)
    asset, _ = made(picture, settings, tmp_path / "run")
    assert asset.gaussians.count == 4 * 16 * 2
    model.network.settings = replace(model.network.settings, source="")
    save_network(model.network, tmp_path / "lost.safetensors", bits=16)
    with pytest.raises(BadInput, match="does not say of which autoencoder"):
        shipped_model(str(tmp_path / "lost.safetensors"))


def test_a_picture_of_the_side_makes_a_turned_object(picture, weights, tmp_path):
    settings = [ImageSettings(refine=0, weights=weights, mode="one-step", azimuth=(angle,), mesh=NONE) for angle in (0.0, 90.0)]
    front, side = (made(picture, each, tmp_path / str(each.azimuth[0]))[0].gaussians.means for each in settings)
    # What looked to +Z looks to +X, where a camera at azimuth 90 stands.
    expected = torch.stack([front[:, 2], front[:, 1], -front[:, 0]], -1)
    assert torch.allclose(expected, side, atol=2e-2)


def test_refinement_comes_closer_to_the_picture(picture, weights, tmp_path):
    found = {}
    for steps in (1, 40):
        settings = ImageSettings(weights=weights, mode="one-step", refine=steps, mesh=NONE)
        _, run = made(picture, settings, tmp_path / str(steps))
        metrics = json.loads((run.folder / "metrics.json").read_text())
        assert metrics.keys() == {"input_psnr", "splats", "refined_psnr"}
        found[steps] = metrics["refined_psnr"]
    assert found[40] > found[1] + 2


def test_guidance_changes_samples(picture, weights, tmp_path):
    settings = ImageSettings(refine=0, weights=weights, steps=2, mesh=NONE)
    means = [made(picture, replace(settings, guidance=scale), tmp_path / str(scale))[0].gaussians.means for scale in (1.0, 3.0)]
    assert not torch.equal(*means)


@pytest.mark.parametrize(("taken", "count", "expected"), [([0], 3, [90, 180, 270]), ([0, 90], 2, [180, 270]), ([0, 180, 90], 1, [270])])
def test_views_that_are_sampled_stand_far_from_the_pictures(taken, count, expected):
    assert farthest(taken, count) == expected


def test_a_run_that_was_cut_off_is_done_again(picture, weights, tmp_path, monkeypatch):
    settings = ImageSettings(refine=0, weights=weights, steps=2, mesh=NONE)
    with monkeypatch.context() as patch:
        patch.setattr("gen3d.pipeline.stages.generate.Generate.run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            made(picture, settings, tmp_path / "run")
    again = Run.open(tmp_path / "run")
    assert again.manifest.status == "interrupted"
    with again:
        asset = resume_image(again, Silent())
    assert torch.equal(asset.gaussians.means, made(picture, settings, tmp_path / "whole")[0].gaussians.means)


def test_thin_splats_look_in_fine_pictures_as_they_do_in_coarse_ones():
    generator = torch.Generator().manual_seed(0)
    means, quats = 0.6 * (torch.rand(40, 3, generator=generator) - 0.5), torch.randn(40, 4, generator=generator)
    quats = torch.nn.functional.normalize(quats, dim=-1)
    needles = Gaussians(means, torch.tensor([0.05, 0.001, 0.001]).expand(40, 3), quats, torch.full((40,), 0.8), torch.zeros(40, 1, 3))
    seen = draw(needles, object_cameras([0.0, 70.0], [20.0] * 2, 32)).alpha

    def off(splats):
        fine = draw(splats, object_cameras([0.0, 70.0], [20.0] * 2, 256)).alpha
        return float((torch.nn.functional.avg_pool2d(fine, 8) - seen).abs().mean())

    pixel = 2 * 1.25 * math.tan(math.radians(49.1 / 2)) / 32
    errors = [off(as_drawn(needles, share * pixel)) for share in (0.0, 0.8, 1.0, 1.25)]
    assert min(errors) == errors[2] < 0.2 * errors[0]


def test_objects_leave_with_a_longest_side_of_one():
    generator = torch.Generator().manual_seed(0)
    means = torch.rand(5000, 3, generator=generator) * torch.tensor([0.2, 0.5, 0.1]) + 3
    splats = Gaussians(
        means, torch.full((5000, 3), 0.01), torch.tensor([1.0, 0, 0, 0]).expand(5000, 4), torch.ones(5000), torch.zeros(5000, 1, 3)
    )
    placed = normalised(splats)
    extent = placed.means.amax(0) - placed.means.amin(0)
    assert float(extent.max()) == pytest.approx(1.0, abs=0.06)
    assert placed.means.mean(0).abs().max() < 0.03
    assert float(placed.scales[0, 0] / splats.scales[0, 0]) == pytest.approx(float(extent[1] / 0.5), rel=0.02)
    assert float(normalised(splats.select(torch.tensor([7]))).scales.max()) == pytest.approx(0.5)  # a single one is not blown up


def test_missing_weights_are_told(monkeypatch, tmp_path):
    monkeypatch.setattr("gen3d.priors.multiview.shipped.SHIPPED", "absent.safetensors")
    with pytest.raises(MissingWeights, match=r"this build has no absent\.safetensors; train one"):
        shipped_model("")
    with pytest.raises(BadInput, match="cannot be read as weights"):
        shipped_model(str(tmp_path / "nothing.safetensors"))


def test_pictures_of_all_sides_have_the_last_word():
    def at(*azimuths):
        return [object_cameras([each], [20.0], 24) for each in azimuths]

    assert [sides(at(*each)) for each in ((0,), (0, 10, 20, 30), (0, 90), (0, 90, 180, 270), (350, 80, 190))] == [1, 1, 2, 4, 3]
    generator = torch.Generator().manual_seed(0)
    means = 0.5 * (torch.rand(300, 3, generator=generator) - 0.5)
    quats = torch.tensor([1.0, 0, 0, 0]).expand(300, 4)
    ball = Gaussians(means, torch.full((300, 3), 0.03), quats, torch.full((300,), 0.9), torch.zeros(300, 1, 3))
    red = replace(ball, sh=torch.tensor([1.5, -1.5, -1.5]).expand(300, 1, 3))

    def change(cameras):
        pictures = [(shown.rgb[0], shown.alpha[0]) for shown in (draw(red, camera) for camera in cameras)]
        made, psnr = refined(ball, pictures, cameras, 25, Silent())
        assert psnr > 12
        back = object_cameras([180.0], [20.0], 24)
        return float((draw(made, back).rgb - draw(ball, back).rgb).abs().mean())

    few, many = change(at(0.0)), change(at(0.0, 90.0, 180.0, 270.0))
    assert many > 2 * few  # nothing holds a back that is shown
