"""A sentence becomes splats, by tiny networks that have learned nothing."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from gen3d.cli.main import main
from gen3d.errors import BadInput, MissingWeights, UsageError
from gen3d.pipeline.formats.images import read_image, to_uint8
from gen3d.pipeline.meshing.settings import MeshSettings
from gen3d.pipeline.objects.views import object_cameras
from gen3d.pipeline.progress import Silent
from gen3d.pipeline.run import Run
from gen3d.pipeline.stages.settings import TextSettings
from gen3d.pipeline.stages.text import Interpolate, resume_text, text_to_3d
from gen3d.priors.multiview.views import draw
from gen3d.priors.told import Told
from gen3d.priors.volume.interpolate import End
from gen3d.priors.volume.looks import looks_of
from gen3d.priors.volume.network import VolumeNetwork
from gen3d.priors.volume.settings import VolumeNetworkSettings
from gen3d.priors.volume.shipped import WORDS, shipped_model
from gen3d.priors.volume.weights import save_network
from gen3d.priors.volume.words import Words, load_words, save_words

TINY = VolumeNetworkSettings(size=8, channels=(16, 32), head=8, groups=8, text=6)


class Letters(torch.nn.Module):
    """An encoder that knows how long sentences are."""

    width = 6

    def forward(self, sentences):
        pooled = torch.tensor([[float(len(each) >> k & 1) for k in range(6)] for each in sentences])
        return Told(pooled[:, None], torch.ones(len(sentences), 1, dtype=torch.bool), pooled)

    def cuts(self, sentence):
        return len(sentence) >= 64


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setattr("gen3d.priors.volume.shipped.load_encoder", lambda name: Letters())
    torch.manual_seed(0)
    field, attributes = VolumeNetwork(TINY, 1, 1, "v"), VolumeNetwork(TINY, 1, 13, "none")
    for net in (field, attributes):
        for parameter in net.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.2)
    attributes.mean.copy_(torch.tensor([*(0.0,) * 6, *(-3.0,) * 3, *(0.0,) * 3, -2.0]))
    attributes.std.fill_(0.5)
    attributes.std[12] = 3.0
    save_network(field, tmp_path / "field.safetensors", bits=16)
    save_network(attributes, tmp_path / "attributes.safetensors", bits=16)
    files = {name: str(tmp_path / f"{name}.safetensors") for name in ("field", "attributes")}
    return TextSettings(steps=2, mesh=MeshSettings(method="none"), **files)


def made(prompt, settings, out):
    with Run.create(out, "text", replace(settings, prompt=prompt)) as run:
        return text_to_3d(prompt, settings, run), run


def test_a_sentence_becomes_splats_and_previews(settings, tmp_path):
    asset, run = made("a red  barrel", settings, tmp_path / "run")
    assert 0 < asset.gaussians.count <= 512
    assert asset.provenance["prompt"] == "a red barrel"
    assert (run.exports / "model.ply").stat().st_size > 500
    assert read_image(run.previews / "contact_sheet.png")[0].shape[:2] == (256, 4 * 256)
    assert (run.previews / "turntable.mp4").stat().st_size > 1000
    extent = asset.gaussians.means.amax(0) - asset.gaussians.means.amin(0)
    assert 0.5 < float(extent.max()) < 1.1


def test_splats_are_as_wide_as_they_were_fitted(settings, tmp_path, monkeypatch):
    wide = made("a barrel", settings, tmp_path / "wide")[0].gaussians.scales
    monkeypatch.setattr("gen3d.pipeline.stages.sample_volumes.FITTED", 0.0)
    thin = made("a barrel", settings, tmp_path / "thin")[0].gaussians.scales
    assert (wide > thin).all()


def test_words_and_seeds_decide(settings, tmp_path):
    means = [
        made(prompt, replace(settings, seed=seed), tmp_path / name)[0].gaussians.means
        for name, prompt, seed in (("a", "a barrel", 0), ("b", "a barrel", 0), ("c", "a barrel", 1), ("d", "a chair!!", 0))
    ]
    assert torch.equal(means[0], means[1])
    assert all(means[0].shape != other.shape or not torch.allclose(means[0], other, atol=1e-3) for other in means[2:])


def test_the_best_of_some_samples_comes_first(settings, tmp_path, monkeypatch):
    alone = [made("a barrel", replace(settings, seed=seed), tmp_path / str(seed))[0].gaussians for seed in range(3)]
    doubts = iter([torch.tensor([[3.0]]), torch.tensor([[1.0]]), torch.tensor([[2.0]])])
    monkeypatch.setattr("gen3d.pipeline.stages.sample_volumes.renoise_score", lambda *_, **__: next(doubts))
    several, _ = made("a barrel", replace(settings, seeds=3), tmp_path / "run")
    assert torch.allclose(several.gaussians.means, alone[1].means, atol=1e-5)


def test_samples_that_look_the_part_come_first(settings, tmp_path, monkeypatch):
    names = ("a barrel", "xx")
    pooled = torch.nn.functional.normalize(Letters()(names).pooled, dim=-1)
    looks = looks_of([torch.zeros(1), torch.ones(1)], pooled)
    save_words(Words(names, pooled, looks), tmp_path / WORDS)
    again = load_words(tmp_path / WORDS).looks
    assert torch.allclose(again.pooled, pooled, atol=0.01)
    assert torch.allclose(again.numbers, looks.numbers, atol=0.01)
    alone = [made("a barrel", replace(settings, seed=seed), tmp_path / str(seed))[0].gaussians for seed in range(3)]
    seen = iter([torch.ones(1), torch.zeros(1), torch.ones(1)])
    monkeypatch.setattr("gen3d.pipeline.stages.text.load_lpips", lambda net: None or object())
    monkeypatch.setattr("gen3d.pipeline.stages.text.appearance", lambda *_: next(seen))
    monkeypatch.setattr("gen3d.pipeline.stages.sample_volumes.renoise_score", lambda *_, **__: torch.zeros(1))
    monkeypatch.setattr("gen3d.priors.volume.looks.NEIGHBOURS", 1)
    best, _ = made("a barrel", replace(settings, seeds=3), tmp_path / "run")
    assert torch.allclose(best.gaussians.means, alone[1].means, atol=1e-5)


def test_prompts_far_from_everything_are_noted(settings, tmp_path):
    names = ("chair", "a long barrel")
    vectors = torch.nn.functional.normalize(Letters()(names).pooled, dim=-1)
    save_words(Words(names, vectors), tmp_path / WORDS)
    _, near = made("sword", settings, tmp_path / "near")  # as long as chair
    _, far = made("xx", settings, tmp_path / "far")
    assert near.manifest.notes == ()
    assert far.manifest.notes[0].startswith("nothing like 'xx' was among what the weights have learned; the nearest is ")
    _, plain = made("a red sword, dungeon", settings, tmp_path / "plain")  # as long as chair but for what is no subject
    assert plain.manifest.notes == ()
    _, both = made("sword", replace(settings, other="xx", frames=2), tmp_path / "both")
    assert both.manifest.notes == far.manifest.notes
    assert f"'{'x' * 57}...'" in Words(names, vectors).warning("x" * 500, Letters()(["xx"]).pooled[0])


def test_a_choice_without_looking_is_noted(settings, tmp_path):
    _, run = made("a barrel", replace(settings, seeds=2), tmp_path / "run")
    assert run.manifest.notes[0].startswith("samples were chosen without looking at them: gvgen-words.safetensors")
    names = ("a barrel", "xx")
    save_words(Words(names, torch.nn.functional.normalize(Letters()(names).pooled, dim=-1)), tmp_path / WORDS)
    _, run = made("a barrel", replace(settings, seeds=2), tmp_path / "again")
    assert run.manifest.notes == ("samples were chosen without looking at them: its training had no LPIPS",)


def test_videos_to_nothing_are_refused(settings, tmp_path, monkeypatch):
    run = Run.create(tmp_path / "run", "text", settings)
    stage = Interpolate(run, replace(settings, prompt="a", other="b", frames=2), shipped_model(settings.field, settings.attributes))
    monkeypatch.setattr("gen3d.pipeline.stages.text.visible", lambda splats: splats.select(torch.zeros(0, dtype=torch.long)))
    with run, pytest.raises(UsageError, match="nothing came of one of the two"):
        next(stage.frames((End(Letters()(["a"]), 0), End(Letters()(["b"]), 0)), Silent()))


def test_nothing_heavy_is_imported():
    code = "import sys, gen3d.pipeline.stages.text; sys.exit('diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_prompts_that_are_not_read_to_their_end_are_noted(settings, tmp_path):
    _, run = made("barrel " * 20, settings, tmp_path / "long")
    told = f"'{'barrel ' * 8}b...' is longer than the text encoder reads; its last words count for nothing"
    assert run.manifest.notes == (told,)


def test_a_run_that_was_cut_off_is_done_again(settings, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("gen3d.pipeline.stages.sample_volumes.SampleVolumes.run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            made("a barrel", settings, tmp_path / "run")
    with Run.open(tmp_path / "run") as again:
        asset = resume_text(again, Silent())
    assert torch.equal(asset.gaussians.means, made("a barrel", settings, tmp_path / "whole")[0].gaussians.means)
    assert [each["name"] for each in again.manifest.weights[:2]] == ["field.safetensors", "attributes.safetensors"]
    save_network(shipped_model(settings.field, settings.attributes).field, settings.field, bits=8)
    with Run.open(tmp_path / "run") as again, pytest.raises(BadInput, match=r"field\.safetensors has changed since this run began"):
        resume_text(again, Silent())


def test_a_video_leads_from_one_to_the_other(settings, tmp_path):
    _, run = made("a barrel", replace(settings, other="a chair!!", frames=3), tmp_path / "run")
    assert (run.previews / "interpolation.mp4").stat().st_size > 500
    model = shipped_model(settings.field, settings.attributes)
    stage = Interpolate(run, replace(settings, prompt="a barrel", other="a chair!!", frames=3), model)
    ends = (End(model.told(["a barrel"]), 0), End(model.told(["a chair!!"]), 0))
    frames = list(stage.frames(ends, Silent()))
    camera = object_cameras([30.0], [20.0], 512, distance=2.0, fov=40.0)
    for frame, prompt in ((frames[0], "a barrel"), (frames[2], "a chair!!")):
        alone = made(prompt, settings, tmp_path / prompt[2:7])[0].gaussians
        assert torch.equal(frame, to_uint8(draw(alone, camera).rgb[0].clamp(0, 1)))
    assert not torch.equal(frames[0], frames[1])
    with pytest.raises(UsageError, match="seeds is 2 and a video leads between two samples"):
        replace(settings, other="a chair", seeds=2)


def test_what_cannot_be_is_told(settings, tmp_path):
    with pytest.raises(UsageError, match="the prompt is empty"):
        text_to_3d("  ", settings)
    with pytest.raises(BadInput, match="are not a network of fields and one of attributes"):
        shipped_model(settings.attributes, settings.field)
    other = VolumeNetwork(replace(TINY, encoder="else"), 1, 13, "none")
    save_network(other, tmp_path / "other.safetensors")
    with pytest.raises(BadInput, match="reads with minilm, the attributes 8 and else; give networks that were trained alike"):
        shipped_model(settings.field, str(tmp_path / "other.safetensors"))


def test_missing_weights_are_told(monkeypatch):
    monkeypatch.setattr("gen3d.priors.volume.shipped.FIELD", "absent.safetensors")
    with pytest.raises(MissingWeights, match=r"this build has no absent\.safetensors; train one with gen3d train gvgen-field"):
        shipped_model()


def test_the_verb_takes_words_with_and_without_quotes(settings, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["--field", settings.field, "--attributes", settings.attributes, "--steps", "2", "--no_mesh", "-q"]
    assert main(["text", "a red barrel", *flags, "--out", "one"]) == 0
    assert main(["text", "a", "red", "barrel", *flags, "--out", "two"]) == 0
    one, two = ((tmp_path / name / "exports" / "model.ply").read_bytes() for name in ("one", "two"))
    assert one == two
    assert main(["text", *flags, "--interpolate", "a", "bb", "--frames", "2", "--out", "three"]) == 0
    assert (tmp_path / "three" / "previews" / "interpolation.mp4").is_file()
    wrong = [
        ("the prompt is empty", [" "]),
        ("names both prompts", ["a", "--interpolate", "b", "c"]),
        ("one of the two is empty; name both", ["--interpolate", "b", " "]),
        ("leave --other out", ["--interpolate", "b", "c", "--other", "d"]),
    ]
    for told, words in wrong:
        assert main(["text", *words, *flags]) == 2
        assert told in capsys.readouterr().err
