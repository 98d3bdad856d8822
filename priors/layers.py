"""What networks of all priors have."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels in [0, 1]


def silent(layer: nn.Module) -> nn.Module:
    """A layer that gives zeros until it has learned otherwise."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def imagenet(pictures: Float[Tensor, "*b 3 h w"]) -> Float[Tensor, "*b 3 h w"]:
    """Pictures in [0, 1] as networks want them that began with ImageNet."""
    mean, deviation = (torch.tensor(each).to(pictures)[:, None, None] for each in (MEAN, DEVIATION))
    return (pictures - mean) / deviation
