"""Training that begins with a Stable Diffusion pipeline: latents, captions, and weights that load."""

from dataclasses import replace

import pytest
import torch
from scenes import save_pipeline

from gen3d.pipeline.training.batches import StepBatches
from gen3d.pipeline.training.dsplats import DsplatsTraining, network_views
from gen3d.priors.multiview.denoiser import PATH
from gen3d.priors.multiview.pretrained import from_pretrained


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_pipeline(tmp_path_factory.mktemp("sd"))


@pytest.fixture
def settings(tiny):
    return replace(tiny, network=replace(tiny.network, size=16, channels=(16,)), joint=1.0)


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
