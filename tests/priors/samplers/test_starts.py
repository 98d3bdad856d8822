"""Starts: pictures, teleportation, seeds, inversion and what lies between two objects."""

import pytest
import torch
from oracles import leaning, normal, two_modes

from gen3d.priors.samplers.analytic import Gaussian
from gen3d.priors.samplers.driver import sample
from gen3d.priors.samplers.grids import flow_shift, from_sigmas, karras, log_snr
from gen3d.priors.samplers.interpolation import invert, noise_diffusion
from gen3d.priors.samplers.paths import EDM, Flow, VPLinear
from gen3d.priors.samplers.predictions import Prediction, implied_eps
from gen3d.priors.samplers.seeds import best_seeds
from gen3d.priors.samplers.solvers.exponential import DDIM, DPMSolver
from gen3d.priors.samplers.solvers.heun import Heun
from gen3d.priors.samplers.starts import Known, from_noise, img2img, mixed
from gen3d.priors.samplers.teleporting import Statistics, load_statistics, safe_start, save_statistics, teleport


@pytest.mark.parametrize("path", [VPLinear(), Flow(), EDM()], ids=["vp", "flow", "edm"])
def test_t6_teleporting_is_what_fine_steps_come_to(path):
    gaussian, _, _ = leaning()
    grid = log_snr(path, 800, sb_min=0.5, sb_max=20.0, clean=False)
    x = from_noise(grid, normal(8, 3))
    got = teleport(x, grid.coefs[0], grid.coefs[-1], gaussian)
    assert (sample(gaussian, Heun(), grid, x).x - got).abs().max() < 1e-4
    halfway = teleport(x, grid.coefs[0], grid.coefs[400], gaussian)
    assert (teleport(halfway, grid.coefs[400], grid.coefs[-1], gaussian) - got).abs().max() < 1e-12


def test_teleporting_reaches_the_modes_that_all_steps_reach():
    mixture = two_modes()
    data = mixture.sample(4000, torch.Generator().manual_seed(0))
    seen = Statistics(rank=2)
    for batch in data.split(512):
        seen.add(batch)
    grid = karras(EDM(), 18, sb_max=80.0)
    start = safe_start(grid, seen.gaussian())
    assert 5 <= start <= 12
    x = from_noise(grid, normal(400, 2))
    whole = sample(mixture, DPMSolver(2), grid, x).x
    moved = teleport(x, grid.coefs[0], grid.coefs[start], seen.gaussian())
    short = sample(mixture, DPMSolver(2), grid.since(start), moved).x
    assert ((whole[:, 0] > 0) == (short[:, 0] > 0)).float().mean() > 0.98


def test_statistics_of_a_stream_are_those_of_the_whole(tmp_path):
    data = normal(300, 2, 4) @ normal(4, 4, seed=1) + 3
    seen = Statistics(rank=8)
    for batch in data.split(37):
        seen.add(batch)
    got, flat = seen.gaussian(), data.flatten(1)
    assert (got.mean - flat.mean(0)).abs().max() < 1e-12
    covariance = got.basis @ torch.diag(got.variances) @ got.basis.mT
    assert (covariance - flat.mT.cov()).abs().max() < 1e-9
    few = Statistics(rank=3)
    few.add(data)
    kept = few.gaussian()
    total = float(kept.variances.sum()) + 5 * kept.rest
    assert total == pytest.approx(float(flat.mT.cov().trace()))
    save_statistics(tmp_path / "latents.safetensors", kept)
    stored = load_statistics(tmp_path / "latents.safetensors")
    assert torch.equal(stored.basis, kept.basis)
    assert stored.rest == kept.rest
    with pytest.raises(ValueError, match="0 samples have no covariance"):
        Statistics(rank=2).gaussian()


def test_strength_is_the_share_of_the_steps():
    grid, x0, z = flow_shift(Flow(), 10), normal(2, 3), normal(2, 3, seed=1)
    x, rest = img2img(grid, x0, z, strength=0.4)
    assert len(rest) == 4
    assert torch.allclose(x, 0.6 * x0 + 0.4 * z)
    assert len(img2img(grid, x0, z, strength=0.01)[1]) == 1
    with pytest.raises(ValueError, match="the strength is 0"):
        img2img(grid, x0, z, strength=0)


def test_what_is_transparent_begins_as_noise():
    grid, z = flow_shift(Flow(), 10), (normal(1, 4), normal(1, 4, seed=1))
    x0, opacity = torch.full((1, 4), 2.0).double(), torch.tensor([1.0, 1.0, 0.0, 0.6]).double()
    x, _ = mixed(grid, x0, *z, opacity, strength=0.5)
    assert torch.allclose(x[:, :2], img2img(grid, x0, z[0], strength=0.5)[0][:, :2])
    assert torch.allclose(x[0, 2], 0.5 * z[1][0, 2] + 0.5 * z[0][0, 2])
    assert torch.allclose(x[0, 3], 0.5 * (1.2 + 0.8 * z[1][0, 3]) + 0.5 * z[0][0, 3])


