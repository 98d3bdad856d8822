import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gen3d.renderers import harmonics
from gen3d.renderers.quaternions import quaternion_to_matrix


def random_directions(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=-1)


def random_coefficients(degree, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(harmonics.coefficient_count(degree), 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("degree", range(4))
def test_basis_equals_gsplat(degree):
    formulas = pytest.importorskip("gsplat.cuda._torch_impl")
    directions = random_directions(50)
    wanted = formulas._eval_sh_bases_fast(harmonics.coefficient_count(degree), directions)
    torch.testing.assert_close(harmonics.basis(directions, degree), wanted, atol=1e-9, rtol=0)
    sh = random_coefficients(degree).expand(50, -1, 3)
    wanted = (formulas._spherical_harmonics(degree, directions, sh) + 0.5).clamp_min(0)
    torch.testing.assert_close(harmonics.evaluate(sh, directions), wanted, atol=1e-8, rtol=0)


def test_basis_equals_scipy_up_to_signs_and_order():
    special = pytest.importorskip("scipy.special")
    directions = random_directions(40)
    x, y, z = directions.unbind(-1)
    polar, azimuth = z.acos().numpy(), torch.atan2(y, x).numpy()
    values = harmonics.basis(directions, 3)
    for degree in range(4):
        for order in range(-degree, degree + 1):
            complex_value = special.sph_harm_y(degree, abs(order), polar, azimuth)  # with Condon–Shortley
            real = complex_value.real if order >= 0 else complex_value.imag
            wanted = torch.as_tensor(real) * (math.sqrt(2) if order else 1)
            torch.testing.assert_close(values[:, degree * degree + degree + order], wanted, atol=1e-9, rtol=0)


def test_basis_is_orthonormal_on_the_sphere():
    z, weights = (torch.as_tensor(a) for a in pytest.importorskip("numpy").polynomial.legendre.leggauss(8))
    azimuth = torch.arange(16, dtype=torch.float64) * (math.pi / 8)
    radius = (1 - z * z).sqrt()
    grid = torch.stack([radius[:, None] * azimuth.cos(), radius[:, None] * azimuth.sin(), z[:, None].expand(-1, 16)], -1)
    values = harmonics.basis(grid, 3)
    inner = torch.einsum("i,iak,ial->kl", weights, values, values) * (math.pi / 8)
    torch.testing.assert_close(inner, torch.eye(16, dtype=torch.float64), atol=1e-12, rtol=0)


@given(degree=st.integers(0, 3), seed=st.integers(0, 2**20))
@settings(max_examples=40, deadline=None)
def test_rotated_harmonics_show_the_colour_of_the_old_direction(degree, seed):
    rotation = quaternion_to_matrix(torch.randn(4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    directions, sh = random_directions(20, seed), random_coefficients(degree, seed)
    turned = harmonics.rotate(sh, rotation)
    seen = harmonics.evaluate(turned.expand(20, -1, 3), directions @ rotation.T)
    torch.testing.assert_close(seen, harmonics.evaluate(sh.expand(20, -1, 3), directions), atol=1e-11, rtol=0)
    torch.testing.assert_close(harmonics.rotate(turned, rotation.T), sh, atol=1e-11, rtol=0)
    for band in range(degree + 1):  # no energy moves between degrees
        rows = slice(band * band, (band + 1) ** 2)
        torch.testing.assert_close(turned[rows].norm(), sh[rows].norm())


def test_rotation_is_differentiable_and_batched():
    rotation = quaternion_to_matrix(torch.tensor([0.9, 0.1, -0.3, 0.2], dtype=torch.float64))
    sh = torch.stack([random_coefficients(2, seed) for seed in range(3)]).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: harmonics.rotate(s, rotation), sh)
    torch.testing.assert_close(harmonics.rotate(sh, rotation)[1], harmonics.rotate(sh[1], rotation))


def test_colours_and_coefficients_are_inverse():
    rgb = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(harmonics.sh0_to_rgb(harmonics.rgb_to_sh0(rgb)), rgb)
    seen = harmonics.evaluate(harmonics.rgb_to_sh0(rgb)[:, None], random_directions(5).float())
    torch.testing.assert_close(seen, rgb)


def test_colours_are_clamped_below_only():
    sh = harmonics.rgb_to_sh0(torch.tensor([[[-1.0, 0.5, 3.0]]]))
    torch.testing.assert_close(harmonics.evaluate(sh, random_directions(1).float()), torch.tensor([[0.0, 0.5, 3.0]]))


def test_degrees_and_counts():
    assert [harmonics.degree_of(harmonics.coefficient_count(d)) for d in range(4)] == [0, 1, 2, 3]
    for count in (0, 2, 15, 25):
        with pytest.raises(ValueError, match=f"{count} harmonic coefficients were given; there must be 1, 4, 9 or 16"):
            harmonics.degree_of(count)
