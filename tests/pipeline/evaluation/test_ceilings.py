"""What splats of the truth can show."""

import pytest
import torch

from gen3d.pipeline.evaluation.ceilings import shares
from gen3d.pipeline.objects.views import object_cameras
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.rendering import rasterize


def test_splats_fill_what_shows_of_them():
    turns, sizes = torch.tensor([[1.0, 0, 0, 0]]).repeat(2, 1), torch.full((2, 3), 0.1)
    means, black = torch.tensor([[0.0, 0, 0.2], [0.0, 0, -0.2]]), torch.full((2, 1, 3), -9.0)
    pair, front = Gaussians(means, sizes, turns, torch.tensor([0.9, 0.9]), black), object_cameras([0.0], [0.0], 64)
    behind = pair.select(torch.tensor([1]))

    def covered(splats):
        return pytest.approx(float(rasterize(splats, front).alpha.sum()), rel=1e-4)

    both = shares(pair, front)
    assert float(both.sum()) == covered(pair)
    assert float(shares(behind, front).sum()) == covered(behind)
    assert both[1] < 0.6 * shares(behind, front)[0] < both[0]
