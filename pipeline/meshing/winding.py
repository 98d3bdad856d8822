"""How often a surface winds around the points of a lattice: 1 inside, 0 outside, in between where the surface has holes.

The generalised winding number (Jacobson, Kavan and Sorkine-Hornung 2013) as the solution of a Poisson equation (Kazhdan 2005): its
gradient vanishes but for the surface, where it is the normal that looks inwards. On a lattice that takes two Fourier transforms.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

STEP = 0.5  # samples along a face, in units of the lattice's spacing


def winding_numbers(points: Float[Tensor, "s 3"], areas: Float[Tensor, "s 3"], shape: tuple[int, int, int]) -> Float[Tensor, "x y z"]:
    """The winding number at the points of a lattice with spacing 1 and origin 0, smoothed over about one spacing.

    The lattice repeats itself for the transform, so leave some room around a surface with large holes.

    Args:
        points: samples of the surface, in lattice units, at least 1 from the border.
        areas: normal of the surface times the area that the sample stands for.
        shape: of the lattice.
    """
    stride = torch.tensor([shape[1] * shape[2], shape[2], 1])
    base = points.floor()
    part = points - base
    first = (base.long() * stride).sum(-1)
    flux = torch.zeros(math.prod(shape), 3)
    for corner in torch.cartesian_prod(*[torch.arange(2)] * 3):
        weight = torch.where(corner.bool(), part, 1 - part).prod(-1, keepdim=True)
        flux.index_add_(0, first + (corner * stride).sum(), weight * areas)
    flux = flux.view(*shape, 3)
    sources = sum((flux[..., axis].roll(1, axis) - flux[..., axis].roll(-1, axis)) / 2 for axis in range(3))
    spectrum = torch.fft.rfftn(sources)
    frequencies = [torch.fft.fftfreq(shape[0])[:, None, None], torch.fft.fftfreq(shape[1])[:, None], torch.fft.rfftfreq(shape[2])]
    x, y, z = (2 * torch.cos(2 * math.pi * frequency) - 2 for frequency in frequencies)
    laplacian = x + y + z
    laplacian[0, 0, 0] = 1
    winding = torch.fft.irfftn(spectrum / laplacian, s=shape)
    return winding - torch.stack([winding[0].mean(), winding[:, 0].mean(), winding[:, :, 0].mean()]).mean()


def surface_samples(vertices: Float[Tensor, "n 3"], faces: Int[Tensor, "f 3"]) -> tuple[Float[Tensor, "s 3"], Float[Tensor, "s 3"]]:
    """Points at most half a unit apart on every face, and the face's normal times the area that each stands for.

    Args:
        vertices: in lattice units.
        faces: any.
    """
    corners = vertices[faces]
    lengths = (corners - corners.roll(-1, 1)).norm(dim=-1)
    # Strips from the corner opposite of the shortest side, so that slivers need few.
    turn = (lengths.argmin(1, keepdim=True) + torch.tensor([2, 0, 1])) % 3
    apex, left, right = corners.gather(1, turn[..., None].expand(-1, -1, 3)).unbind(1)
    along = (lengths.amax(1) / STEP).ceil().clamp_min(1).long()
    across = (lengths.amin(1) / STEP).ceil().clamp_min(1).long()
    face = torch.repeat_interleave(along * across)
    number = torch.arange(len(face)) - torch.repeat_interleave((along * across).cumsum(0) - along * across, along * across)
    out = ((number // across[face] + 0.5) / along[face])[:, None]
    over = ((number % across[face] + 0.5) / across[face])[:, None]
    points = apex[face] + out * ((left - apex)[face] + over * (right - left)[face])
    doubled = torch.linalg.cross(left - apex, right - apex) / (along * across)[:, None]
    return points, out * doubled[face]
