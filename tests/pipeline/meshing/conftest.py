import pytest
import torch

from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.harmonics import rgb_to_sh0
from gen3d.renderers.sphere import fibonacci_sphere


@pytest.fixture(scope="session")
def ball():
    """Opaque splats on a sphere of radius 1 around (3, 0, 0), coloured by their place."""
    directions = fibonacci_sphere(4_000).float()
    return Gaussians(
        means=directions + torch.tensor([3.0, 0, 0]),
        scales=torch.full((4_000, 3), 0.03),
        quats=torch.tensor([1.0, 0, 0, 0]).expand(4_000, 4),
        opacities=torch.full((4_000,), 0.95),
        sh=rgb_to_sh0((directions + 1) / 2)[:, None],
    )
