"""Objectives, finetuning in few steps and control against closed forms."""

import pytest
import torch
from oracles import PATHS, leaning, moments, normal

from gen3d.priors.samplers.analytic import Gaussian
from gen3d.priors.samplers.control import Checkpointed, control_loss, controlled
from gen3d.priors.samplers.driver import sample
from gen3d.priors.samplers.grids import from_sigmas, log_snr
from gen3d.priors.samplers.kinetics import kinetic_energy
from gen3d.priors.samplers.mmd import squared_mmd
from gen3d.priors.samplers.objectives import (
    WEIGHTS,
    NoiseBins,
    denoising_loss,
    logit_normal,
    min_snr,
    shifted,
    stratified,
    uniform_times,
)
from gen3d.priors.samplers.paths import EDM, Cosine, Flow, VPLinear
from gen3d.priors.samplers.predictions import Prediction, implied_eps, target, to_x0
from gen3d.priors.samplers.solvers.exponential import DDIM


@pytest.mark.parametrize("name", sorted(PATHS))
@pytest.mark.parametrize(("weight", "kind"), [("uniform", "x0"), ("snr", "eps"), ("velocity", "flow"), ("v", "v")])
def test_weights_turn_errors_of_x0_into_those_of_other_kinds(name, weight, kind):
    path = PATHS[name]
    t = torch.tensor([0.2, 0.5, 0.8]).double() * (path.noisiest if name != "edm" else 2)
    x0, eps, c = normal(3, 4), normal(3, 4, seed=1), path(t)
    output = target(kind, x0, eps, c) + 0.1 * normal(3, 4, seed=2)
    predicted = to_x0(kind, output, path.noised(x0, eps, t), c)
    own = (output - target(kind, x0, eps, c)).square().mean(1)
    assert torch.allclose(denoising_loss(predicted, x0, c, WEIGHTS[weight]), own)


def test_min_snr_is_bounded():
    weight = min_snr(5.0)
    assert weight(EDM()(0.1)) == 5.0
    assert weight(EDM()(1.0)) == 1.0
    assert torch.equal(weight(EDM()(torch.tensor([0.1, 1.0]).double())), torch.tensor([5.0, 1.0]).double())


def test_losses_of_half_precision_are_computed_in_float32():
    loss = denoising_loss(torch.full((1, 4), 300.0, dtype=torch.float16), torch.zeros(1, 4), Flow()(0.5))
    assert loss.dtype == torch.float32
    assert loss.item() == 90_000


def test_stratified_numbers_fill_all_parts():
    u = stratified(64, torch.Generator().manual_seed(0))
    assert sorted((u * 64).floor().tolist()) == list(range(64))
    assert u.tolist() != sorted(u.tolist())


@pytest.mark.parametrize("path", [Flow(), EDM(), VPLinear()], ids=["flow", "edm", "vp"])
def test_times_have_the_distribution_that_is_asked_for(path):
    u = stratified(20_000, torch.Generator().manual_seed(0))
    level = path(logit_normal(-1.2, 1.2)(path, u)).sb.log()
    assert float(level.mean()) == pytest.approx(-1.2, abs=0.02)
    assert float(level.std()) == pytest.approx(1.2, rel=0.02)
    times = uniform_times(path, u)
    assert float(times.min()) >= path.cleanest
    assert float(times.mean()) == pytest.approx(path.noisiest / 2, rel=0.01)


def test_shifted_times_are_those_of_the_shifted_grid():
    assert torch.allclose(shifted(3.0)(Flow(), torch.tensor([0.0, 0.5]).double()), torch.tensor([0.0, 0.75]).double())


def test_measured_errors_give_the_kinetic_energy():
    """Bins filled with the errors of the exact denoiser of unit normal data: s = alpha^2 / (alpha^2 + sigma^2)."""
    unit, bins = Gaussian.of(torch.zeros(4).double(), torch.eye(4).double()), NoiseBins(torch.linspace(-2.5, 2.5, 41))
    x0, eps = normal(60_000, 4), normal(60_000, 4, seed=1)
    t = stratified(60_000, torch.Generator().manual_seed(0)) * 0.999 + 5e-4
    predicted = unit(Flow().noised(x0, eps, t), Flow()(t)).x0
    bins.add(Flow()(t), denoising_loss(predicted, x0, Flow()(t)))
    assert kinetic_energy(Flow(), bins.explained(1.0)) == pytest.approx(0.4292, rel=0.02)
    assert abs(kinetic_energy(Cosine(), bins.explained(1.0))) < 0.03
    with pytest.raises(ValueError, match="0 bins have errors"):
        NoiseBins().explained(1.0)


