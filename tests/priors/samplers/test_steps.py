"""Single steps of solvers against integrals, published algorithms and each other."""

import math
from itertools import pairwise

import pytest
import torch
from oracles import normal, two_modes

from gen3d.priors.samplers.driver import per_sample, sample
from gen3d.priors.samplers.grids import from_sigmas, from_times
from gen3d.priors.samplers.paths import EDM, Flow
from gen3d.priors.samplers.predictions import Prediction
from gen3d.priors.samplers.solvers.exponential import DDIM, DPMSolver
from gen3d.priors.samplers.solvers.heun import Heun
from gen3d.priors.samplers.solvers.levenberg import turned
from gen3d.priors.samplers.solvers.momentum import Momentum
from gen3d.priors.samplers.solvers.stochastic import SDE, classical
from gen3d.priors.samplers.solvers.unipc import UniPC, _moved
from gen3d.priors.samplers.stepping import State

pytestmark = pytest.mark.filterwarnings("ignore:DPM-Solver")


def integral(x, values, c, d, eta):
    """The exact mean of the step when x0 is a polynomial of log(alpha / sigma), by quadrature of exp(-(1 + eta) (end - place)) x0."""
    h = d.lam - c.lam
    place = torch.linspace(c.lam, d.lam, 200_001, dtype=torch.float64)
    kernel = (1 + eta) * torch.exp(-(1 + eta) * (d.lam - place)) * values(place)
    return d.sigma / c.sigma * math.exp(-eta * h) * x + d.alpha * torch.trapezoid(kernel, place)


@pytest.mark.parametrize("eta", [0.0, 0.7])
@pytest.mark.parametrize("path", [EDM(), Flow()], ids=["edm", "flow"])
def test_order_three_is_exact_for_parabolas(path, eta):
    grid = from_sigmas(path, [3.0, 2.0, 1.5, 1.0], clean=False)
    coefs, x = grid.coefs, torch.tensor([[0.7]]).double()

    def x0(lam):
        return 1 + 2 * lam - 3 * lam**2

    solver, place = DPMSolver(3, eta=eta), coefs[2]
    said = Prediction(torch.full((1, 1), x0(place.lam), dtype=torch.float64), (x - place.alpha * x0(place.lam)) / place.sigma)
    memory = tuple(torch.full((1, 1), x0(coefs[j].lam), dtype=torch.float64) for j in (1, 0))
    got = solver.transition(State(x, 2, 0, memory), said, grid).state.x
    assert float(got) == pytest.approx(float(integral(x, x0, coefs[2], coefs[3], eta)), abs=1e-8)


def test_unipc_predicts_parabolas_and_corrects_cubics():
    grid = from_sigmas(EDM(), [3.0, 2.0, 1.5, 1.0, 0.7], clean=False)
    coefs, x = grid.coefs, torch.tensor([[0.7]]).double()

    def run(x0, *, corrected):
        said = [torch.full((1, 1), x0(c.lam), dtype=torch.float64) for c in coefs]
        begin = State(x, 2, 0, (said[1], said[0], x))  # what came before does not matter: the corrected state is set below
        following = _moved(x, (said[3], said[2], said[1], said[0]), coefs, 2, 3, corrected=corrected)
        return float(following), float(integral(begin.x, x0, coefs[2], coefs[3], 0.0))

    got, want = run(lambda lam: 1 + 2 * lam - 3 * lam**2, corrected=False)
    assert got == pytest.approx(want, abs=1e-8)
    got, want = run(lambda lam: 1 + 2 * lam - 3 * lam**2 + 0.5 * lam**3, corrected=True)
    assert got == pytest.approx(want, abs=1e-8)


def test_churn_is_that_of_the_paper():
    """Karras et al. 2022, algorithm 2, written out, with churn between two noises only."""
    grid = from_sigmas(EDM(), [5.0, 3.0, 1.5, 0.5, 0.0])
    drawn = [normal(4, 2, seed=seed) for seed in range(4)]
    source = iter(drawn)
    solver = Heun(churn=1.2, churn_from=1.0, churn_to=4.0, churn_noise=1.05)
    got = sample(two_modes(), solver, grid, 5 * normal(4, 2, seed=9), noise=lambda shape: next(source)).x
    x, used = 5 * normal(4, 2, seed=9), 0
    for c, d in pairwise(grid.coefs):
        sigma = c.sigma
        if 1.0 <= sigma <= 4.0:
            sigma = c.sigma * (1 + min(1.2 / 4, math.sqrt(2) - 1))
            x, used = x + math.sqrt(sigma**2 - c.sigma**2) * 1.05 * drawn[used], used + 1
        slope_here = (x - two_modes()(x, EDM()(sigma)).x0) / sigma
        moved = x + (d.sigma - sigma) * slope_here
        if d.sigma:
            there = (moved - two_modes()(moved, d).x0) / d.sigma
            moved = x + (d.sigma - sigma) * (slope_here + there) / 2
        x = moved
    assert used == 2
    assert (got - x).abs().max() < 1e-12


def test_the_classical_amount_of_noise_of_a_flow():
    assert classical(Flow()(0.3)) == pytest.approx(0.3 / 0.7)
    with pytest.raises(ValueError, match="infinitely noisy at alpha = 0"):
        classical(Flow()(1.0))


def test_directions_are_turned_by_their_damping():
    """With m = g both parts are parallel; at right angles to the direction before, a part a of it is left: a (1 - k m.g / (1 + l) m.m)."""
    g, before = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[0.0, 1.0]]).double()
    m = torch.tensor([0.3, 0.7]).double()  # kappa 0.7
    want = g - m * (m @ g[0]) / ((1 + 2.0) * m @ m)
    assert torch.allclose(turned(g, before, 0.7, 2.0), want / want.norm())


def test_times_of_their_own_are_refused_where_they_cannot_be():
    grid = from_times(Flow(), torch.tensor([[0.9, 0.8], [0.5, 0.4], [0.0, 0.0]]))
    for solver, words in ((UniPC(), "samples have times of their own"), (Heun(churn=1.0), "churn needs one time for all")):
        with pytest.raises(ValueError, match=words):
            sample(two_modes(), solver, grid, normal(2, 2))
    for solver in (SDE(lambda c: c.t), DDIM(1.0)):
        noise = per_sample([1, 2], dtype=torch.float64)
        both = sample(two_modes(), solver, grid, normal(2, 2), noise=noise).x
        alone = sample(
            two_modes(), solver, from_times(Flow(), [0.8, 0.4, 0.0]), normal(2, 2)[1:], noise=per_sample([2], dtype=torch.float64)
        )
        assert torch.allclose(both[1:], alone.x)


def test_a_sample_at_its_own_time_does_not_depend_on_its_neighbours():
    times = torch.tensor([[0.9, 0.9], [0.7, 0.8], [0.3, 0.7], [0.0, 0.0]])  # the first one's steps are uneven
    for solver in (DPMSolver(2), DPMSolver(3), Momentum(1.8), Heun()):
        both = sample(two_modes(), solver, from_times(Flow(), times), normal(2, 2)).x
        for i in range(2):
            alone = sample(two_modes(), solver, from_times(Flow(), times[:, i].tolist()), normal(2, 2)[i : i + 1]).x
            assert torch.allclose(both[i : i + 1], alone)


def test_states_go_to_a_device_with_their_memory():
    moved = State(torch.zeros(1), 2, 1, (torch.zeros(2),)).to("meta")
    assert (moved.x.device.type, moved.memory[0].device.type, moved.i, moved.stage) == ("meta", "meta", 2, 1)
