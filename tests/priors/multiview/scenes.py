"""Cameras and views that the tests of multiview networks share."""

import json
from pathlib import Path

import diffusers
import pytest
import torch

from gen3d.priors.multiview.network import Views
from gen3d.priors.multiview.settings import MultiviewSettings
from gen3d.renderers.cameras import Cameras, orbit

TINY = MultiviewSettings(size=16, channels=(16, 32), groups=8, heads=2, layers=2, text=8)


def ring(objects: int, views: int, size: int = 16) -> Cameras:
    """The same views, evenly around, for all objects."""
    around = torch.arange(views) * 360.0 / views
    cameras = orbit(around, torch.full((views,), 20.0), radius=1.25, fov=49.1, width=size, height=size)
    return cameras.expand(objects)


def some_views(objects: int, views: int, given: int = 1, size: int = 16, seed: int = 0) -> Views:
    """Random pictures, the first ones given."""
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.rand(objects, views, 3, size, size, generator=generator) * 2 - 1
    alpha = (torch.rand(objects, views, size, size, generator=generator) > 0.5).float()
    known = (torch.arange(views) < given).expand(objects, views)
    return Views(pictures, alpha, known, torch.full((objects, views), 0.6), ring(objects, views, size))


def save_pipeline(folder: Path) -> Path:
    """A Stable Diffusion pipeline of a few channels with random weights, as diffusers saves them."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(4, 8),
        layers_per_block=1,
        sample_size=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=8,
        norm_num_groups=2,
        attention_head_dim=(2, 4),
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=2,
    )
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    letters = [*"abcdefghijklmnopqrstuvwxyz", *(f"{letter}</w>" for letter in "abcdefghijklmnopqrstuvwxyz")]
    words = {word: i for i, word in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(words))
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    config = transformers.CLIPTextConfig(
        vocab_size=len(words), hidden_size=8, intermediate_size=16, num_attention_heads=2, num_hidden_layers=1
    )
    transformers.CLIPTextModel(config).save_pretrained(folder / "text_encoder")
    return folder