def test_discrepancy_tunes_a_generator_of_one_step():
    """An affine denoiser, sampled in one step with its activations dropped, comes to the moments of the data."""
    _, mean, covariance = leaning()
    data = mean + normal(4096, 3, seed=3) @ torch.linalg.cholesky(covariance).mT
    matrix, shift = torch.eye(3, dtype=torch.float64, requires_grad=True), torch.zeros(3, dtype=torch.float64, requires_grad=True)

    def denoiser(x, c, condition=None):
        x0 = x @ matrix.mT + shift
        return Prediction(x0, implied_eps(x, x0, c))

    optimizer = torch.optim.Adam([matrix, shift], 0.02)
    for i in range(300):
        x = normal(512, 3, seed=100 + i)
        made = sample(Checkpointed(denoiser), DDIM(), from_sigmas(EDM(), [1.0, 0.0]), x).x
        optimizer.zero_grad()
        squared_mmd(made, data[torch.randint(0, 4096, (512,), generator=torch.Generator().manual_seed(i))]).backward()
        optimizer.step()
    assert (shift.detach() - mean).abs().max() < 0.1
    assert (matrix @ matrix.mT - covariance).detach().abs().max() < 0.15


def test_checkpointing_changes_no_gradient():
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def denoiser(x, c, condition=None):
        x0 = torch.tanh(weight * x)
        return Prediction(x0, implied_eps(x, x0, c))

    grads = []
    for wrapped in (denoiser, Checkpointed(denoiser)):
        out = sample(wrapped, DDIM(), log_snr(EDM(), 5, sb_max=5.0), normal(4, 2)).x
        grads.append(torch.autograd.grad(out.square().sum(), weight)[0])
    assert torch.equal(*grads)


CENTRE, PRECISION = 1.5, 2.0  # of the reward


def reward(x):
    return -PRECISION * (x[:, 0] - CENTRE).square() / 2


def tuned_by_control(price, iterations=400):
    """An affine correction at each step of a sampler of standard normal data, trained with `control_loss`."""
    prior = Gaussian.of(torch.zeros(1).double(), torch.eye(1).double())
    grid = log_snr(EDM(), 24, sb_min=0.02, sb_max=30.0)
    place = {c.sb: i for i, c in enumerate(grid.coefs)}
    policy = torch.zeros(len(grid), 2, dtype=torch.float64, requires_grad=True)

    def tuned(x, c, condition=None):
        known, (slope, offset) = prior(x, c), policy[place[c.sb]]
        return known.at(known.x0 * (1 + slope) + offset, c)

    generator = torch.Generator().manual_seed(0)

    def noise(shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    optimizer = torch.optim.Adam([policy], 0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    for _ in range(iterations):
        x, distance = controlled(tuned, prior, DDIM(1.0), grid, 30 * noise((512, 1)), noise)
        optimizer.zero_grad()
        control_loss(x, distance, reward, price=price).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        x, distance = controlled(tuned, prior, DDIM(1.0), grid, 30 * noise((20_000, 1)), noise)
    return x, distance, float(moments(DDIM(1.0), grid, torch.zeros(1).double(), torch.eye(1).double(), prior)[1])


def test_control_comes_to_the_tilted_distribution():
    """Normal data of variance v (what so few steps make of variance 1) times exp(reward / price), with k = v precision / price."""
    x, distance, variance = tuned_by_control(1.0)
    k = variance * PRECISION
    assert float(x.mean()) == pytest.approx(k * CENTRE / (1 + k), abs=0.03)
    assert float(x.var()) == pytest.approx(variance / (1 + k), abs=0.04)
    assert float(distance.mean()) > 0.1


def test_control_that_costs_too_much_changes_nothing():
    x, distance, variance = tuned_by_control(1e4, iterations=200)
    assert float(x.mean()) == pytest.approx(0.0, abs=0.03)
    assert float(x.var()) == pytest.approx(variance, abs=0.03)
    assert float(distance.mean()) < 1e-3
    with pytest.raises(ValueError, match="the prior is forgotten"):
        control_loss(x, distance, reward, price=0.0)


def test_gradients_begin_where_they_are_asked_to():
    weight = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    prior = Gaussian.of(torch.zeros(1).double(), torch.eye(1).double())
    grid = log_snr(EDM(), 6, sb_max=10.0)
    seen = []

    def tuned(x, c, condition=None):
        seen.append(torch.is_grad_enabled())
        known = prior(x, c)
        return known.at(known.x0 + weight, c)

    _, distance = controlled(tuned, prior, DDIM(1.0), grid, 10 * normal(3, 1), lambda shape: normal(*shape), since=3)
    assert seen == [False] * 3 + [True] * 2
    assert distance.requires_grad
