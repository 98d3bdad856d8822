import math

import pytest
import torch

from gen3d.renderers.cameras import orbit
from gen3d.renderers.gaussians import Gaussians


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
