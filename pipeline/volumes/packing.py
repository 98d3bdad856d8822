"""Volumes in few bytes: the nodes that hold something, in 8 bits a channel of the generated form."""

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from gen3d.priors.volume.volume import FAINT, GENERATED, LOGIT, GaussianVolume, bounds

LEVELS = 255


def pack(volume: GaussianVolume) -> tuple[Int[Tensor, " k"], UInt8[Tensor, "k 13"]]:
    """Numbers of the nodes that hold something, x slowest, rising, and what they hold between the bounds of each channel."""
    flat = volume.generated().flatten(1).T
    held = (flat[:, LOGIT] > FAINT).nonzero()[:, 0]
    lowest, highest = bounds(volume.size)
    return held.int(), (LEVELS * (flat[held] - lowest) / (highest - lowest)).round().to(torch.uint8)


def unpack(held: Int[Tensor, " k"], packed: UInt8[Tensor, "k 13"], size: int) -> Float[Tensor, "13 n n n"]:
    """The generated form; nodes that hold nothing have the lowest opacity, and 0 elsewhere."""
    lowest, highest = bounds(size)
    values = torch.zeros(size**3, GENERATED)
    values[:, LOGIT] = lowest[LOGIT]
    values[held.long()] = lowest + packed.float() / LEVELS * (highest - lowest)
    return values.T.reshape(GENERATED, size, size, size)
