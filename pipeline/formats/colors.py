"""The sRGB transfer function: between what displays are sent, which gen3d computes in, and linear light, which glTF factors are in."""

import torch
from jaxtyping import Float
from torch import Tensor


def display_to_linear(color: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Display-referred sRGB in [0, 1] as linear light in [0, 1]."""
    return torch.where(color <= 0.04045, color / 12.92, ((color.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4)


def linear_to_display(light: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Linear light in [0, 1] as display-referred sRGB in [0, 1]."""
    return torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clamp_min(0.0031308) ** (1 / 2.4) - 0.055)
