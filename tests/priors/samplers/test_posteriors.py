"""Measurements, distillation, steering and ensembles against closed forms."""

import math
from dataclasses import replace

import pytest
import torch
from oracles import leaning, normal

from gen3d.priors.samplers.analytic import Gaussian, Mixture
from gen3d.priors.samplers.distillation import red, score_distillation, sds
from gen3d.priors.samplers.driver import Moment, per_sample, sample
from gen3d.priors.samplers.ensembles import AnnealedPosterior, Linear
from gen3d.priors.samplers.grids import flow_shift, karras, log_snr
from gen3d.priors.samplers.measuring import Measure, conjugate_gradients
from gen3d.priors.samplers.paths import EDM, Flow, VPLinear
from gen3d.priors.samplers.predictions import Prediction, implied_eps
from gen3d.priors.samplers.solvers.exponential import DDIM
from gen3d.priors.samplers.solvers.stochastic import SDE
from gen3d.priors.samplers.steering import SMC, SVDD, best, expected, systematic
from gen3d.priors.samplers.stepping import State

D = 4
ROOT = normal(D, D, seed=4) / 2 + torch.eye(D).double()
PRIOR_MEAN, PRIOR = normal(D, seed=5), ROOT @ ROOT.mT
H = normal(2, D, seed=6)
NOISE = 0.4
Y = normal(2, seed=7)


def posterior():
    precision = torch.linalg.inv(PRIOR) + H.mT @ H / NOISE**2
    covariance = torch.linalg.inv(precision)
    return covariance @ (torch.linalg.solve(PRIOR, PRIOR_MEAN) + H.mT @ Y / NOISE**2), covariance


def sampled(covariance, steps=1000):
    """Mean and covariance of the posterior that a guided ODE makes of exact starts, without random numbers."""
    mean, spread = posterior()
    denoiser = Measure(
        Gaussian.of(PRIOR_MEAN, PRIOR),
        lambda x: x @ H.mT,
        Y,
        NOISE,
        covariance=covariance,
        sigma_data=float(PRIOR.trace() / D) ** 0.5,
        iterations=2,
    )
    grid = log_snr(EDM(), steps, sb_min=1e-3, sb_max=20.0)
    m, p = mean, spread + grid.coefs[0].sigma ** 2 * torch.eye(D).double()
    basis = torch.cat([torch.zeros(1, D), torch.eye(D)]).double()
    for i in range(len(grid)):
        x = DDIM().transition(State(basis, i), denoiser(basis, grid.coefs[i]), grid).state.x
        shift, matrix = x[0], (x[1:] - x[0]).mT
        m, p = matrix @ m + shift, matrix @ p @ matrix.mT
    return m, p


def test_t8_tweedie_covariance_samples_the_posterior():
    mean, covariance = posterior()
    got_mean, got = sampled("tweedie")
    assert float(got.trace() / covariance.trace()) == pytest.approx(1.0, abs=0.01)
    assert (got_mean - mean).abs().max() < 0.02


def test_t8_the_others_do_not():
    _, covariance = posterior()
    assert 0.6 < float(sampled("dps")[1].trace() / covariance.trace()) < 0.9
    assert float(sampled("dps")[1].trace() / covariance.trace()) == pytest.approx(0.695, abs=0.01)
    assert float(sampled("pigdm")[1].trace() / covariance.trace()) == pytest.approx(1.220, abs=0.01)


