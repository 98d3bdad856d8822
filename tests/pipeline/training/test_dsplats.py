"""Training: losses, figures, averages; two processes are one; a run goes on where it stopped."""

import math
import os
import time
from dataclasses import replace
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch

from gen3d.errors import BadInput, Gen3DError, Interrupted, UsageError
from gen3d.optional import available
from gen3d.pipeline.configuration import override, read_preset
from gen3d.pipeline.formats.images import read_image
from gen3d.pipeline.training import train_dsplats
from gen3d.pipeline.training.average import Average
from gen3d.pipeline.training.batches import StepBatches
from gen3d.pipeline.training.dsplats import DsplatsTraining, network_views, render_loss
from gen3d.pipeline.training.optimizers import matrices_of, optimizer_of
from gen3d.pipeline.training.run import TrainingJob, newest, run
from gen3d.pipeline.training.settings import DsplatsSettings
from gen3d.pipeline.training.train import keep_settings, keep_sources
from gen3d.priors.multiview.denoiser import PATH
from gen3d.priors.multiview.network import MultiviewNetwork
from gen3d.priors.perceptual import Lpips


def trained(pictures, settings, out, callbacks=(), **changes):
    pl.seed_everything(0, verbose=False)
    module = DsplatsTraining(settings)
    run(
        module,
        pictures.training(settings, changes.get("accumulate", 1)),
        TrainingJob(out, settings.steps, check=settings.check, accelerator="cpu", precision="32-true", **changes),
        callbacks,
    )
    return module


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.network.parameters()])


def averaged(module):
    return torch.cat([p.detach().flatten() for p in module.average.network.parameters()])


def test_noise_is_that_of_the_time(pictures, tiny):
    batch = StepBatches([pictures], replace(tiny, joint=1.0))[0]
    batch = replace(batch, given=torch.tensor([[True, True, False, False], [True, False, False, False]]))
    views = network_views(batch)
    given = batch.given[:, :, None, None, None].expand_as(views.pictures)
    assert torch.equal(views.pictures[given], batch.pictures[:, :4][given])
    c = PATH(float(batch.times[1]))
    expected = c.alpha * batch.pictures[1, 3] + c.sigma * batch.noise[1, 3]
    assert torch.allclose(views.pictures[1, 3], expected, atol=1e-5)
    assert views.cameras.shape == (2, 4)


def test_the_loss_falls_and_has_gradients_everywhere(pictures, tiny):
    torch.manual_seed(0)
    module, batch = DsplatsTraining(tiny), StepBatches([pictures], replace(tiny, joint=1.0))[0]
    optimizer = torch.optim.Adam(module.network.parameters(), 3e-3)
    losses = []
    for _ in range(12):
        loss, _ = render_loss(module.network(network_views(batch)), batch, tiny)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.03  # 0.1 of the logarithm: the error has lost a quarter
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.network.parameters())


def test_perceptual_distance_counts_where_there_is_little_noise(pictures, tiny):
    asked = []

    def distance(one, other):
        asked.append(len(one))
        return (one - other).abs().flatten(1).mean(1)

    settings = replace(tiny, joint=1.0, perceptual=1.0, perceptual_below=0.0)
    batch = replace(StepBatches([pictures], settings)[0], given=torch.tensor([[True] * 4, [True, False, False, False]]))
    splats = DsplatsTraining(settings).network(network_views(batch))
    plain, _ = render_loss(splats, batch, replace(settings, perceptual=0.0))
    full, _ = render_loss(splats, batch, settings, distance)
    assert asked == [6]
    assert full > plain
    alone = replace(settings, joint=0.0)
    batch = StepBatches([pictures], alone)[0]
    render_loss(DsplatsTraining(alone).network(network_views(batch)), batch, alone, distance)
    assert asked == [6]


def test_depth_counts_where_there_is_something(pictures, tiny):
    settings = replace(tiny, depth=1.0, loss="square")
    batch = StepBatches([pictures], settings)[0]
    assert torch.equal(batch.depth > 0, batch.alpha > 0)
    splats = DsplatsTraining(settings).network(network_views(batch))
    solid = replace(splats, opacities=torch.full_like(splats.opacities, 0.9))
    near = replace(solid, means=solid.means * 0.1)

    def added(splats, weight):
        losses = [float(render_loss(splats, batch, replace(settings, depth=each))[0]) for each in (weight, 0.0)]
        return losses[0] - losses[1]

    plain, full, closer = added(solid, 0.0), added(solid, 1.0), added(near, 1.0)
    assert plain == 0
    assert full > 0
    assert closer != full
    hollow = type(pictures)(pictures.names)
    read = hollow.read
    hollow.read = lambda number: replace(read(number), depth=None)
    with pytest.raises(UsageError, match="the set holds none; render it with --geometry true"):
        StepBatches([hollow], settings)[0]


