"""A mesh from nothing but the splats: a level set of their summed density, as DreamGaussian (Tang et al. 2023) extracts it.

Coarser than fusing depth, but it needs no views, no renderer and no optional package.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from gen3d.errors import BadInput
from gen3d.pipeline.formats.contents import MIN_OPACITY, finite
from gen3d.pipeline.meshing.isosurface import isosurface
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.harmonics import sh0_to_rgb
from gen3d.renderers.mesh import Mesh
from gen3d.renderers.quaternions import quaternion_to_matrix

FEWEST = 4  # splats that can enclose a volume
REACH = 3.0  # standard deviations around a splat that are evaluated; beyond, less than 1.1 % of its opacity is left
THINNEST = 0.5  # cells: a sheet between two layers of samples still has exp(-1/2) = 0.61 of its density at one of them
# The level, in units of a single opaque splat or, in assets of faint splats, of the typical density at their centres. It must stay
# below THINNEST's 0.61. DreamGaussian's fixed 1 loses assets of few or faint splats. Six fits and 24 files were tried with 0.2 to 0.5:
# lower levels swell what is thin by up to a cell, higher ones leave pinholes between sparse splats.
LEVEL = 0.4
TAIL = 0.02  # of the opacity on either side that does not say how large the asset is
FENCE = 0.5  # of the size without tails: what lies farther outside is a floater
MARGIN = 2  # samples around the asset, for splats that are wider than they look
FAINT = 1e-3  # of the level: what counts as empty, because zero has no logarithm
GAP = 1  # samples: leaks in a shell up to twice as wide are sealed
AT_ONCE = 1_000_000  # samples of splats that are evaluated together, about 150 MB


@dataclass(frozen=True, slots=True)
class _Lattice:
    """Where the density is sampled."""

    origin: Float[Tensor, " 3"]
    spacing: float
    shape: tuple[int, int, int]


def density_mesh(gaussians: Gaussians, *, resolution: int = 128) -> Mesh:
    """The surface of the splats' density, with vertex colours of degree 0.

    The density is the sum over splats of opacity times exp(-d²/2), d in standard deviations. The level follows from the density at
    the splats' centres, so the surface lies one to two standard deviations, at least half a sample, outside the centres.
    Cavities are filled: only what can be seen from outside remains. Splats far from most of the opacity are left out.

    Args:
        gaussians: unbatched splats `[n]`.
        resolution: samples along the longest side of the asset, at least 8; memory grows with its third power, at 128 some 500 MB.

    Returns:
        A closed mesh in the frame of the splats.

    Raises:
        BadInput: there are fewer than four splats that can be seen, a number is not finite, or the splats have no
            size or an absurd one.
        ValueError: the splats are batched or the resolution is less than 8.
    """
    if gaussians.batch_shape:
        raise ValueError(f"the splats have the batch shape {tuple(gaussians.batch_shape)}; a mesh shows one scene, so index the batch")
    if resolution < 8:
        raise ValueError(f"the resolution is {resolution}; a mesh needs at least 8 samples along its longest side")
    splats = drawable(gaussians.detach().to(torch.float32))
    splats, lattice = _placed(splats, resolution)
    field = _accumulated(splats, lattice)
    level = _level(splats, field[..., 3:], lattice)
    # The logarithm of a Gaussian is smooth where the Gaussian is steep: interpolating it leaves no terraces.
    solid = (_solid(field[..., 3], level) / level).clamp_min(FAINT).log()
    vertices, faces = isosurface(solid, 0.0, lattice.origin - (1 + GAP) * lattice.spacing, lattice.spacing)
    weighted = _interpolated(field, vertices, lattice)
    return Mesh(vertices, faces, colors=(weighted[:, :3] / weighted[:, 3:].clamp_min(1e-12)).clamp(0, 1))


def drawable(gaussians: Gaussians) -> Gaussians:
    """The splats that are opaque enough to be seen.

    Raises:
        BadInput: some are not finite, or there are too few for a surface.
    """
    bad = int((~finite(gaussians)).sum())
    if bad:
        raise BadInput(f"{bad:,} of {gaussians.count:,} splats have numbers that are not finite; drop them first")
    seen = gaussians.opacities >= MIN_OPACITY
    if int(seen.sum()) < FEWEST:
        raise BadInput(
            f"{int(seen.sum())} of {gaussians.count:,} splats are opaque enough to be seen and a surface needs at least {FEWEST}; "
            "is this the file that you meant?"
        )
    return gaussians.select(seen)


def _placed(splats: Gaussians, resolution: int) -> tuple[Gaussians, _Lattice]:
    """The splats without floaters and the lattice around them.

    The quantiles of opacity say where the asset is; it ends with the last splat that is not much farther out than they are.
    """
    # Half the reach: a single splat is below the level there.
    extent = REACH / 2 * splats.covariances.diagonal(dim1=-2, dim2=-1).sqrt()
    lower, upper = splats.means - extent, splats.means + extent
    first, last = _quantile(lower, splats.opacities, TAIL), _quantile(upper, splats.opacities, 1 - TAIL)
    margin = FENCE * (last - first).amax()
    first, last = first - margin, last + margin
    kept = ((splats.means >= first) & (splats.means <= last)).all(-1)
    low, high = torch.maximum(first, lower[kept].amin(0)), torch.minimum(last, upper[kept].amax(0))
    size = float((high - low).amax())
    if not 1e-12 < size < 1e12:
        raise BadInput(f"the splats extend over {size:.3g} scene units, which is no asset; scale them to about one unit")
    spacing = size / (resolution - 1 - 2 * MARGIN)
    counts = ((high - low) / spacing - 1e-3).ceil().long() + 1 + 2 * MARGIN
    origin = (low + high - spacing * (counts - 1)) / 2
    x, y, z = counts.tolist()
    return splats.select(kept), _Lattice(origin, spacing, (x, y, z))


def _quantile(values: Float[Tensor, "n c"], weights: Float[Tensor, " n"], share: float) -> Float[Tensor, " c"]:
    """The smallest value of each column that, with all below it, has this share of the weight."""
    ordered, order = values.sort(0)
    reached = weights[order].double().cumsum(0)
    index = (reached < share * reached[-1]).sum(0)
    return ordered.gather(0, index[None])[0]


def _accumulated(splats: Gaussians, lattice: _Lattice) -> Float[Tensor, "x y z 4"]:
    """Sums of density times colour, and of density, over windows of samples around the splats."""
    means = (splats.means - lattice.origin) / lattice.spacing
    widened = (splats.scales / lattice.spacing).clamp_min(THINNEST)
    rotations = quaternion_to_matrix(splats.quats)
    extent = REACH * (rotations.square() @ widened.square()[..., None])[..., 0].sqrt()
    shape = torch.tensor(lattice.shape, device=means.device)
    low, high = (means - extent).ceil().long().clamp_min(0), torch.minimum((means + extent).floor().long() + 1, shape)
    window = torch.minimum(_rounded(high - low), shape)
    first = torch.minimum(low, shape - window)
    # With h = (x, 1) the exponent -d²/2 is the quadratic form hᵀ Q h: one matrix product for a whole batch.
    center = (window - 1) / 2
    factor = rotations / widened[:, None]
    factor = torch.cat([factor, ((first + center - means)[:, None] @ factor)], 1)
    forms = -(factor @ factor.mT).flatten(1) / 2
    stride = torch.stack([shape[1] * shape[2], shape[2], shape.new_ones(())])
    start = (first * stride).sum(-1)
    rows = torch.cat([sh0_to_rgb(splats.sh[:, 0]), torch.ones_like(means[:, :1])], 1) * splats.opacities[:, None]
    field = means.new_zeros(int(shape.prod()), 4)
    sizes, group = torch.unique(window, dim=0, return_inverse=True)
    for number, size in enumerate(sizes):
        members = (group == number).nonzero()[:, 0]
        for steps in torch.cartesian_prod(*(torch.arange(n, device=means.device) for n in size.tolist())).split(AT_ONCE):
            places = functional.pad(steps - (size - 1) / 2, (0, 1), value=1.0)
            features = (places[:, :, None] * places[:, None]).flatten(1)
            for batch in members.split(max(1, AT_ONCE // len(steps))):
                density = (forms[batch] @ features.mT).clamp_max_(0).exp_()
                index = start[batch, None] + (steps * stride).sum(-1)
                field.index_add_(0, index.flatten(), (density[..., None] * rows[batch, None]).flatten(0, 1))
    return field.view(*lattice.shape, 4)


def _rounded(widths: Int[Tensor, "n 3"]) -> Int[Tensor, "n 3"]:
    """Up to the next of 4, 6, 8, 12, 16, 24 and so on, so that many splats share a window's size."""
    sizes = torch.tensor([base << power for power in range(24) for base in (4, 6)], device=widths.device)
    return sizes[torch.searchsorted(sizes, widths)]


