"""Pictures as tokens: what picture-conditioned priors are told."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from gen3d.errors import BadInput
from gen3d.optional import require
from gen3d.priors.hub import reading
from gen3d.priors.layers import imagenet
from gen3d.priors.multiview.views import GivenViews
from gen3d.priors.told import Told

if TYPE_CHECKING:
    from gen3d.priors.multiview.network import MultiviewNetwork

SHIPPED = "dsplats"  # the name of the shipped network's encoder in settings
VISION = ("dinov2", "dinov3")  # what names of a hub's encoders of pictures begin with
PATCHES, TOKENS = 16, 8  # along each side of a picture: those that a hub's encoder sees, and the means of them that are kept


def reads_pictures(encoder: str) -> bool:
    """Whether an encoder of this name is one of pictures: of the shipped multiview network, of another one's file, or a hub's DINO.

    Folders are known by their names, such as dinov2-small.
    """
    return encoder == SHIPPED or encoder.endswith(".safetensors") or Path(encoder).name.startswith(VISION)


class PictureEncoder(nn.Module):
    """The coarsest features of a multiview network that is shown one picture: it had to learn what objects are.

    Args:
        network: of pixels.
    """

    def __init__(self, network: "MultiviewNetwork") -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.width = network.settings.channels[-1]
        self.size = network.settings.size

    @torch.no_grad()
    def forward(self, given: GivenViews) -> Told:
        """A token for each cell of the coarsest grid, and their mean as a unit vector.

        Args:
            given: one view of each object `[b, 1]`, of the network's size.
        """
        from gen3d.priors.multiview.network import Views

        b, found = len(given.alpha), list[Tensor]()
        unet: Any = self.network.unet
        handle = unet.mid_block.register_forward_hook(lambda module, inputs, output: found.append(output))
        try:
            known = torch.ones(b, 1, dtype=torch.bool, device=given.alpha.device)
            self.network(Views(given.pictures, given.alpha, known, torch.zeros_like(known, dtype=torch.float32), given.cameras))
        finally:
            handle.remove()
        tokens: Float[Tensor, "b n d"] = found[0].flatten(2).mT.float()
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return Told(tokens, mask, functional.normalize(tokens.mean(1), dim=-1))


class HubPictures(nn.Module):
    """A vision transformer of a hub's name or a folder, such as facebook/dinov2-small (Oquab et al. 2023).

    Args:
        source: its last part begins with dinov2 or dinov3.

    Raises:
        MissingDependency: transformers is not installed.
        BadInput: there is no such model.
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        transformers = require("transformers", extra="text", purpose="other picture encoders than the shipped one")
        with reading(source, "picture encoder", "dsplats, a hub's DINO or a folder"):
            self.model = transformers.AutoModel.from_pretrained(source).eval().requires_grad_(False)
            config = self.model.config
            self.width, self.size = int(config.hidden_size), PATCHES * int(config.patch_size)

    @torch.no_grad()
    def forward(self, given: GivenViews) -> Told:
        """A token for each four patches, and their mean as a unit vector.

        Args:
            given: one view of each object `[b, 1]`, of any size.
        """
        pictures = functional.interpolate(given.pictures[:, 0] / 2 + 0.5, (self.size, self.size), mode="bicubic", antialias=True)
        seen = self.model(pixel_values=imagenet(pictures.clamp(0, 1))).last_hidden_state[:, -(PATCHES**2) :]
        grid = seen.mT.reshape(len(seen), -1, PATCHES, PATCHES)
        tokens: Float[Tensor, "b n d"] = functional.adaptive_avg_pool2d(grid, TOKENS).flatten(2).mT.float()
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return Told(tokens, mask, functional.normalize(tokens.mean(1), dim=-1))


def load_picture_encoder(name: str) -> PictureEncoder | HubPictures:
    """The encoder of a name for which `reads_pictures` holds.

    Raises:
        MissingWeights: this build ships no network.
        MissingDependency: it needs transformers.
        BadInput: the file is no network of pixels, or there is no such model.
    """
    if name != SHIPPED and not name.endswith(".safetensors"):
        return HubPictures(name)
    from gen3d.priors.multiview.shipped import shipped_model

    model = shipped_model(picture_file(name))
    if model.encode is not None:
        raise BadInput(f"{name} is a network of latents; pictures are read by networks of pixels")
    return PictureEncoder(model.network)


def picture_file(name: str) -> Path:
    """The file of the multiview network of this name.

    Raises:
        MissingWeights: this build ships none.
    """
    from gen3d.priors.multiview.shipped import network_file

    return network_file("" if name == SHIPPED else name)
