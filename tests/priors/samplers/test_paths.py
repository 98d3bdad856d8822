"""Paths, predictions, and networks on paths that they were not trained on."""

import math

import pytest
import torch
from oracles import ALPHAS, PATHS, normal, two_modes

from gen3d.priors.samplers.coefficients import Coef
from gen3d.priors.samplers.paths import EDM, Cosine, Flow, VPDiscrete, VPLinear, zero_terminal_snr
from gen3d.priors.samplers.predictions import Network, edm_time, implied_eps, target, to_x0


@pytest.mark.parametrize("path", ["flow", "vp", "cosine"])
@pytest.mark.parametrize("kind", ["eps", "x0", "v", "flow", "edm"])
def test_t1_predictions_convert_there_and_back(path, kind):
    x0, eps = normal(4, 3, 2), normal(4, 3, 2, seed=1)
    for t in (0.1, 0.5, 0.9):
        c = PATHS[path](t)
        x = PATHS[path].noised(x0, eps, t)
        back = to_x0(kind, target(kind, x0, eps, c), x, c)
        assert (back - x0).abs().max() < 1e-9
        assert (implied_eps(x, back, c) - eps).abs().max() < 1e-9


@pytest.mark.parametrize("path", list(PATHS))
def test_derivatives_are_those_of_the_coefficients(path):
    way = PATHS[path]
    for part in (0.2345, 0.5117, 0.8):
        t = way.cleanest + part * (min(way.noisiest, 999.0) - way.cleanest)
        step = 1e-5 * max(1.0, way.noisiest / 100)
        c, after, before = way(t), way(t + step), way(t - step)
        assert c.dalpha == pytest.approx((after.alpha - before.alpha) / (2 * step), abs=1e-6)
        assert c.dsigma == pytest.approx((after.sigma - before.sigma) / (2 * step), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("path", list(PATHS))
def test_the_time_of_a_noise_is_found(path):
    way = PATHS[path]
    for sb in (0.03, 0.4, 1.0, 7.0):
        assert way.at(sb).sb == pytest.approx(sb, rel=1e-9)
    assert way.at(0.0).sigma == pytest.approx(0.0, abs=1e-12)


def test_each_sample_and_each_token_may_have_its_own_time():
    x0, eps = normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=1)
    t = torch.tensor([[0.1, 0.5, 0.9], [0.2, 0.4, 0.6]]).double()
    mixed = Flow().noised(x0, eps, t)
    for b in range(2):
        for v in range(3):
            assert torch.allclose(mixed[b, v], (1 - t[b, v]) * x0[b, v] + t[b, v] * eps[b, v])
    c = Flow()(t)
    assert torch.allclose(to_x0("v", target("v", x0, eps, c), mixed, c), x0)
    with pytest.raises(ValueError, match="one for each sample or token"):
        c.like(x0[:, 0, 0, 0])


def test_pure_noise_and_clean_data_have_finite_coefficients():
    for path in (Flow(), Cosine(), VPDiscrete(zero_terminal_snr(ALPHAS))):
        c = path(path.noisiest)
        assert (c.alpha, c.sigma, c.sb, c.lam) == (0.0, 1.0, math.inf, -math.inf)
        assert path(path.cleanest).sigma == 0
    x, v = normal(2, 3), normal(2, 3, seed=1)
    assert torch.equal(to_x0("v", v, x, Flow()(1.0)), -v)
    with pytest.raises(ValueError, match="zero terminal SNR"):
        to_x0("eps", v, x, Flow()(1.0))


def test_zero_terminal_snr_keeps_the_first_step():
    moved = zero_terminal_snr(ALPHAS)
    assert moved[-1] == 0
    assert moved[0] == pytest.approx(float(ALPHAS[0]), rel=1e-12)


@pytest.mark.parametrize(
    ("table", "words"),
    [([0.9, 0.95], "must fall"), ([1.0, 0.5], "must fall"), ([[0.5]], "list of at least two"), ([0.5, -0.1], "must fall")],
)
def test_a_wrong_table_is_told(table, words):
    with pytest.raises(ValueError, match=words):
        VPDiscrete(torch.tensor(table))


def test_times_outside_are_told():
    with pytest.raises(ValueError, match=r"outside the path, which goes from 0 \(data\) to 1 \(noise\)"):
        Flow()(1.5)
    with pytest.raises(ValueError, match=r"sigma / alpha = 20 is asked for; this path has at most 14\.6"):
        VPDiscrete(ALPHAS).at(20.0)
    assert VPDiscrete(ALPHAS).at(VPDiscrete(ALPHAS).most).t == 999


@pytest.mark.parametrize(
    ("kind", "trained"), [("eps", VPLinear()), ("v", VPDiscrete(ALPHAS)), ("flow", Flow()), ("edm", EDM()), ("x0", Cosine())]
)
def test_a_network_serves_every_path(kind, trained):
    """A network that is right on its own path is right on another."""
    truth = two_modes()

    def net(entered, time, condition):
        c = (
            trained.at(float(time[0].double().mul(4).exp()))
            if kind == "edm"
            else trained(float(time[0].double().clamp(max=trained.noisiest)))
        )
        x = entered * (c.sb**2 + 0.25) ** 0.5 if kind == "edm" else entered
        known = truth(x, c)
        return target(kind, known.x0, known.eps, c)

    denoiser = Network(net, trained, kind, time=edm_time if kind == "edm" else None)
    for path in (Flow(), EDM(), VPLinear()):
        c = path.at(0.7)
        x = c.alpha * normal(8, 2) + c.sigma * normal(8, 2, seed=1)
        want, got = truth(x, c), denoiser(x, c)
        assert (got.x0 - want.x0).abs().max() < 1e-5  # networks are told the time in float32
        assert (got.eps - want.eps).abs().max() < 1e-5


def test_a_network_in_half_precision_leaves_the_state_alone():
    seen = []

    def net(x, time, condition):
        seen.append((x.dtype, time.dtype, condition))
        return x

    got = Network(net, Flow(), "flow", dtype=torch.bfloat16)(torch.ones(2, 3), Flow()(0.5), "a cat")
    assert seen == [(torch.bfloat16, torch.float32, "a cat")]
    assert got.x0.dtype == got.eps.dtype == torch.float32


def test_an_unknown_kind_is_told():
    with pytest.raises(ValueError, match="choose one of eps, x0, v, flow, edm"):
        to_x0("noise", normal(1, 2), normal(1, 2), Coef(0.5, 0.5, 0.5, -1, 1))
    with pytest.raises(ValueError, match="choose one of eps, x0, v, flow, edm"):
        target("noise", normal(1, 2), normal(1, 2), Coef(0.5, 0.5, 0.5, -1, 1))
