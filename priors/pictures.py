"""Pictures as tokens: what picture-conditioned priors are told."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from gen3d.errors import BadInput
from gen3d.priors.multiview.generate import GivenViews
from gen3d.priors.multiview.network import MultiviewNetwork, Views
from gen3d.priors.multiview.shipped import shipped_model
from gen3d.priors.text import Encoded

SHIPPED = "dsplats"  # the name of the shipped network's encoder in settings


def reads_pictures(encoder: str) -> bool:
    """Whether an encoder of this name is one of pictures: that of the shipped multiview network, or of another one's file."""
    return encoder == SHIPPED or encoder.endswith(".safetensors")


class PictureEncoder(nn.Module):
    """The coarsest features of a multiview network that is shown one picture: it had to learn what objects are.

    Args:
        network: of pixels.
    """

    def __init__(self, network: MultiviewNetwork) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.width = network.settings.channels[-1]
        self.size = network.settings.size

    @torch.no_grad()
    def forward(self, given: GivenViews) -> Encoded:
        """A token for each cell of the coarsest grid, and their mean as a unit vector.

        Args:
            given: one view of each object `[b, 1]`, of the network's size.
        """
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
        return Encoded(tokens, mask, functional.normalize(tokens.mean(1), dim=-1))


def load_picture_encoder(name: str) -> PictureEncoder:
    """The encoder of a name for which `reads_pictures` holds.

    Raises:
        MissingWeights: this build ships no network.
        BadInput: the file is no network of pixels.
    """
    model = shipped_model("" if name == SHIPPED else name)
    if model.encode is not None:
        raise BadInput(f"{name} is a network of latents; pictures are read by networks of pixels")
    return PictureEncoder(model.network)