def test_the_average_follows():
    net = torch.nn.Linear(1, 1, bias=False)
    average = Average(net, 0.5)
    with torch.no_grad():
        net.weight += 1.0
    before = average.network.weight.item()
    for _ in range(30):
        average.update(net)
    assert average.network.weight.item() == pytest.approx(net.weight.item(), abs=1e-3)
    assert average.network.weight.item() != before
    assert not average.network.weight.requires_grad


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("cut", [1, 2, 4])
def test_a_run_goes_on_as_if_it_had_not_stopped(pictures, tiny, tmp_path, cut, accumulate):
    settings = replace(tiny, rate=0.05, check=100)
    whole = trained(pictures, settings, tmp_path / "whole", accumulate=accumulate)
    pl.seed_everything(0, verbose=False)
    job = TrainingJob(tmp_path / "cut", cut, check=100, accelerator="cpu", precision="32-true", accumulate=accumulate)
    run(DsplatsTraining(settings), pictures.training(settings, accumulate), job)
    assert (tmp_path / "cut" / "last.ckpt").is_file()
    second = trained(pictures, settings, tmp_path / "cut", accumulate=accumulate)
    assert torch.allclose(weights(second), weights(whole), atol=1e-6)
    assert torch.allclose(averaged(second), averaged(whole), atol=1e-6)
    assert int(second.average.steps) == 6
    assert [path.parent.name for path in sorted((tmp_path / "cut").glob("logs/*/metrics.csv"))] == ["version_0", "version_1"]


class Stop(pl.Callback):
    """Ctrl-C after some batches."""

    def __init__(self, batches):
        self.left = batches

    def on_train_batch_end(self, *_):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize("batches", [3, 4, 5])
def test_a_run_that_was_cut_amid_a_step_takes_the_whole_step(pictures, tiny, tmp_path, batches):
    settings = replace(tiny, rate=0.05, check=100)
    whole = trained(pictures, settings, tmp_path / "whole", accumulate=2)
    with pytest.raises(Interrupted):
        trained(pictures, settings, tmp_path / "cut", [Stop(batches)], accumulate=2)
    assert torch.allclose(weights(trained(pictures, settings, tmp_path / "cut", accumulate=2)), weights(whole), atol=1e-6)


def test_ctrl_c_leaves_a_checkpoint(pictures, tiny, tmp_path):
    settings = replace(tiny, rate=0.05, check=100)
    whole = trained(pictures, settings, tmp_path / "whole")
    pl.seed_everything(0, verbose=False)
    job = TrainingJob(tmp_path / "cut", 6, check=100, every=60, accelerator="cpu", precision="32-true")
    with pytest.raises(Interrupted, match="interrupted at step 3 of 6; the same command goes on"):
        run(DsplatsTraining(settings), pictures.training(settings), job, [Stop(3)])
    assert torch.load(tmp_path / "cut" / "last.ckpt", weights_only=True)["global_step"] == 3
    assert torch.allclose(weights(trained(pictures, settings, tmp_path / "cut")), weights(whole), atol=1e-6)


def test_checkpoints_come_by_the_clock(pictures, tiny, tmp_path):
    found = []

    class Look(pl.Callback):
        def on_train_batch_start(self, trainer, *_):
            found.append((tmp_path / "last.ckpt").is_file())
            time.sleep(0.3)

    job = TrainingJob(tmp_path, 6, check=100, every=0.01, accelerator="cpu", precision="32-true")
    run(DsplatsTraining(tiny), pictures.training(tiny), job, [Look()])
    assert found[0] is False
    assert found[-1] is True


def test_numbers_that_are_none_end_the_training(pictures, tiny, tmp_path):
    module = DsplatsTraining(tiny)
    torch.nn.init.constant_(module.network.unet.conv_out.bias, math.nan)
    job = TrainingJob(tmp_path, 6, check=100, accelerator="cpu", precision="32-true")
    with pytest.raises(Gen3DError, match="the network's numbers are not finite at step 0; begin again with another --out, a lower --rate"):
        run(module, pictures.training(tiny), job)
    assert not (tmp_path / "last.ckpt").exists()  # which would spoil the last good one


