"""Denoisers that are exact, and the identities that they must obey."""

import pytest
import torch
from oracles import PATHS, leaning, normal, two_modes

from gen3d.priors.samplers.analytic import Gaussian, Mixture, Points, Running
from gen3d.priors.samplers.driver import sample
from gen3d.priors.samplers.grids import log_snr
from gen3d.priors.samplers.locality import Local
from gen3d.priors.samplers.paths import EDM, Flow
from gen3d.priors.samplers.solvers.exponential import DDIM
from gen3d.priors.samplers.teleporting import Statistics


@pytest.mark.parametrize("path", list(PATHS))
def test_the_score_is_the_slope_of_the_density(path):
    mixture, c = two_modes(), PATHS[path].at(0.6)
    x = normal(16, 2).requires_grad_()
    (slope,) = torch.autograd.grad(mixture.log_density(x, c).sum(), x)
    assert (slope + mixture(x.detach(), c).eps / c.sigma).abs().max() < 1e-10


def test_a_mixture_of_one_is_a_normal_distribution():
    gaussian, mean, covariance = leaning()
    mixture = Mixture(torch.ones(1).double(), mean[None], covariance[None])
    for c in (Flow()(0.3), EDM()(2.0)):
        x = normal(8, 3)
        assert (gaussian(x, c).x0 - mixture(x, c).x0).abs().max() < 1e-12


def test_a_low_rank_basis_with_a_rest_is_the_full_covariance():
    basis = torch.linalg.qr(normal(5, 5)).Q
    full = basis @ torch.diag(torch.tensor([3.0, 2.0, 0.4, 0.4, 0.4], dtype=torch.float64)) @ basis.mT
    low = Gaussian(normal(5), basis[:, :2], torch.tensor([3.0, 2.0]).double(), rest=0.4)
    x, c = normal(4, 5, seed=2), Flow()(0.4)
    assert (low(x, c).x0 - Gaussian.of(low.mean, full)(x, c).x0).abs().max() < 1e-12


def test_t25_the_slope_of_the_denoiser_is_the_posterior_covariance():
    """(sigma^2 / alpha) dx0/dx = Cov[x0 | x]."""
    gaussian, _, covariance = leaning()
    for c in (Flow()(0.3), EDM()(0.8), PATHS["vp"](0.4)):
        jacobian = torch.autograd.functional.jacobian(lambda x, c=c: gaussian(x, c).x0, normal(1, 3))[0, :, 0]
        posterior = torch.linalg.inv(torch.linalg.inv(covariance) + (c.alpha / c.sigma) ** 2 * torch.eye(3).double())
        assert (c.sigma**2 / c.alpha * jacobian - posterior).abs().max() < 1e-12


def test_t15_data_in_pieces_give_what_they_give_at_once():
    data, x, c = normal(1000, 3, 4), normal(6, 3, 4, seed=1), Flow()(0.3)
    whole = Points(data, chunk=1000)(x, c).x0
    assert (Points(data, chunk=7)(x, c).x0 - whole).abs().max() < 1e-12
    logits = -((x.flatten(1)[:, None] - (1 - 0.3) * data.flatten(1)) ** 2).sum(-1) / (2 * 0.3**2)
    assert (logits.softmax(-1) @ data.flatten(1) - whole.flatten(1)).abs().max() < 1e-12


def test_t15_each_element_may_have_weights_of_its_own():
    logits, values = normal(2, 50, 3), normal(2, 50, 3, seed=1)
    running = Running(values.new_zeros(2, 3), values.new_zeros(2, 3))
    for some in torch.arange(50).split(9):
        running.add(10 * logits[:, some], values[:, some])
    assert (running.mean() - ((10 * logits).softmax(1) * values).sum(1)).abs().max() < 1e-12


def test_one_datum_is_always_expected():
    datum = normal(1, 2, 2)
    assert torch.allclose(Points(datum)(normal(5, 2, 2), EDM()(3.0)).x0, datum.expand(5, 2, 2))


def test_samples_have_the_moments_of_the_mixture():
    x = two_modes().sample(20_000, torch.Generator().manual_seed(0))
    assert (x.mean(0) - torch.tensor([0.4 - 0.6, 0.2 + 0.12])).abs().max() < 0.03


def test_a_density_may_have_a_time_for_each_sample():
    x, sb = normal(3, 2), torch.tensor([0.2, 1.0, 4.0]).double()
    whole = two_modes()(x, EDM()(sb)).x0
    for i, noise in enumerate(sb.tolist()):
        assert torch.allclose(two_modes()(x[i : i + 1], EDM()(noise)).x0, whole[i : i + 1])


def halves(count=64):
    """Events of two halves that know nothing of each other: each is 1 or -1 all over, and a little noise."""
    signs = torch.randint(0, 2, (count, 2), generator=torch.Generator().manual_seed(0)).double() * 2 - 1
    return signs.repeat_interleave(3, 1) + 0.01 * normal(count, 6)


def local(data, **settings):
    seen = Statistics(rank=6)
    seen.add(data)
    return Local(data, seen.gaussian(), **settings)


def test_what_belongs_together_is_compared_together():
    mask = local(halves(2000), threshold=0.3).mask(EDM()(0.5))
    assert torch.equal(mask, torch.block_diag(torch.ones(3, 3), torch.ones(3, 3)).double())
    assert torch.equal(local(halves(2000)).mask(EDM()(1e-5)), torch.eye(6).double())


def test_locality_puts_together_what_no_datum_has():
    """Data of three of the four pairs of halves; samples of the local prior have all four."""
    data = halves()
    data = data[~((data[:, 0] > 0) & (data[:, 5] > 0))]
    x = 10 * normal(200, 6)
    grid = log_snr(EDM(), 30, sb_min=0.05, sb_max=10.0)
    made = sample(local(data, threshold=0.6), DDIM(), grid, x).x
    memorised = sample(Points(data), DDIM(), grid, x).x
    for samples, new in ((made, True), (memorised, False)):
        assert ((samples.abs() - 1).abs() < 0.1).all()
        assert bool(((samples[:, 0] > 0) & (samples[:, 5] > 0)).any()) == new


def test_locality_with_all_counting_is_memory():
    data, x, c = halves(20), normal(4, 6), EDM()(0.7)
    assert torch.allclose(local(data, threshold=0.0, chunk=7)(x, c).x0, Points(data)(x, c).x0)
    assert torch.allclose(Local(data[:1], local(data).statistics)(x, c).x0, data[:1].expand(4, 6))
