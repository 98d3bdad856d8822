"""What 3D U-Nets are made of: residual blocks and attention (the blocks of latent diffusion, in three dimensions)."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from gen3d.priors.layers import silent

PERIOD = 10_000.0  # the longest of the waves that tell a time
HALVED = 3  # cells along a side from which bfloat16's gradients are right on CPUs


class Convolution(nn.Conv3d):
    """A convolution, in full precision on the few cells for which CPUs cannot do it in half.

    oneDNN's bfloat16 kernel for gradients of weights adds memory that nobody wrote to where the grid has two cells along a side; what
    stands in it decides whether a training goes on or ends with numbers that are not finite.
    """

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b o d h w"]:
        """Features of the same grid, or of one that is coarser by the stride."""
        if x.device.type == "cpu" and min(x.shape[2:]) < HALVED:
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float())
        return super().forward(x)


class Residual(nn.Module):
    """Two convolutions beside a shortcut; what is told of time and text shifts and scales between them."""

    def __init__(self, inputs: int, outputs: int, told: int, groups: int) -> None:
        super().__init__()
        self.before, self.first = nn.GroupNorm(math.gcd(groups, inputs), inputs), Convolution(inputs, outputs, 3, padding=1)
        self.between, self.second = nn.GroupNorm(groups, outputs), silent(Convolution(outputs, outputs, 3, padding=1))
        self.told = nn.Linear(told, 2 * outputs)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv3d(inputs, outputs, 1)

    def forward(self, x: Float[Tensor, "b c d h w"], told: Float[Tensor, "b t"]) -> Float[Tensor, "b o d h w"]:
        """Features of the same grid."""
        scale, shift = self.told(functional.silu(told))[:, :, None, None, None].chunk(2, 1)
        y = self.first(functional.silu(self.before(x)))
        y = self.second(functional.silu(self.between(y) * (1 + scale) + shift))
        mixed: Tensor = self.shortcut(x) + y
        return mixed


class Attention(nn.Module):
    """Cells look at each other, then at the words, then each thinks for itself."""

    def __init__(self, width: int, head: int, text: int, groups: int) -> None:
        super().__init__()
        self.heads = width // head
        self.norm = nn.GroupNorm(groups, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.own, self.own_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.query, self.words, self.words_out = nn.Linear(width, width), nn.Linear(text, 2 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.out = silent(nn.Conv3d(width, width, 1))

    def forward(
        self, x: Float[Tensor, "b c d h w"], tokens: Float[Tensor, "b n t"], mask: Bool[Tensor, "b n"]
    ) -> Float[Tensor, "b c d h w"]:
        """Features of the same grid."""
        cells = self.norm(x).flatten(2).mT
        cells = cells + self.own_out(self._seen(*self.own(self.norms[0](cells)).chunk(3, -1)))
        keys, values = self.words(tokens).chunk(2, -1)
        cells = cells + self.words_out(self._told(self.query(self.norms[1](cells)), keys, values, mask[:, None, None]))
        cells = cells + self.narrow(functional.gelu(self.wide(self.norms[2](cells))))
        mixed: Tensor = x + self.out(cells.mT.reshape(x.shape))
        return mixed

    def _seen(self, *parts: Tensor) -> Tensor:
        q, k, v = self._split(*parts)
        return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    def _told(self, query: Tensor, keys: Tensor, values: Tensor, mask: Bool[Tensor, "b 1 1 n"]) -> Tensor:
        # Words are few: the fused kernel saves no memory here, and goes back eight times slower in bfloat16 on CPUs.
        q, k, v = self._split(query, keys, values)
        scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~mask, -torch.inf)
        return (scores.softmax(-1).to(v.dtype) @ v).transpose(1, 2).flatten(2)

    def _split(self, *parts: Tensor) -> list[Tensor]:
        return [each.unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in parts]


def waves(times: Float[Tensor, " b"], width: int) -> Float[Tensor, "b width"]:
    """Times in [0, 1] as sines and cosines of falling frequencies."""
    frequencies = torch.exp(-math.log(PERIOD) * torch.arange(width // 2, device=times.device) / (width // 2))
    angles = 1000 * times.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], -1)


def folded(x: Float[Tensor, "b c n n n"], patch: int) -> Tensor:
    """Cells of `patch` nodes along a side, their nodes as channels."""
    b, c, n = x.shape[:3]
    m = n // patch
    parts = x.reshape(b, c, m, patch, m, patch, m, patch)
    return parts.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, c * patch**3, m, m, m)


def unfolded(x: Tensor, patch: int) -> Tensor:
    """What `folded` was given."""
    b, c, m = x.shape[:3]
    parts = x.reshape(b, c // patch**3, patch, patch, patch, m, m, m)
    return parts.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, -1, m * patch, m * patch, m * patch)