def test_half_precision_changes_little(pictures, tiny):
    torch.manual_seed(0)
    module, batch = DsplatsTraining(tiny), StepBatches([pictures], replace(tiny, joint=1.0))[0]
    torch.nn.init.normal_(module.network.unet.conv_out.weight, std=0.1)
    plain = module(module.network, batch)
    with torch.autocast("cpu", torch.bfloat16):
        half = module(module.network, batch)
    assert half.means.dtype == torch.float32
    assert 0 < float((half.means - plain.means).abs().max()) < 0.02


def test_a_run_logs_and_shows_what_it_learns(pictures, tiny, tmp_path):
    trained(pictures, tiny, tmp_path / "whole")
    log = (tmp_path / "whole" / "logs" / "version_0" / "metrics.csv").read_text()
    assert "check/psnr" in log.splitlines()[0]
    sheet, _ = read_image(tmp_path / "whole" / "previews" / "step-0000003.png")
    assert sheet.shape == (4 * 16, 8 * 16, 3)
    if available("tensorboard"):
        assert list((tmp_path / "whole" / "tensorboard").rglob("events.out.*"))


def test_logarithms_make_faint_objects_count_like_others(pictures, tiny):
    batch = StepBatches([pictures], tiny)[0]
    splats = DsplatsTraining(tiny).network(network_views(batch))
    nothing = replace(splats, opacities=torch.zeros_like(splats.opacities))

    def loss(kind, shade):
        drawn = replace(batch, pictures=1 - (1 - batch.pictures) * shade)
        return float(render_loss(nothing, drawn, replace(tiny, loss=kind, floor=1e-9, alpha=0.0))[0])

    assert loss("square", 0.25) / loss("square", 1.0) == pytest.approx(1 / 16, rel=1e-3)
    assert loss("log", 0.25) - loss("log", 1.0) == pytest.approx(0.1 * math.log(1 / 16), rel=1e-3)


def test_checkpointing_changes_no_gradient(pictures, tiny):
    found = []
    for checkpointing in (False, True):
        settings = replace(tiny, checkpointing=checkpointing, joint=1.0)
        torch.manual_seed(0)
        module, batch = DsplatsTraining(settings).train(), StepBatches([pictures], settings)[0]
        torch.nn.init.normal_(module.network.unet.conv_out.weight, std=0.1)
        render_loss(module.network(network_views(batch)), batch, settings)[0].backward()
        found.append(torch.cat([p.grad.flatten() for p in module.network.parameters()]))
    assert float(found[0].abs().max()) > 0
    assert torch.allclose(*found, atol=1e-6)


def test_a_training_begins_with_weights_of_its_shapes(tiny):
    first, second = DsplatsTraining(tiny), DsplatsTraining(tiny)
    second.begin_with(first.network)
    assert torch.equal(weights(first), weights(second))
    assert torch.equal(second.average.network.unet.conv_in.weight, first.network.unet.conv_in.weight)
    other = replace(tiny, network=replace(tiny.network, layers=3))
    with pytest.raises(BadInput, match="the network to begin with is another one: layers 2 instead of 3; give one"):
        DsplatsTraining(other).begin_with(first.network)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_optimisers_hold_every_weight_once(tiny, optimizer):
    module = DsplatsTraining(replace(tiny, optimizer=optimizer))
    groups = optimizer_of(module.network, module.settings, matrices_of(module.network), module.network.ENDS).param_groups
    held = [id(p) for group in groups for p in group["params"]]
    assert len(set(held)) == len(held) == len(list(module.network.parameters()))
    matrices = groups[0]["params"]
    assert all(p.ndim > 1 for p in matrices)
    assert any(p is module.network.unet.conv_out.weight for p in matrices) is (optimizer == "adamw")


@pytest.mark.parametrize("name", ["draft", "standard", "joint"])
def test_every_preset_takes_two_steps(name, pictures, tmp_path):
    settings = override(DsplatsSettings(), read_preset("train/dsplats", name), name)
    count = sum(p.numel() for p in MultiviewNetwork(settings.network).parameters())
    assert {"draft": 7e5}.get(name, 7e6) < count < {"draft": 1e6}.get(name, 8e6)
    channels = settings.network.channels
    size, widths = settings.network.patch * 2 ** len(channels), tuple(16 * (i + 1) for i in range(len(channels)))
    narrow = replace(settings.network, size=size, channels=widths, groups=8, heads=2)
    pictures.size = narrow.size
    small = replace(settings, network=narrow, steps=2, objects=2, joint_objects=2, warmup=0.5, joint=1.0, check=2, perceptual=0.0)
    module = trained(pictures, small, tmp_path)
    assert int(module.average.steps) == 2