class Doubled(torch.autograd.Function):
    """A kernel as rasterizers have them: a forward and a backward pass, and nothing else."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad


@pytest.mark.parametrize("covariance", ["dps", "pigdm", "tweedie"])
def test_kernels_are_operators_too(covariance):
    gaussian, _, _ = leaning()
    y, x, c = normal(4, 3), normal(4, 3, seed=1), Flow()(0.5)
    got = Measure(gaussian, Doubled.apply, y, 0.3, covariance=covariance)(x, c).x0
    assert torch.allclose(got, Measure(gaussian, lambda x0: 2 * x0, y, 0.3, covariance=covariance)(x, c).x0)


def crooked(x, c, condition=None):
    """A denoiser as networks are: its Jacobian is neither symmetric nor positive."""
    matrix = torch.tensor([[0.5, 0.6, 0.0], [-0.6, -0.3, 0.2], [0.1, 0.0, 0.4]]).to(x)
    x0 = torch.tanh(x @ matrix.mT)
    return Prediction(x0, implied_eps(x, x0, c), aux={"kept": x0 * 1.0})


@pytest.mark.parametrize("noise_std", [0.05, 0.3])
def test_learned_denoisers_stay_finite(noise_std):
    guided = Measure(crooked, lambda x0: x0[:, :2], torch.tensor([[0.5, -0.2]]).double(), noise_std)
    result = sample(guided, DDIM(), karras(EDM(), 30, sb_max=20.0), 20 * normal(64, 3))
    assert result.x.abs().max() < 3
    assert not result.prediction.aux["kept"].requires_grad


def test_measurements_that_do_not_fit_are_told():
    gaussian, _, _ = leaning()
    x, c = normal(2, 3), Flow()(0.5)
    once = Measure(gaussian, lambda x0: x0[:, :1], torch.zeros(1, 1), 0.1)
    with pytest.raises(ValueError, match="put several measurements into one operator"):
        Measure(once, lambda x0: x0, torch.zeros(1, 3), 0.1)(x, c)
    with pytest.raises(ValueError, match=r"gives \(2, 1\) and \(3,\) was measured"):
        Measure(gaussian, lambda x0: x0[:, :1], torch.zeros(3), 0.1)(x, c)
    with pytest.raises(ValueError, match=r"gives \(2,\) and \(2,\) was measured"):
        Measure(gaussian, lambda x0: x0[:, 0], torch.zeros(2), 0.1)(x, c)


def test_conditions_of_inference_mode_are_taken():
    def told(x, c, condition):
        x0 = x * condition
        return Prediction(x0, implied_eps(x, x0, c))

    with torch.inference_mode():
        got = Measure(told, lambda x0: x0, torch.zeros(1, 3), 0.1)(torch.ones(2, 3), Flow()(0.5), torch.full((3,), 0.5))
    assert got.x0.isfinite().all()


def test_each_sample_is_measured_at_its_own_time():
    gaussian, _, _ = leaning()
    x, times = normal(3, 3), torch.tensor([0.3, 0.5, 0.8]).double()
    for covariance in ("dps", "pigdm", "tweedie"):
        guided = Measure(gaussian, lambda x0: x0 @ H[:, :3].mT, Y, NOISE, covariance=covariance)
        together = guided(x, Flow()(times)).x0
        for i, t in enumerate(times.tolist()):
            assert torch.allclose(together[i], guided(x[i : i + 1], Flow()(t)).x0[0])


def test_measurements_may_be_any_differentiable_map():
    """A mask of known pixels through a nonlinear operator: what is measured comes out."""
    gaussian, _, _ = leaning()
    y = torch.tensor([[0.2, 0.4]]).double()
    guided = Measure(gaussian, lambda x: torch.tanh(x[:, :2]), y, 0.01)
    with torch.inference_mode():
        x = sample(guided, DDIM(), karras(EDM(), 60, sb_max=20.0), 20 * normal(6, 3)).x
    assert (torch.tanh(x[:, :2]) - y).abs().max() < 0.05
    with pytest.raises(ValueError, match="must be above 0, however small"):
        Measure(gaussian, lambda x: x, y, 0.0)
    with pytest.raises(ValueError, match="choose dps, pigdm or tweedie"):
        Measure(gaussian, lambda x: x, y, 1.0, covariance="exact")


def test_pure_noise_is_not_guided():
    gaussian, _, _ = leaning()
    guided = Measure(gaussian, lambda x: x, torch.zeros(1, 3).double(), 0.1)
    assert torch.equal(guided(normal(2, 3), Flow()(1.0)).x0, gaussian(normal(2, 3), Flow()(1.0)).x0)


def test_conjugate_gradients_solve_each_sample_for_itself():
    matrices = torch.stack([PRIOR, PRIOR + 3 * torch.eye(D).double()])
    right = normal(2, D)
    got = conjugate_gradients(lambda v: (matrices @ v[..., None])[..., 0], right, D)
    assert (got - torch.linalg.solve(matrices, right)).abs().max() < 1e-9


def test_t9_red_diff_rests_where_theory_says():
    """The mean over the noise of a linear denoiser is its value without noise."""
    path, strength = VPLinear(), 0.25
    times = torch.linspace(0.05, 0.95, 40).tolist()
    matrix, right = H.mT @ H, H.mT @ Y
    for t in times:
        c = path(t)
        weight = red(strength)(c) * c.alpha * c.sigma / len(times)
        pull = weight * torch.linalg.inv(c.alpha**2 * PRIOR + c.sigma**2 * torch.eye(D).double())
        matrix, right = matrix + pull, right + pull @ PRIOR_MEAN
    mu = torch.linalg.solve(matrix, right)[None].requires_grad_()
    prior = Gaussian.of(PRIOR_MEAN, PRIOR)
    loss = (Y - mu @ H.mT).square().sum() / 2
    for t in times:
        loss = loss + mu.numel() * score_distillation(prior, mu, path(t), torch.zeros(1, D).double(), weight=red(strength)) / len(times)
    loss.backward()
    assert mu.grad.abs().max() < 1e-8


def test_distillation_reaches_what_produced_the_picture():
    prior, scale = Gaussian.of(PRIOR_MEAN, PRIOR), torch.tensor(2.0, requires_grad=True, dtype=torch.float64)
    x0, c, eps = scale * normal(3, D), Flow()(0.4), normal(3, D, seed=1)
    score_distillation(prior, x0, c, eps, weight=sds).backward()
    residual = prior(0.6 * x0.detach() + 0.4 * eps, c).eps - eps
    assert scale.grad == pytest.approx(float(0.16 * (residual * normal(3, D)).sum() / 12))


def far(x):
    """Log of a tilt towards 2 with variance 1/2; of a standard normal prior it makes mean 4/3 and variance 1/3."""
    return -((x[:, 0] - 2) ** 2)


def soft(x, c, prediction):
    """The exact value: log E[exp(far(x0)) | x], from the normal posterior of x0."""
    variance = c.sigma**2 / (c.alpha**2 + c.sigma**2)
    return -((prediction.x0[:, 0] - 2) ** 2) / (1 + 2 * variance) - math.log(1 + 2 * variance) / 2


STANDARD = Gaussian(torch.zeros(1).double(), torch.eye(1).double(), torch.ones(1).double())


def drawn(seed):
    generator = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(shape, generator=generator, dtype=torch.float64)


def steered(controller, steps=160, count=4000, seed=0):
    grid = log_snr(VPLinear(), steps, sb_min=0.01, sb_max=60.0)
    return sample(STANDARD, DDIM(1.0), grid, normal(count, 1, seed=9), controller=controller, noise=drawn(seed)).x[:, 0]


def test_t11_exact_values_reach_the_tilted_distribution():
    x = steered(SVDD(soft, 50), steps=320)
    assert float(x.mean()) == pytest.approx(4 / 3, abs=0.05)
    assert float(x.var()) == pytest.approx(1 / 3, abs=0.05)
    few = steered(SVDD(soft, 2))
    assert abs(float(few.mean()) - 4 / 3) > abs(float(x.mean()) - 4 / 3)


def test_t11_the_reward_of_the_expected_data_overshoots():
    x = steered(SVDD(expected(far), 50))
    assert float(x.mean()) > 4 / 3 + 0.1
    assert float(x.var()) < 1 / 3


def test_one_candidate_is_no_steering():
    controller = SVDD(soft, 1)
    x = steered(controller, steps=40, count=3)
    assert controller.effective == [1.0] * 39
    free = SVDD(soft, 5, stop=100.0)
    assert not torch.equal(steered(free, steps=40, count=3), x)
    assert free.effective == []
    hot = steered(SVDD(soft, 8, temperature=1e9), count=2000)
    assert abs(float(hot.mean())) < 0.1


def test_smc_reaches_the_tilted_distribution_with_its_evidence():
    controller = SMC(lambda x, c, p: soft(x, c, p) if c.sigma else far(x))
    x = steered(controller, count=6000)
    share = controller.log_weights.softmax(0)
    mean = float((share * x).sum())
    assert mean == pytest.approx(4 / 3, abs=0.05)
    assert float((share * (x - mean) ** 2).sum()) == pytest.approx(1 / 3, abs=0.05)
    evidence = math.log(1 / math.sqrt(3)) - 4 / 3  # of E exp(-(x - 2)^2)
    assert controller.log_evidence == pytest.approx(evidence, abs=0.05)


def carrying(x, c, condition=None):
    return replace(STANDARD(x, c), aux={"seen": x})


@pytest.mark.parametrize("make", [lambda: SVDD(soft, 4), lambda: SMC(soft, resample=1.1)])
def test_what_is_chosen_carries_its_own_aux(make):
    calls = []

    def denoiser(x, c, condition=None):
        calls.append(len(x))
        return carrying(x, c)

    seen = []

    def watch(moment):
        seen.append((moment.state.x, moment.prediction.aux["seen"]))

    result = sample(
        denoiser, DDIM(1.0), karras(EDM(), 8, sb_max=20.0), 20 * normal(6, 1), controller=make(), noise=drawn(3), probes=[watch]
    )
    assert all(torch.equal(*pair) for pair in seen)
    assert result.evaluations == len(calls) <= 1 + 4 * 7


@pytest.mark.parametrize("make", [SVDD, SMC])
def test_rewards_may_be_yes_or_no_but_not_nothing(make):
    arguments = {"candidates": 3} if make is SVDD else {}
    grid, x = karras(EDM(), 6, sb_max=20.0), 20 * normal(64, 1)

    def run(reward):
        return sample(STANDARD, DDIM(1.0), grid, x, controller=make(expected(reward), **arguments), noise=drawn(3)).x

    assert len(run(lambda x0: x0[:, 0] > 0).unique()) > 8
    with pytest.raises(ValueError, match=r"the reward of samples \[5\] is no finite number"):
        run(lambda x0: torch.where(torch.arange(len(x0)) == 5, torch.nan, x0[:, 0]))
    with pytest.raises(ValueError, match=r"has shape \(64, 1\) for 64 samples"):
        run(lambda x0: x0)


def test_ensembles_do_not_begin_with_pure_noise():
    controller = AnnealedPosterior(Linear(torch.ones(1, 1).double(), torch.ones(1).double(), 0.5))
    with pytest.raises(ValueError, match="pure noise has no likelihood"):
        sample(STANDARD, DDIM(1.0), flow_shift(Flow(), 5), normal(4, 1), controller=controller, noise=drawn(1))


def test_steering_needs_a_choice():
    with pytest.raises(ValueError, match="adds no noise, so there is nothing to choose from"):
        sample(STANDARD, DDIM(), karras(EDM(), 4), normal(2, 1), controller=SVDD(soft, 3))
    with pytest.raises(ValueError, match="0 candidates"):
        SVDD(soft, 0)


def test_resampling_is_in_proportion():
    weights = torch.tensor([0.5, 0.0, 0.25, 0.25]).log().repeat(25)
    counts = torch.bincount(systematic(weights, drawn(1)), minlength=100).view(25, 4).sum(0)
    assert counts.tolist() == [50, 0, 25, 25]
    assert best(torch.tensor([1.0, 5.0, 2.0, 4.0, 3.0]), keep=2).tolist() == [1, 3]


@pytest.mark.parametrize("noise", [0.5, 0.1])
def test_t10_annealed_particles_sample_the_posterior_of_a_mixture(noise):
    weights, means = torch.tensor([0.4, 0.6]).double(), torch.tensor([[1.0, 0.5], [-1.0, 0.2]]).double()
    covariances = torch.stack([torch.diag(torch.tensor([0.3, 0.1])), torch.diag(torch.tensor([0.2, 0.4]))]).double()
    h, y = torch.tensor([[0.6, 0.8]]).double(), torch.tensor([0.3]).double()
    prior, grid = Mixture(weights, means, covariances), karras(EDM(), 300, sb_min=0.002, sb_max=20.0)
    runs = []
    for seed in range(8):
        controller = AnnealedPosterior(Linear(h, y, noise))
        start = 20 * normal(1000, 2, seed=seed)
        x = sample(prior, SDE(lambda c: c.sb), grid, start, controller=controller, noise=drawn(10 + seed)).x
        share = controller.log_weights.softmax(0)[:, None]
        mean = (share * x).sum(0)
        runs.append(torch.cat([mean, ((share * (x - mean)).mT @ (x - mean)).flatten(), torch.tensor([controller.log_evidence])]))
    want_mean, want, evidence = conditioned(weights, means, covariances, h, y, noise)
    got, expected = torch.stack(runs), torch.cat([want_mean, want.flatten(), torch.tensor([evidence])])
    assert ((got.mean(0) - expected).abs() < 4 * got.std(0) / 8**0.5).all()
    assert (got.mean(0) - expected).abs().max() < 0.12


def conditioned(weights, means, covariances, h, y, noise):
    """Mean, covariance and log evidence (without the constant of the noise) of a mixture after a linear measurement."""
    gains = covariances @ h.mT @ torch.linalg.inv(h @ covariances @ h.mT + noise**2)
    centres = means + (gains @ (y - (h @ means[..., None])[..., 0])[..., None])[..., 0]
    spreads = covariances - gains @ h @ covariances
    total = (h @ covariances @ h.mT + noise**2)[:, 0, 0]
    log_share = weights.log() - (y - (means @ h.mT)[:, 0]) ** 2 / total / 2 - total.log() / 2
    share = log_share.softmax(0)
    mean = (share[:, None] * centres).sum(0)
    covariance = (share[:, None, None] * (spreads + (centres - mean)[..., None] * (centres - mean)[:, None])).sum(0)
    return mean, covariance, float(log_share.logsumexp(0)) + math.log(noise)


def test_duplicated_particles_share_their_history_after_resampling():
    """With a solver that has a memory, copies of a particle go the same way when they get the same noise."""

    def keep(moment: Moment):
        from gen3d.priors.samplers.driver import Step

        return Step(moment.transition.state.index(torch.tensor([0, 0])) if moment.state.i == 3 else moment.transition.state)

    from gen3d.priors.samplers.solvers.momentum import Momentum

    x = sample(STANDARD, Momentum(2.8), karras(EDM(), 9, sb_max=5.0), 5 * normal(2, 1), controller=keep, noise=per_sample([1, 1])).x
    assert torch.equal(x[0], x[1])
