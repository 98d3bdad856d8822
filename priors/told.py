"""What networks are told of objects, by sentences or by pictures."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Told:
    """Sentences or pictures, as their encoder understands them.

    Attributes:
        tokens: a vector for each piece of a word or of a picture, `[b, n, d]`.
        mask: which of them are there; sentences differ in length `[b, n]`.
        pooled: one unit vector for each `[b, d]`; what means alike has a large cosine.
    """

    tokens: Float[Tensor, "b n d"]
    mask: Bool[Tensor, "b n"]
    pooled: Float[Tensor, "b d"]

    def to(self, device: torch.device | str) -> "Told":
        """The same on another device."""
        return Told(self.tokens.to(device), self.mask.to(device), self.pooled.to(device))