def _level(splats: Gaussians, density: Float[Tensor, "x y z 1"], lattice: _Lattice) -> float:
    typical = _quantile(_interpolated(density, splats.means, lattice), splats.opacities, 0.5)
    return LEVEL * min(1.0, float(typical))


def _solid(density: Float[Tensor, "x y z"], level: float) -> Float[Tensor, "x y z"]:
    """The density inside a border of zeros, with cavities raised above the level.

    A cavity is what cannot be reached from outside, or only through gaps of a few samples: shells of sparse splats are leaky.
    """
    padded = functional.pad(density, (1 + GAP,) * 6)
    empty = (padded <= level).cpu().numpy()
    wide = ndimage.binary_erosion(empty, iterations=GAP, border_value=1)
    cavities = ndimage.binary_dilation(_unreached(wide), iterations=GAP, mask=empty)
    filled = torch.from_numpy(cavities | _unreached(empty & ~cavities)).to(padded.device)
    return torch.where(filled, 2 * level, padded)


def _unreached(empty: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """Empty samples without a way to the first one; diagonal steps count, so no edge of a tetrahedron leads out."""
    parts, _ = ndimage.label(empty, np.ones((3, 3, 3)))
    return empty & (parts != parts[0, 0, 0])


def _interpolated(field: Float[Tensor, "x y z c"], points: Float[Tensor, "n 3"], lattice: _Lattice) -> Float[Tensor, "n c"]:
    """Trilinear look-up; outside the lattice the border counts."""
    shape = points.new_tensor(lattice.shape)
    grid = (2 * ((points - lattice.origin) / lattice.spacing + 0.5) / shape - 1).flip(-1)
    sampled = functional.grid_sample(field.movedim(-1, 0)[None], grid[None, None, None], align_corners=False, padding_mode="border")
    return sampled[0, :, 0, 0].mT
