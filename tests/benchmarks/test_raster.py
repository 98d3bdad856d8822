"""Time of one picture and of one picture with its gradients; run by `make bench`."""

import pytest
import torch
from raster_scenes import Workload

from gen3d.renderers.similarity import l1_ssim

SCENES = {
    "10k splats, 128 px": (10_000, 128, 3, 0),
    "50k splats, 256 px": (50_000, 256, 3, 0),
    "200k splats, 512 px": (200_000, 512, 3, 0),
    "50k splats, 384 px, degree 3": (50_000, 384, 3, 3),
    "2k large splats, 512 px": (2_000, 512, 40, 0),
}


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("kind", ["forward", "forward_backward"])
def test_rasterize(benchmark, scene, kind):
    benchmark.group = f"rasterize {scene}"
    benchmark(getattr(Workload(*SCENES[scene]), kind))


def test_l1_ssim(benchmark):
    targets = torch.rand(1, 288, 384, 3, generator=torch.Generator().manual_seed(0))

    def step():
        images = (1 - targets).requires_grad_()
        l1, ssim = l1_ssim(images, targets)
        (0.8 * l1 - 0.2 * ssim).backward()

    benchmark(step)
