"""Training that begins with a Stable Diffusion pipeline: latents, captions, and weights that load."""

from dataclasses import replace

import pytest
import torch
from scenes import save_pipeline

from gen3d.errors import UsageError
from gen3d.pipeline.configuration import override, read_preset
from gen3d.pipeline.training.batches import StepBatches
from gen3d.pipeline.training.dsplats import DsplatsTraining, network_views, render_loss
from gen3d.pipeline.training.optimizers import matrices_of, optimizer_of
from gen3d.pipeline.training.run import TrainingJob, run
from gen3d.pipeline.training.settings import DsplatsSettings
from gen3d.priors.multiview.denoiser import PATH
from gen3d.priors.multiview.network import MultiviewNetwork
from gen3d.priors.multiview.pretrained import from_pretrained

SD = {  # the U-Net of Stable Diffusion 2.1, with the channels that ours has at both ends
    "in_channels": 4 + 11 * 64,
    "out_channels": 320,
    "block_out_channels": (320, 640, 1280, 1280),
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_pipeline(tmp_path_factory.mktemp("sd"))


@pytest.fixture
def settings(tiny, source):
    return replace(tiny, network=replace(tiny.network, size=16, channels=(16,)), joint=1.0, pretrained=str(source))


def test_captions_are_left_out_at_times(pictures, settings):
    batches = StepBatches([pictures], replace(settings, steps=40, untold=0.5, objects=8, warmup=1.0))
    told = [caption for step in range(20) for caption in batches[step].captions]
    assert 0.3 < sum(caption == "" for caption in told) / len(told) < 0.7
    assert {caption for caption in told if caption} <= {f"a {name}" for name in pictures.names}


def test_latents_are_noised_and_given_ones_are_not(pictures, settings, source):
    batch = StepBatches([pictures], settings)[0]
    encode = from_pretrained(source, settings.network).encode
    views, clean = network_views(batch, encode), encode(batch.pictures[:, :4])
    given = batch.given[:, :, None, None, None].expand_as(clean)
    assert views.latents.shape == (2, 4, 4, 2, 2)
    assert torch.equal(views.latents[given], clean[given])
    c = PATH(batch.times.double())
    alpha, sigma = (torch.as_tensor(part).float()[:, None, None, None, None] for part in (c.alpha, c.sigma))
    noise = ((views.latents - alpha * clean) / sigma)[~given]
    assert 0.7 < float(noise.std()) < 1.3


def test_a_step_reaches_the_new_inputs_and_not_the_autoencoder(pictures, settings, source):
    pretrained = from_pretrained(source, settings.network)
    module = DsplatsTraining(settings, pretrained=pretrained).train()
    torch.nn.init.normal_(module.network.unet.conv_out.weight, std=0.1)
    batch, before = StepBatches([pictures], settings)[0], pretrained.encode.vae.encoder.conv_in.weight.clone()
    module.log_dict = lambda *_, **__: None
    module.training_step(batch, 0).backward()
    gradient = module.network.unet.conv_in.weight.grad
    assert float(gradient[:, 4:].abs().max()) > 0
    assert not any(name.startswith(("_frozen", "encode", "text")) for name in module.state_dict())
    assert torch.equal(pretrained.encode.vae.encoder.conv_in.weight, before)
    words = module(module.network, batch).means
    assert not torch.equal(words, module(module.network, replace(batch, captions=("another thing",) * 2)).means)


def test_latents_of_renders_count(pictures, settings, source):
    encode = from_pretrained(source, settings.network).encode
    module, batch = DsplatsTraining(settings, pretrained=from_pretrained(source, settings.network)), StepBatches([pictures], settings)[0]
    torch.nn.init.normal_(module.network.unet.conv_out.weight, std=0.1)
    splats = module(module.network, batch)
    without, once, twice = (
        float(render_loss(splats, batch, replace(settings, latent=weight), None, encode)[0].detach()) for weight in (0.0, 1.0, 2.0)
    )
    assert once > without + 1e-4
    assert twice - once == pytest.approx(once - without, rel=1e-3)


def test_what_was_brought_learns_more_slowly(settings, source):
    slow = replace(settings, adopted=0.25, rate=1e-2)
    network = from_pretrained(source, replace(settings.network, size=16, patch=8, upsamplings=1)).network
    groups = optimizer_of(network, slow, matrices_of(network), network.ENDS, slow.adopted).param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert len(rates) == len(list(network.parameters()))
    found = {name: rates[id(p)] for name, p in network.named_parameters()}
    assert found["unet.mid_block.resnets.0.conv1.weight"] == pytest.approx(2.5e-3)
    assert {found[name] for name in ("unet.conv_in.weight", "unet.conv_out.weight", "decoder.last.weight", "absent")} == {1e-2}
    assert all(rate == 1e-2 for name, rate in found.items() if name.startswith("decoder."))


def test_the_full_preset_takes_two_steps(pictures, source, tmp_path):
    settings = override(DsplatsSettings(), read_preset("train/dsplats", "full"), "full")
    with torch.device("meta"):  # its true size, without its memory
        whole = MultiviewNetwork(replace(settings.network, latents=True, patch=8, channels=SD["block_out_channels"], groups=1, heads=1), SD)
    assert sum(p.numel() for p in whole.unet.parameters()) == pytest.approx(8.7e8, rel=0.01)  # 866 million, and the new columns
    assert whole.settings.size // whole.settings.cell == 128
    small = replace(settings, network=replace(settings.network, size=32), pretrained=str(source), steps=2, objects=2, joint_objects=2)
    small = replace(small, warmup=0.5, check=2, perceptual=0.0)
    model, pictures.size = from_pretrained(source, small.network), 32
    module = DsplatsTraining(small, pretrained=model)
    job = TrainingJob(tmp_path, 2, check=2, accelerator="cpu", precision="32-true")
    assert run(module, pictures.training(small), job)["check/psnr"] > 0
    assert int(module.average.steps) == 2


def test_latents_need_an_autoencoder(tiny):
    with pytest.raises(UsageError, match="latents are those of a pretrained autoencoder; say whose with --pretrained"):
        replace(tiny, latent=0.1)
    with pytest.raises(UsageError, match=r"adopted is 0\.5 and muon moves all matrices at one rate"):
        replace(tiny, optimizer="muon", adopted=0.5)
