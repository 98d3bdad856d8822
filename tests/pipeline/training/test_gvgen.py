"""Training of GVGEN's networks: batches by seed and step, losses that fall, runs that go on, every preset."""

import random
from dataclasses import replace

import lightning.pytorch as pl
import pytest
import torch

from gen3d.errors import BadInput, UsageError
from gen3d.pipeline.configuration import override, read_preset
from gen3d.pipeline.training.gvgen import AttributeTraining, FieldTraining, around, attribute_error, picture_error, splats_of
from gen3d.pipeline.training.phrases import in_other_colors, phrases
from gen3d.pipeline.training.run import TrainingJob, run
from gen3d.pipeline.training.train_gvgen import words_of
from gen3d.pipeline.training.volume_batches import EXCHANGED, VolumeBatches, asked_for, encoded, pictured
from gen3d.pipeline.training.volume_data import VolumeData, statistics
from gen3d.pipeline.training.volume_settings import AttributeSettings, FieldSettings
from gen3d.pipeline.volumes.packing import pack
from gen3d.pipeline.volumes.settings import VolumeSettings
from gen3d.pipeline.volumes.surface import SurfacePoints, surface_volume
from gen3d.pipeline.volumes.volume_set import VolumeRecord, Volumes, VolumeSet, together, write_file, write_volumes
from gen3d.priors.multiview.network import MultiviewNetwork
from gen3d.priors.multiview.settings import MultiviewSettings
from gen3d.priors.perceptual import Lpips
from gen3d.priors.pictures import PictureEncoder
from gen3d.priors.told import Told
from gen3d.priors.volume.field import distance_field
from gen3d.priors.volume.network import VolumeNetwork
from gen3d.priors.volume.settings import VolumeNetworkSettings
from gen3d.priors.volume.volume import LOGIT, GaussianVolume

NET = VolumeNetworkSettings(size=8, channels=(16, 32), head=8, groups=8, text=6)
SMALL = {"network": NET, "steps": 6, "objects": 4, "holdout": 2, "check": 3, "phrases": 3}
FIELD, ATTRIBUTES = FieldSettings(**SMALL), AttributeSettings(**SMALL, pixels=16)


def words(sentences):
    """An encoder that knows letters."""
    tokens = torch.zeros(len(sentences), max(map(len, sentences)) or 1, 6)
    mask = torch.zeros(tokens.shape[:2], dtype=torch.bool)
    for row, sentence in enumerate(sentences):
        for place, letter in enumerate(sentence or " "):
            tokens[row, place], mask[row, place] = torch.tensor([float(ord(letter) >> k & 1) for k in range(6)]), True
    return Told(tokens, mask, torch.nn.functional.normalize(tokens.sum(1), dim=-1))


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """Balls of different sizes; the larger, the bluer."""
    folder, parts = tmp_path_factory.mktemp("volumes"), []
    generator = torch.Generator().manual_seed(0)
    for number in range(9):
        directions = torch.nn.functional.normalize(torch.randn(3000, 3, generator=generator), dim=-1)
        color = torch.tensor([0.9, 0.3, 0.1 * number])
        volume = surface_volume(SurfacePoints((0.2 + 0.03 * number) * directions, color.expand(3000, 3)), 8)
        told = {"name": f"ball {number}", "colors": ("red",), "category": "balls", "tier": "scan", "licence": "CC0", "attribution": "A"}
        split = "test" if number == 8 else "train"
        record = VolumeRecord(f"ball{number}", split=split, scale=1.0, centre=(0.0, 0.0, 0.0), psnr=30.0, file="0.safetensors", **told)
        parts.append((record, *pack(volume)))
    digest = write_file(folder, together(parts))
    write_volumes(folder, Volumes(VolumeSettings(size=8), "").joined(tuple(record for record, _, _ in parts), digest))
    return VolumeSet(folder)


def batches_of(volumes, settings, *ranks):
    chosen = volumes.select("train")
    return VolumeBatches(chosen, encoded(chosen, words, settings), settings, *ranks)


def trained(volumes, settings, out, **job):
    pl.seed_everything(0, verbose=False)
    data = VolumeData(volumes, settings, lambda: words)
    fields, attributes = statistics(data.training)
    if isinstance(settings, FieldSettings):
        module = FieldTraining(settings, fields)
    else:
        module = AttributeTraining(settings, attributes, Lpips("alex") if settings.perceptual else None)
    figures = run(module, data, TrainingJob(out, job.pop("steps", settings.steps), check=settings.check, accelerator="cpu", **job))
    return module, figures


