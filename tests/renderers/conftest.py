import pytest
import torch

from gen3d.renderers.cameras import Cameras, orbit
from gen3d.renderers.gaussians import Gaussians


@pytest.fixture(scope="module")
def one_thread():
    """Small tensors gain nothing from threads, and lose much when the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def make_splats():
    """Random splats inside the unit cube, with colours away from the clamp at 0."""

    def make(count=12, *, degree=1, batch=(), dtype=torch.float64, seed=0, size=0.15, opacity=(0.2, 0.8)):
        generator = torch.Generator().manual_seed(seed)

        def uniform(*shape, low=0.0, high=1.0):
            return torch.rand(*batch, count, *shape, generator=generator, dtype=torch.float64) * (high - low) + low

        sh = 0.12 * uniform((degree + 1) ** 2, 3, low=-1)
        sh[..., 0, :] += 1.0
        splats = Gaussians(
            means=uniform(3, low=-0.5, high=0.5),
            scales=size * uniform(3, low=0.5, high=2),
            quats=uniform(4, low=-1),
            opacities=uniform(low=opacity[0], high=opacity[1]),
            sh=sh,
        )
        return splats.to(dtype)

    return make


@pytest.fixture(scope="session")
def make_cameras():
    """Views around the origin with an off-centre principal point and unequal focal lengths."""

    def make(views=2, *, width=20, height=16, dtype=torch.float64, fov=45.0):
        azimuths = torch.linspace(0, 250, views, dtype=dtype)
        cameras = orbit(azimuths, torch.full_like(azimuths, 20), radius=3, fov=fov, width=width, height=height)
        matrix = cameras.intrinsics + cameras.intrinsics.new_tensor([[0, 0, 0.8], [0, 1.5, -0.6], [0, 0, 0]])
        return Cameras(cameras.world_to_camera, matrix, width, height)

    return make