def test_a_training_that_goes_on_has_the_same_settings(tiny, tmp_path):
    job = TrainingJob(tmp_path, 6)
    keep_settings(tiny, job)
    keep_settings(replace(tiny, rate=0.5), job)  # nothing was trained yet
    (tmp_path / "last.ckpt").touch()
    keep_settings(replace(tiny, rate=0.5, check=7), job)
    with pytest.raises(UsageError, match=r"other settings: steps was 6 and is 7, network\.layers was 2 and is 3; give another --out"):
        keep_settings(replace(tiny, rate=0.5, steps=7, network=replace(tiny.network, layers=3)), job)


def test_logarithms_need_a_floor(tiny):
    with pytest.raises(UsageError, match="floor is 0 and the logarithm of an error of 0 is no number"):
        replace(tiny, floor=0.0)
    assert replace(tiny, floor=0.0, loss="square").floor == 0


def test_a_training_that_goes_on_learns_from_the_same_objects(tmp_path):
    job, one, two = (
        TrainingJob(tmp_path, 6),
        *(SimpleNamespace(id=name, name=name, tier="scan", licence="", attribution="") for name in "ab"),
    )
    keep_sources([one], job)
    keep_sources([one, two], job)  # nothing was trained yet
    (tmp_path / "last.ckpt").touch()
    keep_sources([two, one, one], job)
    with pytest.raises(UsageError, match="holds a training on other objects; give another --out, or the same --data"):
        keep_sources([two], job)


def test_a_training_goes_on_from_the_newest_checkpoint(tmp_path):
    assert newest(tmp_path) is None
    for age, name in enumerate(("hpc_ckpt_2.ckpt", "last.ckpt", "hpc_ckpt_1.ckpt")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    assert newest(tmp_path).name == "hpc_ckpt_2.ckpt"
    os.utime(tmp_path / "last.ckpt", (2000, 2000))
    assert newest(tmp_path).name == "last.ckpt"


def test_what_slurm_left_is_gone_on_from_and_taken_away(pictures, tiny, tmp_path):
    settings = replace(tiny, rate=0.05, check=100)
    whole = trained(pictures, settings, tmp_path / "whole")
    with pytest.raises(Interrupted):
        trained(pictures, settings, tmp_path / "cut", [Stop(3)])
    (tmp_path / "cut" / "last.ckpt").rename(tmp_path / "cut" / "hpc_ckpt_1.ckpt")
    assert torch.allclose(weights(trained(pictures, settings, tmp_path / "cut")), weights(whole), atol=1e-6)
    assert [path.name for path in (tmp_path / "cut").glob("*.ckpt")] == ["last.ckpt"]


def test_lpips_sees_pictures_as_it_wants_them(pictures, tiny, tmp_path, monkeypatch):
    torch.manual_seed(0)
    lpips = Lpips("alex").requires_grad_(False)
    monkeypatch.setattr(train_dsplats, "load_lpips", lambda net: lpips)
    assert train_dsplats._perceptual(tiny) is None
    distance = train_dsplats._perceptual(replace(tiny, perceptual=0.3))
    one, other = torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).mul(2).sub(1)
    seen = one.clone().requires_grad_()
    found = distance(seen, other)
    assert torch.allclose(found, lpips((one.permute(0, 2, 3, 1) + 1) / 2, (other.permute(0, 2, 3, 1) + 1) / 2))
    found.sum().backward()
    assert seen.grad.abs().sum() > 0
    pictures.size = 32
    settings = replace(tiny, network=replace(tiny.network, size=32), steps=2, joint=1.0, perceptual=0.3, given=(0.0, 0.0, 0.0, 1.0, 0.0))
    losses = []
    for weight in (0.0, 0.3):
        part = replace(settings, perceptual=weight)
        module = DsplatsTraining(part, train_dsplats._perceptual(part))
        run(module, pictures.training(part), TrainingJob(tmp_path / str(weight), 2, accelerator="cpu", precision="32-true"))
        losses.append(weights(module))
    assert not torch.allclose(*losses)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"devices": 0}, "the setting devices is 0; it must be at least 1"),
        ({"accumulate": 0}, "the setting accumulate is 0"),
        ({"strategy": "dpp"}, "the setting strategy is 'dpp'; choose one of auto, ddp, fsdp"),
        ({"accelerator": "tpu"}, "the setting accelerator is 'tpu'"),
    ],
)
def test_jobs_that_cannot_be_are_told(change, words, tmp_path):
    with pytest.raises(UsageError, match=words):
        TrainingJob(tmp_path, 1, **change)
