import math

import pytest
import torch

from gen3d.renderers.cameras import orbit
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.mesh import Mesh


def random_splats(count: int, degree: int, seed: int = 0) -> Gaussians:
    """Splats inside the unit ball, with base colours within [0, 1]."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    means = torch.nn.functional.normalize(normal(count, 3), dim=-1) * torch.rand(count, 1, generator=generator)
    return Gaussians(
        means=means,
        scales=(0.6 * normal(count, 3) - 2.5).exp(),
        quats=torch.nn.functional.normalize(normal(count, 4), dim=-1),
        opacities=torch.rand(count, generator=generator) * 0.94 + 0.05,
        sh=torch.cat([(0.7 * normal(count, 1, 3)).clamp(-1.7, 1.7), 0.15 * normal(count, (degree + 1) ** 2 - 1, 3)], 1),
    )


@pytest.fixture(scope="session")  # hypothesis asks that fixtures do not change between examples
def splats():
    return random_splats


@pytest.fixture(scope="session")
def psnr():
    """PSNR between renders of two sets of splats from around, in dB."""
    from gen3d.renderers.rendering import rasterize

    cameras = orbit(torch.tensor([0.0, 100.0, 230.0]), torch.tensor([10.0, 30.0, -20.0]), radius=3.0, fov=45.0, width=48, height=40)

    def compare(left: Gaussians, right: Gaussians) -> float:
        a, b = (rasterize(g, cameras, backend="reference").rgb.clamp(0, 1).double() for g in (left, right))
        assert a.std() > 0.05, "an empty picture compares well with everything"
        return -10 * math.log10(max(float((a - b).square().mean()), 1e-20))

    return compare


def box_mesh(*looks: str) -> Mesh:
    """A closed box that looks different from every side and in every mirror: an atlas has cut it along its edges.

    `looks` are any of "texture", "cutout" and "colors".
    """
    corner = torch.tensor([[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(8)]).float()
    places = (corner - 0.5) * torch.tensor([0.5, 1.0, 0.7])
    places[7] += torch.tensor([0.3, 0.2, 0.1])  # the corner at the right, on top, in front
    sides = torch.tensor([[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]])
    square = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    uvs = torch.stack([(square + torch.tensor([i % 3, i // 3])) / torch.tensor([3.0, 2.0]) for i in range(6)]).reshape(-1, 2)
    faces = torch.cat([torch.tensor([[0, 1, 2], [0, 2, 3]]) + 4 * i for i in range(6)])
    generator = torch.Generator().manual_seed(0)
    texture = torch.randint(0, 256, (8, 16, 4 if "cutout" in looks else 3), generator=generator) / 255
    colors = torch.randint(0, 256, (24, 3), generator=generator) / 255
    textured = bool({"texture", "cutout"} & set(looks))
    return Mesh(
        places[sides].reshape(-1, 3),
        faces,
        uvs if textured else None,
        texture if textured else None,
        colors if "colors" in looks else None,
    )


@pytest.fixture(scope="session")
def box():
    return box_mesh
