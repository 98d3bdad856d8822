"""Rotations of ellipsoids as three numbers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gen3d.priors.volume.polar import ALIKE, from_polar, to_polar
from gen3d.renderers.quaternions import quaternion_to_matrix


def covariance(scales, quats):
    axes = quaternion_to_matrix(torch.nn.functional.normalize(quats, dim=-1)) * scales[..., None, :]
    return axes @ axes.mT


def random_splats(count=400, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scales = torch.rand(count, 3, generator=generator, dtype=torch.float64) + 0.05
    return scales, torch.randn(count, 4, generator=generator, dtype=torch.float64)


def test_ellipsoids_come_back():
    scales, quats = random_splats()
    ordered, angles = to_polar(scales, quats)
    assert (ordered.diff(dim=-1) <= 0).all()
    assert angles.abs().max() <= 1
    apart = (ordered[:, :-1] / ordered[:, 1:] > ALIKE).all(-1)
    assert apart.float().mean() > 0.8
    before, after = covariance(scales, quats), covariance(ordered, from_polar(angles))
    assert torch.allclose(before[apart], after[apart], atol=1e-9)
    assert ((before - after).norm(dim=(-2, -1)) / before.norm(dim=(-2, -1))).max() < 2.1 * (ALIKE - 1)


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(3)), st.booleans(), st.integers(0, 1000))
def test_the_same_ellipsoid_has_the_same_numbers(order, negative, seed):
    """However its axes are ordered and whatever sign its quaternion has."""
    scales, quats = random_splats(1, seed)
    axes = quaternion_to_matrix(torch.nn.functional.normalize(quats, dim=-1))[..., list(order)]
    axes[..., 2] *= torch.linalg.det(axes)
    from gen3d.renderers.quaternions import matrix_to_quaternion

    again = to_polar(scales[..., list(order)], matrix_to_quaternion(axes) * (-1 if negative else 1))
    first = to_polar(scales, quats)
    assert torch.allclose(first[0], again[0])
    difference = (first[1] - again[1]).abs()
    assert torch.minimum(difference, 2 - difference)[..., 1:].max() < 1e-5  # angles around come again at the end of their range
    assert difference[..., 0].max() < 1e-5


@pytest.mark.parametrize("scales", [(1.0, 1.0, 1.0), (1.0, 1.0, 0.1), (1.0, 0.1, 0.1)])
def test_noise_of_equal_scales_changes_nothing(scales):
    """Balls, discs and needles do not tell all of their axes, so a rule must."""
    _, quats = random_splats(50)
    found = []
    for seed in range(3):
        noise = 1 + 1e-3 * torch.randn(50, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        found.append(from_polar(to_polar(torch.tensor(scales, dtype=torch.float64) * noise, quats)[1]))
    for other in found[1:]:
        assert ((found[0] * other).sum(-1).abs() > 1 - 1e-6).float().mean() > 0.95
    if scales == (1.0, 1.0, 1.0):
        assert torch.allclose(quaternion_to_matrix(found[0]), quaternion_to_matrix(found[0][:1]).expand(50, 3, 3), atol=1e-6)


def test_gradients_are_finite():
    angles = torch.tensor([[-1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.2, -0.3, 0.9]], requires_grad=True)
    from_polar(angles).sum().backward()
    assert angles.grad.isfinite().all()
