"""Networks that begin with a Stable Diffusion pipeline, here a small one with random weights."""

import json
from dataclasses import replace

import diffusers
import pytest
import torch
from scenes import ring, save_pipeline, some_views

from gen3d.errors import BadInput, UsageError
from gen3d.priors.multiview.denoiser import SplatDenoiser
from gen3d.priors.multiview.generate import generate, reconstruct
from gen3d.priors.multiview.pretrained import from_pretrained, with_parts
from gen3d.priors.multiview.settings import MultiviewSettings
from gen3d.priors.multiview.views import GivenViews, around
from gen3d.priors.multiview.weights import load_network, save_network
from gen3d.priors.samplers.driver import per_sample
from gen3d.priors.samplers.paths import Cosine

SIZE = 32
SETTINGS = MultiviewSettings(size=SIZE, layers=2)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """A folder with a U-Net, an autoencoder, a tokenizer and a text encoder."""
    return save_pipeline(tmp_path_factory.mktemp("sd"))


@pytest.fixture
def made(pipeline):
    return from_pretrained(pipeline, SETTINGS)


def latent_views(encode, views, given=1):
    seen = some_views(2, views, given, size=SIZE)
    return replace(seen, latents=encode(seen.pictures))


def test_with_one_view_and_nothing_new_it_is_the_plain_network(made, pipeline):
    plain = diffusers.UNet2DConditionModel.from_pretrained(pipeline, subfolder="unet").eval()
    unet = made.network.unet.eval()
    inputs, words = torch.randn(2, unet.config.in_channels, 4, 4), torch.randn(2, 5, 8)
    unet.conv_out = plain.conv_out
    with torch.no_grad():
        expected = plain(inputs[:, :4], 500, words).sample
        found = unet(inputs, 500, words, cross_attention_kwargs={"views": 1}).sample
        together = unet(inputs, 500, words, cross_attention_kwargs={"views": 2}).sample
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(together, expected, atol=1e-5)


def test_it_is_told_stable_diffusions_steps(made):
    scheduler = diffusers.DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    path = Cosine()
    for step in (10, 500, 999):
        share = scheduler.alphas_cumprod[step]
        time = float(path.time_of(((1 - share) / share).sqrt().double()))
        assert float(made.network.ticks(torch.tensor([time]))) == pytest.approx(step, abs=0.02)
    assert made.network.ticks(torch.tensor([0.0, 1.0])).tolist() == [0, 999]


def test_it_comes_back_from_a_file(made, pipeline, tmp_path):
    torch.nn.init.normal_(made.network.unet.conv_out.weight, std=0.1)
    save_network(made.network, tmp_path / "net.safetensors", bits=16)
    again, views = load_network(tmp_path / "net.safetensors"), latent_views(made.encode, 2)
    assert again.config == made.network.config
    assert again.settings.source == str(pipeline)
    assert torch.equal(with_parts(again).encode(views.pictures), made.encode(views.pictures))
    network = made.network.half().float().eval()  # files hold 16 bits
    with torch.no_grad():
        assert torch.equal(again(views).means, network(views).means)


def test_views_are_sampled_as_latents(made):
    torch.nn.init.normal_(made.network.unet.conv_out.weight, std=0.1)
    network = made.network.eval()
    seen = some_views(1, 1, size=SIZE)
    given = GivenViews(seen.pictures, seen.alpha, ring(1, 1, SIZE))
    missing = around(given.cameras, 3, elevation=20.0, distance=1.25, fov=49.1)
    with torch.no_grad():
        done = generate(made, given, missing, per_sample([0]), steps=2)
        assert done.x.shape == (1, 4, 4, 4, 4)
        assert done.prediction.aux.means.shape == (1, 4 * 16 * 2, 3)
        assert torch.allclose(done.prediction.x0[:, 0], made.encode(given.pictures)[:, 0], atol=1e-5)
        assert reconstruct(made, given).means.shape == (1, 16 * 2, 3)
        denoiser = SplatDenoiser(network, given.cameras, torch.ones(1, 1, dtype=torch.bool), given.pictures, given.alpha, made.encode)
        assert torch.equal(denoiser.clean, made.encode(given.pictures))


def test_a_decoder_makes_the_grid_finer(pipeline):
    made = from_pretrained(pipeline, replace(SETTINGS, patch=8, upsamplings=2))
    views, network = latent_views(made.encode, 2), made.network.eval()
    torch.nn.init.normal_(network.decoder.last.weight, std=0.1)
    with torch.no_grad():
        splats = network(views)
        assert splats.means.shape == (2, 2 * 16 * 4**2 * 2, 3)
        brighter = replace(views, pictures=views.pictures * 0.5)
        still = network(brighter)
        for stem in network.decoder.stems:
            torch.nn.init.normal_(stem.weight, std=0.1)
        moved = [network(each).means for each in (views, brighter)]
    assert torch.equal(still.scales, splats.scales)  # at first features of the U-Net alone count, which see pictures in no column
    assert not torch.equal(*moved)
    assert made.network.settings.cell == 2


def test_pictures_of_noised_views_are_not_seen(made):
    torch.nn.init.normal_(made.network.unet.conv_out.weight, std=0.1)
    torch.nn.init.normal_(made.network.unet.conv_in.weight, std=0.1)
    views = latent_views(made.encode, 2)
    pictures = views.pictures.clone()
    pictures[:, 1] = 0.3
    with torch.no_grad():
        one, other = made.network(views), made.network(replace(views, pictures=pictures))
        assert torch.equal(one.means, other.means)
        assert not torch.equal(one.means, made.network(replace(views, latents=views.latents * 2)).means)
    with pytest.raises(ValueError, match="encode their pictures"):
        made.network(replace(views, latents=None))


def test_words_become_tokens(made, pipeline, tmp_path):
    tokens = made.text(["a red chair", ""])
    assert tokens.shape == (2, 77, 8)
    assert not torch.equal(tokens[0], tokens[1])
    for part in ("unet", "vae"):
        (tmp_path / part).symlink_to(pipeline / part)
    assert from_pretrained(tmp_path, SETTINGS).text is None


def test_other_folders_are_refused(tmp_path, pipeline):
    with pytest.raises(BadInput, match="holds no pipeline of Stable Diffusion"):
        from_pretrained(tmp_path, SETTINGS)
    diffusers.UNet2DConditionModel(**{**json.loads((pipeline / "unet/config.json").read_text()), "in_channels": 9}).save_pretrained(
        tmp_path / "unet"
    )
    (tmp_path / "vae").symlink_to(pipeline / "vae")
    with pytest.raises(BadInput, match="takes 9 channels"):
        from_pretrained(tmp_path, SETTINGS)
    with pytest.raises(UsageError, match="a latent stands for 8 pixels"):
        MultiviewSettings(latents=True)
