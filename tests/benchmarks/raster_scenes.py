"""Random clouds of splats for the rasterizer's benchmarks."""

import torch

from gen3d.renderers.cameras import orbit
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.rendering import rasterize

FOV = 49.0
DISTANCE = 2.5


class Workload:
    """A cloud in the unit ball, one view of it, and a random gradient of the picture.

    Args:
        count: splats.
        side: pixels of the square image.
        radius: typical 3-sigma radius on the screen, pixels.
        degree: of the harmonics.
    """

    def __init__(self, count, side, radius=3.0, degree=0):
        generator = torch.Generator().manual_seed(count + side)

        def normal(*shape):
            return torch.randn(*shape, generator=generator)

        means = torch.nn.functional.normalize(normal(count, 3), dim=-1) * torch.rand(count, 1, generator=generator).pow(1 / 3)
        camera = orbit(torch.tensor([35.0]), torch.tensor([20.0]), radius=DISTANCE, fov=FOV, width=side, height=side)
        focal = camera.intrinsics[0, 0, 0].item()
        self.cameras = camera
        self.splats = Gaussians(
            means=means,
            scales=radius / 3 * DISTANCE / focal * (0.4 * normal(count, 3)).exp(),
            quats=normal(count, 4),
            opacities=0.1 + 0.8 * torch.rand(count, generator=generator),
            sh=0.3 * normal(count, (degree + 1) ** 2, 3),
        )
        self.upstream = normal(1, side, side, 3) / side**2

    @torch.no_grad()
    def forward(self):
        return rasterize(self.splats, self.cameras).rgb

    def forward_backward(self):
        names = ("means", "scales", "quats", "opacities", "sh")
        leaves = {name: getattr(self.splats, name).detach().requires_grad_() for name in names}
        rasterize(Gaussians(**leaves), self.cameras).rgb.backward(self.upstream)
        return leaves