def test_known_views_come_out_as_they_are():
    def denoiser(x, c, condition):
        return Prediction(torch.zeros_like(x), implied_eps(x, torch.zeros_like(x), c))

    known, mask = normal(1, 2, 3), torch.tensor([1.0, 0.0]).view(1, 2, 1)
    x = sample(Known(denoiser, known, mask), DPMSolver(2), karras(EDM(), 6), 80 * normal(1, 2, 3, seed=1)).x
    assert torch.allclose(x[:, 0], known[:, 0])
    assert x[:, 1].abs().max() < 1e-9


def test_inversion_is_undone_by_sampling():
    grid = log_snr(EDM(), 40, sb_min=0.02, sb_max=10.0)
    x0 = two_modes().sample(16, torch.Generator().manual_seed(0))
    back = sample(two_modes(), DDIM(), grid, invert(two_modes(), grid, x0, rounds=60)).x
    assert (back - x0).abs().max() < 1e-3
    rough = sample(two_modes(), DDIM(), grid, invert(two_modes(), grid, x0, rounds=1)).x
    assert (rough - x0).abs().mean() > 10 * (back - x0).abs().mean()


def test_t17_the_noise_between_has_variance_one():
    c = Flow()(0.6)
    noise = [normal(200_000, seed=seed) for seed in range(3)]
    zero = torch.zeros(200_000).double()
    for fraction in (0.0, 0.3, 0.5, 1.0):
        for fresh in (0.0, 0.4):
            x = noise_diffusion((zero, 0.6 * noise[0]), (zero, 0.6 * noise[1]), noise[2], c, fraction, fresh=fresh, clip=torch.inf)
            assert float(x.std() / 0.6) == pytest.approx(1.0, abs=0.02)


def test_t17_nothing_of_the_second_is_the_first():
    grid = log_snr(EDM(), 60, sb_min=0.02, sb_max=2.0)
    x0 = two_modes().sample(8, torch.Generator().manual_seed(0))
    noisy = invert(two_modes(), grid, x0, rounds=60)
    other = (x0.flip(0), noisy.flip(0))
    start = noise_diffusion((x0, noisy), other, normal(8, 2), grid.coefs[0], 0.0, total=1.0, clip=torch.inf)
    assert torch.allclose(start, noisy)
    assert (sample(two_modes(), DDIM(), grid, start).x - x0).abs().max() < 1e-3
    far = 100 * torch.ones(1, 2).double()
    clipped = noise_diffusion((far, far), (far, far), far, Flow()(0.6), 0.5).abs()
    assert torch.allclose(clipped, torch.full((1, 2), 2 * (0.4**2 + 0.6**2) ** 0.5, dtype=torch.float64))
    assert noise_diffusion((x0, 9 * noisy), other, normal(8, 2), grid.coefs[0], 0.5, clip=0.5).abs().max() <= 0.5 * 5**0.5 + 1e-12


def test_the_best_seed_is_found_without_trying_all_of_them():
    quality = normal(64, seed=3)
    scatter = 0.05 * normal(64, 64, seed=4)
    asked = []

    def loss(seed, number):
        asked.append((seed, number))
        return float(quality[seed] + scatter[seed, number])

    best = best_seeds(loss, range(64), 64, keep=2)
    assert best == (quality + scatter.mean(1)).argsort()[:2].tolist()
    assert len(asked) == len(set(asked)) < 64 * 64 / 4
    with pytest.raises(ValueError, match="3 of 2 seeds"):
        best_seeds(loss, [1, 2], 4, keep=3)


def test_a_squared_error_chooses_the_least_noise():
    """h(y, x_T) = m(y) + L x_T: the best candidate is the one with the smallest |L x_T|."""
    factor = normal(3, 3)

    def loss(seed, number):
        return float((factor @ normal(3, seed=seed)).square().sum()) + number

    assert best_seeds(loss, range(30), 16)[0] == min(range(30), key=lambda seed: float((factor @ normal(3, seed=seed)).norm()))


def test_a_flat_direction_teleports_like_pure_noise():
    point = Gaussian(torch.zeros(2).double(), torch.eye(2).double(), torch.zeros(2).double())
    grid = from_sigmas(Flow(), [9.0, 1.0], clean=False)
    x = normal(3, 2)
    assert torch.allclose(teleport(x, grid.coefs[0], grid.coefs[1], point), x * grid.coefs[1].sigma / grid.coefs[0].sigma)
