"""LPIPS: a perceptual distance between pictures (Zhang et al., The Unreasonable Effectiveness of Deep Features, CVPR 2018)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from gen3d.errors import BadInput
from gen3d.priors.zoo import pull

# Mean and deviation of the pictures that the backbones were trained on, for pictures in [-1, 1].
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
PATIENCE = 10.0  # seconds that a job waits for a network that does not answer


@dataclass(frozen=True, slots=True)
class Backbone:
    """A chain of convolutions with a ReLU after each.

    Attributes:
        convs: channels out, kernel, stride and padding of each.
        pools: before which convolutions the picture is pooled by the maximum.
        pool: kernel of the pooling; its stride is 2.
        taps: the convolutions whose outputs are compared.
        smallest: side in pixels below which nothing is left to compare.
    """

    convs: tuple[tuple[int, int, int, int], ...]
    pools: tuple[int, ...]
    pool: int
    taps: tuple[int, ...]
    smallest: int


BACKBONES: Mapping[str, Backbone] = MappingProxyType(
    {
        # Krizhevsky, One weird trick (2014)
        "alex": Backbone(
            convs=((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1)),
            pools=(1, 2),
            pool=3,
            taps=(0, 1, 2, 3, 4),
            smallest=31,
        ),
        # Simonyan and Zisserman, configuration D (2015)
        "vgg": Backbone(
            convs=tuple((width, 3, 1, 1) for width in (64, 64, 128, 128, *[256] * 3, *[512] * 6)),
            pools=(2, 4, 7, 10),
            pool=2,
            taps=(1, 3, 6, 9, 12),
            smallest=16,
        ),
    }
)


class Lpips(nn.Module):
    """The distance as a module; weights are random until they are loaded.

    Args:
        net: alex or vgg.
    """

    def __init__(self, net: str = "alex") -> None:
        super().__init__()
        if net not in BACKBONES:
            raise ValueError(f"the LPIPS network {net!r} is not known; choose {', '.join(BACKBONES)}")
        self.backbone = BACKBONES[net]
        widths = [3, *(conv[0] for conv in self.backbone.convs)]
        self.convs = nn.ModuleList(
            nn.Conv2d(before, out, kernel, stride, padding)
            for before, (out, kernel, stride, padding) in zip(widths, self.backbone.convs, strict=False)
        )
        self.heads = nn.ParameterList(torch.rand(widths[tap + 1]) for tap in self.backbone.taps)

    def forward(self, images: Float[Tensor, "b h w 3"], others: Float[Tensor, "b h w 3"]) -> Float[Tensor, " b"]:
        """Distances of pairs of display-referred pictures in [0, 1]; 0 for equal ones, about 0.7 for unrelated ones.

        Raises:
            ValueError: the pictures' shapes differ, or they are smaller than the network can compare.
        """
        if images.shape != others.shape:
            raise ValueError(f"the pictures have the shapes {tuple(images.shape)} and {tuple(others.shape)}; they must be equal")
        if min(images.shape[1:3]) < self.backbone.smallest:
            size, smallest = tuple(images.shape[1:3]), self.backbone.smallest
            raise ValueError(f"the pictures have {size} pixels; LPIPS needs at least {smallest} along each side")
        total = images.new_zeros(len(images))
        for first, second, head in zip(self.features(images), self.features(others), self.heads, strict=True):
            total = total + torch.einsum("bchw,c->b", (first - second).square(), head) / first[0, 0].numel()
        return total

    def features(self, images: Float[Tensor, "b h w 3"]) -> list[Float[Tensor, "b c hc wc"]]:
        """The tapped layers, each pixel's vector brought to length 1."""
        shift, scale = images.new_tensor(SHIFT), images.new_tensor(SCALE)
        x = ((2 * images - 1 - shift) / scale).permute(0, 3, 1, 2)
        tapped = []
        for index, conv in enumerate(self.convs):
            if index in self.backbone.pools:
                x = functional.max_pool2d(x, self.backbone.pool, 2)
            x = functional.relu(conv(x))
            if index in self.backbone.taps:
                tapped.append(x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + 1e-10))
        return tapped


def load_lpips(net: str = "alex", *, weights: str | Path | None = None, root: Path | None = None, offline: bool | None = None) -> Lpips:
    """LPIPS with its published weights, frozen, float32 on the CPU.

    Args:
        net: alex or vgg.
        weights: a safetensors file instead of the published weights.
        root: the weights' cache; None for the usual one.
        offline: forbids the network; None asks the environment.

    Raises:
        MissingWeights: the weights are not in the cache and cannot be fetched.
        BadInput: the file does not fit the network.
        Gen3DError: the cache cannot be written.
    """
    module = Lpips(net)
    path = pull(weights or f"lpips-{net}", root=root, offline=offline, timeout=PATIENCE)
    try:
        from safetensors.torch import load_file

        module.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    except Exception as error:  # what a damaged file raises depends on where the damage is
        raise BadInput(f"{path} does not hold the weights of LPIPS {net}: {error}; delete it and pull them again") from error
    return module.eval().requires_grad_(False)
