"""Grids: what is in them, what is refused, and where a solver must be careful."""

import math

import pytest
import torch
from oracles import ALPHAS, normal, two_modes

from gen3d.priors.samplers.coefficients import Coef
from gen3d.priors.samplers.driver import sample
from gen3d.priors.samplers.grids import Grid, flow_shift, from_sigmas, from_times, karras, log_snr, respaced, spaced
from gen3d.priors.samplers.paths import EDM, Cosine, Flow, VPDiscrete, VPLinear
from gen3d.priors.samplers.solvers.exponential import DDIM, DPMSolver
from gen3d.priors.samplers.solvers.heun import Heun
from gen3d.priors.samplers.solvers.momentum import Momentum
from gen3d.priors.samplers.solvers.unipc import UniPC
from gen3d.priors.samplers.stepping import State


@pytest.mark.parametrize(
    ("sigmas", "words"),
    [
        ([1.0, 0.5, 0.5], r"is repeated, so that a step would do nothing from node 1 \(0.5\) to 2"),
        ([1.0, 2.0, 0.0], r"rises from node 0 \(1\) to 1 \(2\)"),
        ([1.0, math.nan, 0.0], "time nan is outside the path"),
        ([1.0], "one step needs two"),
    ],
)
def test_t23_wrong_grids_are_refused(sigmas, words):
    with pytest.raises(ValueError, match=words):
        from_sigmas(EDM(), sigmas)


def test_t23_only_the_first_node_may_be_pure_noise():
    assert math.isinf(from_times(Flow(), [1.0, 0.5, 0.0]).coefs[0].sb)
    with pytest.raises(ValueError, match="only the first may be infinite"):
        Grid((Flow()(1.0), Flow()(1.0), Flow()(0.5)))
    with pytest.raises(ValueError, match="node 1 of the grid has sigma / alpha = nan"):
        Grid((EDM()(1.0), Coef(0.5, 1.0, math.nan, 0.0, 1.0), EDM()(0.0)))


def test_t23_long_last_steps_are_found_and_clamped():
    """The grid of a shifted flow that ends near clean data makes DPM-Solver++ extrapolate too far."""
    grid = from_sigmas(Flow(), [9.0, 5.0, 3.0, 1.5, 0.05, 0.0])
    assert grid.uneven() == [4 - 1]
    x0 = torch.ones(1, 1)
    with pytest.warns(UserWarning, match=r"extrapolates over steps \[3\]"):
        DPMSolver(2).transition(State(x0), _said(x0), grid)
    state = State(x0, 3, 0, (torch.zeros(1, 1),))
    clamped = DPMSolver(2).transition(state, _said(x0), grid).state.x
    free = DPMSolver(2, clamp=False).transition(state, _said(x0), grid).state.x
    c, d = grid.coefs[3], grid.coefs[4]
    gain = d.alpha - c.alpha * d.sigma / c.sigma
    weight = (d.lam - c.lam) / (c.lam - grid.coefs[2].lam) / 2
    assert weight > 1
    assert float(free - clamped) == pytest.approx((weight - 0.5) * gain)


@pytest.mark.parametrize("solver", [DPMSolver(2), DPMSolver(3), UniPC(2), UniPC(3)])
@pytest.mark.parametrize("steps", [8, 20])
def test_t23_clamped_solvers_are_no_worse_than_none(solver, steps):
    """On the grid that diffusers' flows have, whose last finite step is several times as long as the one before."""
    place = torch.linspace(1, 1 / 1000, steps).double()
    grid = from_times(Flow(), [*(3 * place / (1 + 2 * place)).tolist(), 0.0])
    x = normal(200, 2)
    want = sample(two_modes(), Heun("velocity"), flow_shift(Flow(), 400, shift=3.0), x).x
    with pytest.warns(UserWarning, match="its weight is clamped there"):
        got = sample(two_modes(), solver, grid, x).x
    assert (got - want).norm(dim=1).mean() < (sample(two_modes(), DDIM(), grid, x).x - want).norm(dim=1).mean()


def _said(x0):
    from gen3d.priors.samplers.predictions import Prediction

    return Prediction(x0, torch.zeros_like(x0))


