"""Bridges, kinetic energy and the discrepancy of distributions against closed forms."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from oracles import normal

from gen3d.priors.samplers.bridges import Bridge, cross
from gen3d.priors.samplers.kinetics import kinetic_energy
from gen3d.priors.samplers.mmd import squared_mmd
from gen3d.priors.samplers.paths import Cosine, Flow, Path

MEANS = (torch.tensor([1.0, -2.0]).double(), torch.tensor([0.5, 3.0]).double())
ROOTS = (torch.tensor([[1.0, 0.0], [0.4, 0.5]]).double(), torch.tensor([[0.3, 0.0], [-0.6, 1.2]]).double())
A, B = (root @ root.mT for root in ROOTS)


def field(x, t, scale=1.0):
    """The exact fields between two normal distributions that are independent."""
    gamma2 = scale**2 * t * (1 - t)
    spread = (1 - t) ** 2 * A + t**2 * B + gamma2 * torch.eye(2).double()
    offset = (x - (1 - t) * MEANS[0] - t * MEANS[1]) @ torch.linalg.inv(spread)
    drift = MEANS[1] - MEANS[0] + offset @ (t * B - (1 - t) * A)
    return drift, math.sqrt(gamma2) * offset


@pytest.mark.parametrize(("diffusion", "scale"), [(0.0, 1.0), (0.5, 1.0), (0.2, 0.6)])
def test_t24_bridges_end_in_the_other_distribution(diffusion, scale):
    """Every step is affine in x and z, so that moments are followed without random numbers."""
    errors = []
    for count in (200, 800, 3200):
        times = torch.linspace(0, 1, count + 1, dtype=torch.float64).tolist()
        mean, covariance = MEANS[0], A
        basis = torch.cat([torch.zeros(1, 2), torch.eye(2)]).double()
        bridge = Bridge(scale)
        for t, later in pairwise(times):
            moved = cross(
                partial(field, scale=scale), bridge, basis, [t, later], diffusion=diffusion, noise=lambda shape: torch.zeros(shape).double()
            )
            shift, matrix = moved[0], (moved[1:] - moved[0]).mT
            added = 2 * diffusion * (later - t) if t else 0.0
            mean, covariance = matrix @ mean + shift, matrix @ covariance @ matrix.mT + added * torch.eye(2).double()
        errors.append(float((covariance - B).norm() + (mean - MEANS[1]).norm()))
    assert 3.4 < errors[0] / errors[1] < 4.6
    assert 3.6 < errors[1] / errors[2] < 4.4


def still(shape):
    return torch.zeros(shape).double()


def test_the_losses_are_least_at_the_fields():
    """The gradient of the quadratic losses vanishes at the conditional means."""
    count, t = 400_000, 0.3
    x_a, x_b = (mean + normal(count, 2, seed=seed) @ root.mT for seed, (mean, root) in enumerate(zip(MEANS, ROOTS, strict=True)))
    z = normal(count, 2, seed=9)
    x = Bridge().sample(x_a, x_b, z, torch.full((count,), t).double())
    drift, noise = field(x, t)
    scale = torch.ones(2, requires_grad=True, dtype=torch.float64)
    sum(Bridge().losses(scale[0] * drift, scale[1] * noise, x_a, x_b, z)).backward()
    assert scale.grad.abs().max() < 0.02


def test_times_of_a_bridge_rise():
    with pytest.raises(ValueError, match="they must rise within"):
        cross(field, Bridge(), normal(2, 2), [0.5, 0.2])


class Squares(Path):
    """Alpha = 1 - t^2, sigma = t^2."""

    def coefficients(self, t):
        return 1 - t**2, t**2, -2 * t, 2 * t

    def time_of(self, sb):
        return (sb / (1 + sb)).sqrt()


@pytest.mark.parametrize(
    ("path", "energies"),
    [
        (Flow(), (0.42920, 1.0, 1.1615)),
        (Cosine(), (0.0, math.pi**2 / 8, 0.7711)),
        (Squares(), (0.54620, 4 / 3, 1.30898)),  # the last by integrating (a a' l + s s')^2 / (a^2 l + s^2)
    ],
    ids=["flow", "cosine", "squares"],
)
def test_t14_kinetic_energies(path, energies):
    """Unit normal data, a point at the origin, and a spectrum of variances 4 and 1/4."""

    def unit(sb):
        return 1 / (1 + sb**2)

    def points(sb):
        return torch.ones_like(sb)

    def spectrum(sb):
        return (16 / (4 + sb**2) + (1 / 16) / (1 / 4 + sb**2)) / (4 + 1 / 4)

    got = [kinetic_energy(path, unit), kinetic_energy(path, points, power=0.0), kinetic_energy(path, spectrum, power=(4 + 1 / 4) / 2)]
    assert got == pytest.approx(energies, abs=1e-4)


def test_t16_the_discrepancy_is_unbiased():
    values = torch.stack([squared_mmd(normal(60, 3, seed=2 * i), normal(60, 3, seed=2 * i + 1)) for i in range(400)])
    assert values.mean().abs() < 4 * values.std() / 400**0.5
    assert values.min() < 0
    with pytest.raises(ValueError, match="1 samples and 5 data"):
        squared_mmd(normal(1, 2), normal(5, 2))


def test_t16_the_discrepancy_of_moved_normals_has_a_closed_form():
    """E[(t/d + 1)^3] with t = <x, y> of independent normals with means a and b."""
    a, b, d = torch.zeros(3).double(), torch.tensor([1.0, 0.5, -0.5]).double(), 3

    def kernel(p, q):
        c = float(p @ q)
        square, cube = c**2 + float(p @ p) + float(q @ q) + d, c**3 + 3 * c * (float(p @ p) + float(q @ q) + d) + 6 * c
        return cube / d**3 + 3 * square / d**2 + 3 * c / d + 1

    values = torch.stack([squared_mmd(normal(100, 3, seed=2 * i) + a, normal(100, 3, seed=2 * i + 1) + b) for i in range(400)])
    expected = kernel(a, a) + kernel(b, b) - 2 * kernel(a, b)
    assert float(values.mean()) == pytest.approx(expected, abs=float(4 * values.std() / 400**0.5))