def test_phrases_name_the_object_in_many_ways():
    made = phrases("wooden barrel", ("red", "grey"), "dungeon", 40, random.Random(0), 0.3)
    assert made[0] == "red and grey wooden barrel, dungeon"
    assert {"barrel", "red barrel", "a wooden barrel"} & set(made)
    assert all(any(word in phrase for word in ("wooden", "barrel")) for phrase in made)
    assert len(set(made)) > 8
    assert made == phrases("wooden barrel", ("red", "grey"), "dungeon", 40, random.Random(0), 0.3)
    assert all("grey" not in phrase for phrase in phrases("red barrel", ("grey",), "", 20, random.Random(0), 0.0))


def test_batches_are_a_function_of_seed_and_step(volumes):
    one, again, other = (batches_of(volumes, replace(FIELD, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(one[3].volumes, again[3].volumes)
    assert torch.equal(one[3].told.tokens, again[3].told.tokens)
    assert torch.equal(one[3].noise(1), again[3].noise(1))
    assert not torch.equal(one[3].times, other[3].times)
    assert not torch.equal(one[3].times, one[4].times)
    whole, parts = one[2], [batches_of(volumes, FIELD, rank, 2)[2] for rank in (0, 1)]
    assert torch.equal(torch.stack([part.fields for part in parts], 1).flatten(0, 1), whole.fields)
    assert torch.equal(torch.stack([part.noise(1) for part in parts], 1).flatten(0, 1), whole.noise(1))
    with pytest.raises(UsageError, match="4 objects of a step cannot be shared by 3 processes"):
        batches_of(volumes, FIELD, 0, 3)


def test_other_colors_are_asked_for_by_their_names(volumes):
    assert in_other_colors("red barrel", ("blue", "grey"), 40, random.Random(0))[0].split()[-1] == "barrel"
    assert not any("red" in phrase for phrase in in_other_colors("red barrel", ("blue",), 10, random.Random(0)))
    rows = asked_for(volumes, FIELD)
    assert {len(row) for row in rows} == {FIELD.phrases + 5 * 2}
    green, blue = rows[0][FIELD.phrases + 2 : FIELD.phrases + 4], rows[0][FIELD.phrases + 4 : FIELD.phrases + 6]
    assert all("green" in phrase for phrase in green)  # from (.9, .3, 0) to (.3, .9, 0)
    assert all("blue" in phrase or "purple" in phrase for phrase in blue)
    assert {len(row) for row in asked_for(volumes, replace(FIELD, recolored=0.0))} == {FIELD.phrases}
    plain = batches_of(volumes, replace(FIELD, recolored=0.0, untold=0.0))
    every = batches_of(volumes, replace(FIELD, recolored=1.0, untold=0.0))
    assert torch.equal(plain[1].fields, every[1].fields)
    ours, theirs = plain[1].volumes[:, 3:6], every[1].volumes[:, 3:6]
    assert not torch.equal(ours, theirs)
    assert torch.equal(ours.sort(1).values, theirs.sort(1).values)
    assert torch.equal(plain[1].volumes[:, 6:], every[1].volumes[:, 6:])
    chosen = volumes.select("train")
    phrases_of = asked_for(chosen, FIELD)
    for number in range(FIELD.objects):  # what is told is what is shown
        told = every[1].told.pooled[number].half()
        orders = [
            EXCHANGED[1 + (place - FIELD.phrases) // 2]
            for row in phrases_of
            for place, phrase in enumerate(row)
            if place >= FIELD.phrases and torch.equal(words([phrase]).pooled[0].half(), told)
        ]
        assert any(torch.equal(theirs[number], ours[number][list(order)]) for order in orders)


def test_fields_belong_to_their_volumes_in_the_mirror_too(volumes):
    batches = batches_of(volumes, FIELD)
    for mirror in (False, True):
        values, field = batches.objects(3, mirror=mirror)
        assert torch.allclose(distance_field(GaussianVolume.of_generated(values)), field, atol=2e-3)
    assert not torch.equal(batches.objects(3, mirror=True)[0], values.flip(1))


def test_some_objects_are_not_told(volumes):
    batches = batches_of(volumes, replace(FIELD, untold=0.5, steps=40, objects=8))
    told = torch.cat([batches[step].told.mask.any(1) for step in range(20)])
    assert 0.35 < float(told.float().mean()) < 0.65
    silent = batches_of(volumes, replace(FIELD, untold=1.0))[0].told
    net = VolumeNetwork(NET, 1, 1)
    torch.nn.init.normal_(net.leave.weight, std=0.1)
    x, times = torch.randn(4, 1, 8, 8, 8), torch.rand(4)
    assert torch.allclose(net(x, times, silent), net(x, times), atol=1e-5)  # as guidance has it


def test_errors_count_what_is_there():
    truth, made = torch.zeros(1, 13, 8, 8, 8), torch.zeros(1, 13, 8, 8, 8)
    held = torch.zeros(1, 1, 8, 8, 8, dtype=torch.bool)
    held[0, 0, 2, 2, 2] = True
    made[0, 0, 5, 5, 5] = 3.0  # an offset of nothing
    assert float(attribute_error(made, truth, held)) == 0
    assert float(attribute_error(made, truth, held, everywhere=True)) == pytest.approx(0.1 * 9 / 13 / 511)
    made[0, 0, 2, 2, 2] = 1.0
    assert float(attribute_error(made, truth, held)) == pytest.approx(1 / 13)
    made[0, LOGIT, 5, 5, 5] = 2.0
    assert float(attribute_error(made, truth, held)) == pytest.approx(1 / 13 + 0.1 * 4 / 511)


def test_pictures_tell_volumes_apart(volumes):
    settings = replace(ATTRIBUTES, objects=2, pixels=48)
    batch = batches_of(volumes, settings)[0]
    cameras, splats = around(batch, settings), splats_of(batch.volumes)
    assert cameras.shape == (2, settings.views)
    other, lpips = splats_of(batch.volumes.flip(0)), Lpips("alex")
    assert float(picture_error(splats, splats, cameras, settings, lpips)) == pytest.approx(0, abs=1e-6)
    plain = float(picture_error(other, splats, cameras, settings))
    assert plain > 0.01
    near, far = (float(picture_error(other, splats, cameras, replace(settings, perceptual=weight), lpips)) for weight in (0.1, 1.0))
    assert far - plain == pytest.approx(10 * (near - plain), rel=1e-3)
    assert near > plain


STEPS = 120
KINDS = [
    (FIELD, 0.5),
    (replace(FIELD, kind="x0", weight="min_snr"), 0.5),
    (replace(FIELD, kind="flow", weight="velocity"), 0.7),
    (ATTRIBUTES, 0.8),
    (replace(ATTRIBUTES, kind="v"), 0.9),
    (replace(ATTRIBUTES, kind="flow", weight="velocity", render=0.0), 0.8),
]


@pytest.mark.parametrize(("settings", "share"), KINDS)
def test_every_kind_learns(volumes, settings, share, tmp_path):
    settings = replace(settings, recolored=0.0)  # few steps, few colours
    module, first = trained(volumes, replace(settings, steps=1), tmp_path / "a")
    _, later = trained(volumes, replace(settings, steps=STEPS, rate=3e-2, average=0.9, check=STEPS), tmp_path / "b")
    name = "check/error" if isinstance(settings, FieldSettings) else "check/volume"
    assert later[name] < share * first[name]
    assert module.network.kind == settings.kind


def test_a_run_goes_on_as_if_it_had_not_stopped(volumes, tmp_path):
    settings = replace(FIELD, rate=0.02, check=100)
    whole, _ = trained(volumes, settings, tmp_path / "whole", precision="32-true")
    trained(volumes, settings, tmp_path / "cut", steps=4, precision="32-true")
    second, _ = trained(volumes, settings, tmp_path / "cut", precision="32-true")
    for one, other in zip(whole.network.parameters(), second.network.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_previews_show_both(volumes, tmp_path):
    trained(volumes, ATTRIBUTES, tmp_path)
    assert len(list((tmp_path / "previews").glob("step-*.png"))) == 2


def test_checkpointing_changes_no_gradient(volumes):
    batch, found = batches_of(volumes, FIELD)[0], []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        module = FieldTraining(replace(FIELD, checkpointing=checkpointing), statistics(volumes)[0])
        torch.nn.init.normal_(module.network.leave.weight, std=0.1)
        module.log = lambda *_, **__: None
        module.training_step(batch, 0).backward()
        found.append(torch.cat([p.grad.flatten() for p in module.network.parameters()]))
    assert float(found[0].abs().max()) > 0
    assert torch.allclose(*found, atol=1e-6)


@pytest.mark.parametrize("kind", ["field", "attributes"])
@pytest.mark.parametrize("name", ["draft", "standard", "small", "full"])
def test_every_preset_takes_two_steps(volumes, tmp_path, kind, name):
    base = FieldSettings() if kind == "field" else AttributeSettings()
    settings = override(base, read_preset(f"train/gvgen-{kind}", name), name)
    with torch.device("meta"):  # its true size, without its memory
        count = sum(p.numel() for p in VolumeNetwork(settings.network, 1, 1 if kind == "field" else 13).parameters())
    low, high = {"draft": (3e5, 1e6), "standard": (3e6, 8e6), "small": (8e7, 1.5e8), "full": (7e8, 1.3e9)}[name]
    assert low < count < high
    widths = tuple(16 * (i + 1) for i in range(len(settings.network.channels)))[:2]
    narrow = replace(settings.network, size=8, patch=1, channels=widths, attention=1, head=8, groups=8, text=6)
    small = replace(settings, network=narrow, steps=2, objects=2, holdout=2, check=2, **({"pixels": 32} if kind == "attributes" else {}))
    module, figures = trained(volumes, small, tmp_path)
    assert int(module.average.steps) == 2
    assert figures


def test_what_does_not_fit_is_told(volumes):
    with pytest.raises(BadInput, match=r"has volumes of 8 nodes and the network takes 16; say --network.size 8"):
        VolumeData(volumes, replace(FIELD, network=replace(NET, size=16)), lambda: words)
    with pytest.raises(UsageError, match="8 training objects and a hold-out of 8 leave nothing; lower --holdout"):
        VolumeData(volumes, replace(FIELD, holdout=8), lambda: words)
    with pytest.raises(UsageError, match="the weight v has no bound where there is no noise, and the kind is x0"):
        replace(FIELD, kind="x0")
    fields, _ = statistics(volumes)
    flow = FieldTraining(replace(FIELD, kind="flow", weight="velocity"), fields)
    with pytest.raises(BadInput, match="the network to begin with is another one: kind v instead of flow; give one"):
        flow.begin_with(FieldTraining(FIELD, fields).network)
    with pytest.raises(UsageError, match="volume and render are both 0"):
        replace(ATTRIBUTES, volume=0.0, render=0.0)


def test_noise_drowns_fields_of_many_nodes(volumes):
    fields = torch.stack([distance_field(GaussianVolume.of_generated(volumes.read(number))) for number in range(len(volumes))])
    normal = statistics(volumes)[0].normalise(fields)
    assert float(normal.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(normal.std()) == pytest.approx(10 / 8**1.5, rel=1e-4)


def test_every_object_is_seen_from_places_of_its_own(volumes):
    batch = batches_of(volumes, ATTRIBUTES)[0]
    poses = around(batch, ATTRIBUTES).world_to_camera.flatten(0, 1)
    apart = torch.cdist(poses.flatten(1), poses.flatten(1)) + torch.eye(len(poses))
    assert float(apart.min()) > 1e-3
    other = around(batches_of(volumes, ATTRIBUTES)[1], ATTRIBUTES).world_to_camera.flatten(0, 1)
    assert float((other - poses).abs().amax((1, 2)).min()) > 1e-3


def test_pictures_alone_teach_attributes(volumes, tmp_path):
    settings = replace(ATTRIBUTES, recolored=0.0, volume=0.0, render=10.0, rate=3e-2, average=0.9)
    _, first = trained(volumes, replace(settings, steps=1), tmp_path / "a")
    _, later = trained(volumes, replace(settings, steps=STEPS, check=STEPS), tmp_path / "b")
    assert later["check/psnr"] > first["check/psnr"] + 1


def test_words_know_what_objects_look_like(volumes):
    torch.manual_seed(0)
    found = words_of(volumes, words, Lpips("alex").eval())
    assert found.phrases == tuple(f"ball {number}" for number in range(9))
    assert found.looks.numbers.shape[0] == 9
    assert found.looks.pooled.shape == (9, 6)
    apart = (found.looks.numbers[:, None] - found.looks.numbers).norm(dim=-1)
    assert float(apart[0, 1]) < float(apart[0, 8])  # sizes and colours change step by step
    assert words_of(volumes, words, None).looks is None


def test_networks_can_be_told_by_pictures(volumes, tmp_path):
    torch.manual_seed(0)
    net = MultiviewNetwork(MultiviewSettings(size=16, channels=(16, 32), groups=8, heads=2, layers=2, text=8))
    encoder = PictureEncoder(net)
    settings = replace(FIELD, network=replace(NET, encoder="dsplats", text=encoder.width))
    told = pictured(volumes, encoder, settings)
    assert len(told.tokens) == 9
    assert told.tokens[0][0].shape == (16, 32)
    assert not torch.equal(told.tokens[0][0], told.tokens[8][0])
    assert torch.equal(told.tokens[3][1], pictured(volumes, encoder, settings).tokens[3][1])
    data = VolumeData(volumes, settings, lambda: encoder)
    module = FieldTraining(settings, statistics(data.training)[0])
    run(module, data, TrainingJob(tmp_path, 6, check=6, accelerator="cpu"))
    batches = VolumeBatches(volumes, told, replace(settings, untold=0.0, objects=9))
    plain = {batches.objects(number, mirror=False)[1].sum().item() for number in range(9)}
    assert {field.sum().item() for field in batches[0].fields} == plain
    mirrored = [batches.objects(number, mirror=True)[1] for number in range(9)]
    assert not any(torch.equal(field, other) for field in batches[0].fields for other in mirrored)  # a picture shows which side is which
