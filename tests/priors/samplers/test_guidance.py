"""Guidance: what each kind does to x0, and what it leaves alone."""

import pytest
import torch
from oracles import normal

from gen3d.priors.samplers.driver import sample
from gen3d.priors.samplers.grids import from_times, karras
from gen3d.priors.samplers.guidance import APG, CFG, CFGpp, Project
from gen3d.priors.samplers.paths import EDM, Flow
from gen3d.priors.samplers.predictions import Prediction, implied_eps
from gen3d.priors.samplers.solvers.exponential import DDIM, DPMSolver
from gen3d.priors.samplers.solvers.momentum import Momentum
from gen3d.priors.samplers.solvers.stochastic import SDE
from gen3d.priors.samplers.solvers.unipc import UniPC
from gen3d.priors.samplers.starts import Known

C = Flow()(0.4)
X = normal(2, 3, 4)
WITH, WITHOUT = normal(2, 3, 4, seed=1), normal(2, 3, 4, seed=2)


def told(x, c, condition):
    """One prediction with a condition, another without."""
    x0 = WITHOUT if condition is None else WITH
    return Prediction(x0, implied_eps(x, x0, c), aux=condition)


def test_cfg_extrapolates_and_keeps_what_the_condition_brought():
    got = CFG(told, 3.0)(X, C, "a cat")
    assert torch.allclose(got.x0, WITHOUT + 3 * (WITH - WITHOUT))
    assert torch.allclose(got.eps, implied_eps(X, got.x0, C))
    assert got.aux == "a cat"
    in_noise = told(X, C, None).eps + 3 * (told(X, C, "a cat").eps - told(X, C, None).eps)
    assert (got.eps - in_noise).abs().max() < 1e-13


def test_outside_its_interval_guidance_costs_nothing():
    calls = []

    def counted(x, c, condition):
        calls.append(condition)
        return told(x, c, condition)

    guidance = CFG(counted, 3.0, low=0.2, high=0.5)
    assert torch.equal(guidance(X, C, "a cat").x0, WITH)  # sigma / alpha is 2 / 3
    assert calls == ["a cat"]
    guidance(X, Flow().at(0.3), "a cat")
    assert calls == ["a cat", "a cat", None]


def test_rescaling_brings_the_deviation_back():
    plain, full = CFG(told, 8.0)(X, C, "a cat").x0, CFG(told, 8.0, rescale=1.0)(X, C, "a cat").x0
    assert torch.allclose(full.flatten(1).std(1), WITH.flatten(1).std(1))
    assert torch.allclose(CFG(told, 8.0, rescale=0.7)(X, C, "a cat").x0, 0.7 * full + 0.3 * plain)


def test_autoguidance_asks_the_weaker_network_with_the_condition():
    def weak(x, c, condition):
        assert condition == "a cat"
        return Prediction(WITHOUT, X)

    assert torch.allclose(CFG(told, 2.0, weak=weak)(X, C, "a cat").x0, 2 * WITH - WITHOUT)


def test_cfgpp_puts_the_unconditional_noise_back():
    got = CFGpp(told, 0.6)(X, C, "a cat")
    assert torch.allclose(got.x0, WITHOUT + 0.6 * (WITH - WITHOUT))
    assert torch.equal(got.eps, told(X, C, None).eps)
    grid = karras(EDM(), 2, sb_min=0.1, sb_max=1.0)
    x = sample(CFGpp(told, 0.6), DDIM(), grid.since(0), X, "a cat")
    assert torch.allclose(x.x, got.x0)
    with pytest.raises(ValueError, match=r"the weight is 7.5; CFG\+\+ interpolates"):
        CFGpp(told, 7.5)


def test_apg_leaves_out_what_is_parallel():
    got = APG(told, 5.0)(X, C, "a cat").x0 - WITH
    assert (got * WITH).sum((1, 2)).abs().max() < 1e-10
    assert torch.allclose(APG(told, 5.0, parallel=1.0)(X, C, "a cat").x0, CFG(told, 5.0)(X, C, "a cat").x0)


def test_apg_limits_each_view_for_itself():
    limited = APG(told, 2.0, parallel=1.0, limit=0.5, axes=(2,))(X, C, "a cat").x0 - WITH
    assert torch.allclose(limited.norm(dim=2), torch.full((2, 3), 0.5).double())
    joint = APG(told, 2.0, parallel=1.0, limit=0.5)(X, C, "a cat").x0 - WITH
    assert torch.allclose(joint.flatten(1).norm(dim=1), torch.full((2,), 0.5).double())


def test_apg_remembers_the_step_before():
    guidance = APG(told, 2.0, parallel=1.0, momentum=-0.5)
    steps = [guidance(X, Flow()(t), "a cat").x0 - WITH for t in (0.4, 0.3, 0.3, 0.2, 0.4)]
    first = WITH - WITHOUT
    # a node may be evaluated twice, and noise that rises is a new run
    for step, share in zip(steps, (1.0, 0.5, 0.5, 0.75, 1.0), strict=True):
        assert torch.allclose(step, share * first)


def test_apg_has_an_interval_too():
    assert torch.equal(APG(told, 5.0, low=1.0)(X, C, "a cat").x0, WITH)


@pytest.mark.parametrize("solver", [DPMSolver(1), Momentum(1), SDE(lambda c: 0.0 * c.t)], ids=["dpm", "momentum", "sde"])
def test_solvers_put_back_the_noise_that_cfgpp_says(solver):
    """At order one all of them are DDIM, also where noise and x0 do not belong together; in wrappers too."""
    grid = from_times(Flow(), [0.8, 0.5, 0.2], clean=False)
    nothing = Known(CFGpp(told, 0.6), X, torch.zeros(1, 1, 1))
    kept = Project(CFGpp(told, 0.6), lambda x0, c, aux: (x0, aux))
    want = sample(CFGpp(told, 0.6), DDIM(), grid, X, "a cat").x
    assert not torch.allclose(want, sample(CFG(told, 0.6), DDIM(), grid, X, "a cat").x)
    for guided in (CFGpp(told, 0.6), nothing, kept):
        if not isinstance(solver, SDE):
            assert torch.allclose(sample(guided, solver, grid, X, "a cat").x, want)
        assert torch.allclose(sample(guided, DDIM(), grid, X, "a cat").x, want)
    with pytest.raises(ValueError, match=r"noise is its own \(CFG\+\+\), which UniPC cannot follow"):
        sample(CFGpp(told, 0.6), UniPC(), grid, X, "a cat")


def test_a_projection_acts_between_denoiser_and_solver():
    """Views that are all rendered from one thing, here their mean, end alike, and the thing comes out."""

    def rendered(x0, c, aux):
        mean = x0.mean(1, keepdim=True)
        return mean.expand_as(x0), {"thing": mean, "said": aux}

    result = sample(Project(CFG(told, 2.0), rendered), DPMSolver(2), karras(EDM(), 5), 80 * X, "a cat")
    assert (result.x - result.x[:, :1]).abs().max() < 1e-9
    assert torch.allclose(result.prediction.aux["thing"], (2 * WITH - WITHOUT).mean(1, keepdim=True))
    assert result.prediction.aux["said"] == "a cat"


def test_guidance_nests():
    """Both halves of the guidance are projected, or its result is."""

    def halved(x0, c, aux):
        return x0 / 2, aux

    inside, outside = CFG(Project(told, halved), 3.0)(X, C, "a cat"), Project(CFG(told, 3.0), halved)(X, C, "a cat")
    assert torch.allclose(inside.x0, outside.x0)
    assert torch.allclose(inside.eps, outside.eps)
