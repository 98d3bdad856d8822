import math

import torch

from gen3d.renderers.sphere import fibonacci_sphere


def test_directions_are_even():
    points = fibonacci_sphere(500)
    assert torch.allclose(points.norm(dim=-1), torch.ones(500, dtype=torch.float64))
    assert points.mean(0).norm() < 1e-2
    # The mean of d dᵀ over the sphere is a third of the identity.
    assert torch.allclose(points.mT @ points / 500, torch.eye(3, dtype=torch.float64) / 3, atol=1e-3)
    nearest = torch.cdist(points, points).fill_diagonal_(9).amin(1)
    ideal = math.sqrt(8 * math.pi / (math.sqrt(3) * 500))  # on a hexagonal grid
    assert nearest.min() > 0.7 * ideal
    assert nearest.max() < 1.1 * ideal


def test_the_spiral_runs_down_from_the_top():
    points = fibonacci_sphere(9)
    assert (points[:, 1].diff() < 0).all()
    assert points[0, 0] == 0
    assert points[0, 2] > 0
    assert points[1, 0] > 0