def test_karras_nodes_are_those_of_the_paper():
    grid = karras(EDM(), 18)
    assert len(grid) == 18
    assert grid.coefs[0].sb == pytest.approx(80.0)
    assert grid.coefs[17].sb == pytest.approx(0.002)
    assert grid.coefs[18].sb == 0.0
    assert grid.coefs[5].sb == pytest.approx((80 ** (1 / 7) + 5 / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7)


def test_shift_moves_times_towards_noise():
    grid = flow_shift(Flow(), 8, shift=3.0)
    assert [c.t for c in grid.coefs][4] == pytest.approx(3 * 0.5 / (1 + 2 * 0.5))
    assert (grid.coefs[0].t, grid.coefs[-1].t) == (1.0, 0.0)
    with pytest.raises(ValueError, match="shift is 0"):
        flow_shift(Flow(), 8, shift=0.0)


@pytest.mark.parametrize("path", [EDM(), Flow(), VPLinear()], ids=["edm", "flow", "vp"])
@pytest.mark.parametrize("make", [karras, log_snr])
def test_rates_are_those_of_the_nodes(path, make):
    """Changes for each step, against finite differences of a grid a thousand times as fine."""
    coarse, fine = make(path, 11, sb_min=0.05, sb_max=5.0), make(path, 10_001, sb_min=0.05, sb_max=5.0)
    for i in (1, 4, 9):
        after, before = fine.coefs[1000 * i + 1], fine.coefs[1000 * i - 1]
        assert coarse.rates[i][0] == pytest.approx((after.sb - before.sb) / 2 * 1000, rel=1e-5)
        assert coarse.rates[i][1] == pytest.approx((after.t - before.t) / 2 * 1000, rel=1e-5)


def test_rates_of_times_are_known_too():
    grid = flow_shift(Flow(), 10, shift=2.0)
    assert math.isinf(grid.rates[0][0])
    t = 0.5
    dt = -2 / (1 + t) ** 2  # of 2t / (1 + t) at t = 1 - u
    place = 2 * t / (1 + t)
    assert grid.rates[5] == pytest.approx((dt / (1 - place) ** 2 / 10, dt / 10))
    with pytest.raises(ValueError, match="times of EDM go from 0 to 80"):
        flow_shift(EDM(), 4)


@pytest.mark.parametrize(
    ("spacing", "times"),
    [("trailing", [999, 749, 499, 249]), ("leading", [751, 501, 251, 1]), ("linspace", [999, 666, 333, 0])],
)
def test_steps_of_a_discrete_path(spacing, times):
    grid = respaced(VPDiscrete(ALPHAS), 4, spacing=spacing)
    assert [c.t for c in grid.coefs] == [*times, -1.0]
    assert grid.coefs[0].alpha == pytest.approx(float(ALPHAS[times[0]].sqrt()), rel=1e-12)
    assert grid.coefs[-1].sigma == 0


def test_requests_that_cannot_be_met_are_told():
    with pytest.raises(ValueError, match="the path has 1 to 1000"):
        respaced(VPDiscrete(ALPHAS), 1001)
    with pytest.raises(ValueError, match="choose trailing, leading or linspace"):
        respaced(VPDiscrete(ALPHAS), 5, spacing="even")
    with pytest.raises(ValueError, match="needs at least 2"):
        karras(EDM(), 1)
    with pytest.raises(ValueError, match="from the nodes 0 to 4"):
        karras(EDM(), 5).since(5)


def test_a_grid_is_entered_later():
    grid = karras(EDM(), 6)
    later = grid.since(2)
    assert (len(later), later.coefs, later.smooth) == (4, grid.coefs[2:], 3)
    assert later.rates == grid.rates[2:]


@pytest.mark.parametrize("solver", [Momentum(2.8, uniform=True), Momentum(2.8, coordinate="velocity", uniform=True)])
def test_a_grid_that_is_entered_later_leads_to_the_same_place(solver):
    fine, grid = log_snr(Cosine(), 800, sb_min=0.02, sb_max=20.0), log_snr(Cosine(), 40, sb_min=0.02, sb_max=20.0)
    start = sample(two_modes(), Heun(), log_snr(Cosine(), 400, sb_min=grid.coefs[10].sb, sb_max=20.0, clean=False), normal(16, 2)).x
    assert (sample(two_modes(), solver, grid.since(10), start).x - sample(two_modes(), Heun(), fine, normal(16, 2)).x).abs().max() < 0.03


def test_ends_are_declared():
    with pytest.raises(ValueError, match=r"ends at sigma / alpha = 0\.3, not with clean data"):
        from_sigmas(EDM(), [5.0, 1.0, 0.3])
    assert len(from_sigmas(EDM(), [5.0, 1.0, 0.3], clean=False)) == 2
    with pytest.raises(ValueError, match="ends at sigma / alpha = 1, not with clean data"):
        from_times(Flow(), [0.9, 0.5])
    with pytest.raises(ValueError, match="have clean data at the end of their times and others not"):
        from_times(Flow(), [[0.9, 0.9], [0.5, 0.5], [0.0, 0.1]], clean=False)
    with pytest.raises(ValueError, match=r"rises from node 0 \(1\) to 1 \(4\)"):
        from_times(Flow(), [[0.9, 0.5], [0.5, 0.8], [0.0, 0.0]])


def test_grids_are_made_in_inference_mode():
    with torch.inference_mode():
        assert len(spaced(EDM(), 3, lambda u: 4 - u)) == 3
