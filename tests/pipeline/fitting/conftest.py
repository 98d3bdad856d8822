import pytest
import torch

from gen3d.pipeline.scenes.scene import Scene, View
from gen3d.renderers.cameras import orbit
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.mesh import PointCloud
from gen3d.renderers.rendering import rasterize


def make_scene(count: int = 120, size: int = 40, views: int = 8, alpha: bool = False) -> Scene:
    """Renders of random coloured blobs from all around, the first one held out."""
    generator = torch.Generator().manual_seed(0)
    truth = Gaussians(
        means=torch.randn(count, 3, generator=generator) * 0.3,
        scales=torch.full((count, 3), 0.08),
        quats=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1),
        opacities=torch.full((count,), 0.8),
        sh=torch.rand(count, 1, 3, generator=generator) * 2 - 1,
    )
    cameras = orbit(torch.arange(views) * 360 / views, torch.full((views,), 20.0), radius=2.5, fov=49.0, width=size, height=size)
    drawn = rasterize(truth, cameras, backend="reference")
    straight = drawn.rgb / drawn.alpha[..., None].clamp_min(1e-3) if alpha else drawn.rgb
    images = (straight.clamp(0, 1) * 255).round().byte()
    alphas = (drawn.alpha * 255).round().byte()
    photos = [View(f"{i}.png", images[i], alphas[i] if alpha else None, None, cameras.select([i])) for i in range(views)]
    noisy = truth.means + 0.02 * torch.randn(count, 3, generator=generator)
    return Scene(tuple(photos[1:]), tuple(photos[:1]), PointCloud(noisy, torch.full((count, 3), 0.5)), torch.eye(4, dtype=torch.float64))


@pytest.fixture(scope="session")
def scene() -> Scene:
    return make_scene()


@pytest.fixture(scope="session")
def cut_out() -> Scene:
    return make_scene(alpha=True)
