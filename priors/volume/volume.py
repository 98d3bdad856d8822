"""Splats at the nodes of a grid, so that 3D convolutions can make them (GVGEN's GaussianVolume, 2403.12957).

Node i of N along an axis stands at i / (N - 1) - 1/2; each holds one splat whose centre is the node plus an offset. Two forms: 14 channels
as splats are fitted, and 13 as they are generated, with the rotation as three angles (`polar`).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from gen3d.priors.volume.polar import from_polar, to_polar
from gen3d.renderers.gaussians import Gaussians

OFFSET, COLOR, SCALE, QUAT, OPACITY = slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 13), 13
ANGLES, LOGIT = slice(9, 12), 12  # of the 13 channels; the others are the same
CHANNELS, GENERATED = 14, 13
REACH = 1.5  # cells that a splat may be away from its node
FAINT, EMPTY = -5.0, -7.0  # logits of the opacity: below the first a splat is nothing, and the second is that of nodes without one
THINNEST = 0.1  # deviation of splats in cells, and of those that are nothing
LOWEST = (*(-REACH,) * 3, *(-2.0,) * 3, *(-6.0,) * 3, *(-1.0,) * 3, EMPTY)  # of what is generated, offsets in cells
HIGHEST = (*(REACH,) * 3, *(5.0,) * 3, *(-2.0,) * 3, *(1.0,) * 3, 7.0)


@dataclass(frozen=True, slots=True)
class GaussianVolume:
    """The splats of objects.

    Attributes:
        values: `[*b, 14, n, n, n]`, axes x, y, z: offset, colour as a harmonic of degree 0, logarithms of scales, quaternion (wxyz), logit
            of the opacity.
    """

    values: Float[Tensor, "*b 14 n n n"]

    def __post_init__(self) -> None:
        shape = tuple(self.values.shape[-4:])
        if len(shape) < 4 or shape[0] != CHANNELS or len(set(shape[1:])) != 1 or shape[1] < 2:
            raise ValueError(f"a volume has shape {tuple(self.values.shape)}; it must end with ({CHANNELS}, n, n, n), n at least 2")

    @property
    def size(self) -> int:
        """Nodes along a side."""
        return self.values.shape[-1]

    def gaussians(self) -> Gaussians:
        """All splats, `[*b, n^3]`, those that are nothing among them."""
        flat = self.values.flatten(-3).movedim(-2, -1)
        means = nodes(self.size).to(flat) + flat[..., OFFSET]
        quats = functional.normalize(flat[..., QUAT], dim=-1, eps=1e-6)
        return Gaussians(means, flat[..., SCALE].exp(), quats, flat[..., OPACITY].sigmoid(), flat[..., None, COLOR])

    @staticmethod
    def of_splats(splats: Gaussians, homes: Int[Tensor, " m"], size: int) -> "GaussianVolume":
        """The volume of one object's splats of degree 0, each at a node of its own; other nodes hold nothing.

        Args:
            splats: of the object.
            homes: their nodes, x slowest.
            size: nodes along a side.
        """
        values = nothing(size)
        values[homes, OFFSET] = splats.means - nodes(size)[homes]
        values[homes, COLOR], values[homes, SCALE], values[homes, QUAT] = splats.sh[:, 0], splats.scales.log(), splats.quats
        values[homes, OPACITY] = splats.opacities.clamp(1e-6, 1 - 1e-6).logit()
        return GaussianVolume(values.T.reshape(CHANNELS, size, size, size))

    def generated(self) -> Float[Tensor, "*b 13 n n n"]:
        """The form that networks make, within its bounds."""
        flat = self.values.movedim(-4, -1)
        scales, angles = to_polar(flat[..., SCALE].exp(), flat[..., QUAT])
        parts = [flat[..., OFFSET], flat[..., COLOR], scales.log(), angles, flat[..., OPACITY, None]]
        return bounded(torch.cat(parts, -1).movedim(-1, -4))

    @staticmethod
    def of_generated(values: Float[Tensor, "*b 13 n n n"]) -> "GaussianVolume":
        """The volume of what a network made; values beyond the bounds are clamped."""
        flat = bounded(values).movedim(-4, -1)
        parts = [flat[..., OFFSET], flat[..., COLOR], flat[..., SCALE], from_polar(flat[..., ANGLES]), flat[..., LOGIT, None]]
        return GaussianVolume(torch.cat(parts, -1).movedim(-1, -4))


def nothing(size: int) -> Float[Tensor, "n3 14"]:
    """The values of nodes that hold nothing."""
    values = torch.zeros(size**3, CHANNELS)
    values[:, SCALE], values[:, QUAT.start], values[:, OPACITY] = math.log(THINNEST / (size - 1)), 1.0, EMPTY
    return values


def nodes(size: int) -> Float[Tensor, "n3 3"]:
    """Where the nodes stand, x slowest, in [-1/2, 1/2]."""
    line = torch.linspace(-0.5, 0.5, size)
    return torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).flatten(0, 2)


def mirrored(volume: GaussianVolume) -> GaussianVolume:
    """The volume seen in a mirror at x = 0."""
    values = volume.values.flip(-3).clone()
    signs = torch.ones(CHANNELS).to(values)
    signs[[OFFSET.start, QUAT.start + 2, QUAT.start + 3]] = -1
    return GaussianVolume(values * signs[:, None, None, None])


def visible(gaussians: Gaussians) -> Gaussians:
    """One object's splats without those that are nothing."""
    kept = gaussians.opacities.clamp(1e-9, 1 - 1e-9).logit() > FAINT
    return Gaussians(*(getattr(gaussians, name)[kept] for name in ("means", "scales", "quats", "opacities", "sh")))


def bounded(values: Float[Tensor, "*b 13 n n n"]) -> Float[Tensor, "*b 13 n n n"]:
    """Clamped channel by channel to what generated volumes may hold."""
    lowest, highest = (each.to(values)[:, None, None, None] for each in bounds(values.shape[-1]))
    return values.clamp(lowest, highest)


def bounds(size: int) -> tuple[Float[Tensor, " 13"], Float[Tensor, " 13"]]:
    """The lowest and highest values of the channels of generated volumes with so many nodes along a side."""
    lowest, highest = torch.tensor(LOWEST), torch.tensor(HIGHEST)
    for each in (lowest, highest):
        each[OFFSET] /= size - 1
    return lowest, highest


@dataclass(frozen=True, slots=True)
class Statistics:
    """Means and deviations of the channels of volumes, such as the 13 over the splats of a library that are something.

    Attributes:
        mean: `[c]`.
        std: `[c]`, above 0.
    """

    mean: Float[Tensor, " c"]
    std: Float[Tensor, " c"]

    def normalise(self, values: Float[Tensor, "*b c n n n"]) -> Float[Tensor, "*b c n n n"]:
        """To mean 0 and deviation 1."""
        return (values - self._wide(self.mean, values)) / self._wide(self.std, values)

    def restore(self, values: Float[Tensor, "*b c n n n"]) -> Float[Tensor, "*b c n n n"]:
        """What `normalise` was given."""
        return values * self._wide(self.std, values) + self._wide(self.mean, values)

    @staticmethod
    def _wide(numbers: Tensor, like: Tensor) -> Tensor:
        return numbers.to(like)[:, None, None, None]
