"""Solvers: the same on every path, of the order that they claim, and as stable."""

import math

import pytest
import torch
from oracles import exact, leaning, moments, normal, two_modes

from gen3d.priors.samplers.driver import sample
from gen3d.priors.samplers.grids import flow_shift, from_sigmas, karras, log_snr
from gen3d.priors.samplers.paths import EDM, Cosine, Flow, VPLinear
from gen3d.priors.samplers.predictions import Prediction
from gen3d.priors.samplers.solvers.exponential import DDIM, DPMSolver
from gen3d.priors.samplers.solvers.heun import Heun
from gen3d.priors.samplers.solvers.levenberg import Levenberg, turned
from gen3d.priors.samplers.solvers.momentum import Momentum, coefficients, stability
from gen3d.priors.samplers.solvers.stochastic import SDE, classical
from gen3d.priors.samplers.solvers.unipc import UniPC
from gen3d.priors.samplers.stepping import State

pytestmark = pytest.mark.filterwarnings("ignore:DPM-Solver")
ALL = [
    DDIM(),
    DPMSolver(2),
    DPMSolver(3),
    Heun(),
    Momentum(1.8),
    Momentum(2.8),
    Momentum(3, kind="hb"),
    Momentum(1.8, automatic=True),
    UniPC(2),
    UniPC(3),
    Levenberg(),
]


def name(solver):
    return repr(solver).split(", coordinate")[0]


@pytest.mark.parametrize("solver", ALL, ids=name)
def test_t2_every_path_gives_the_same(solver):
    noise = [20 * (0.05 / 20) ** (i / 20) for i in range(21)] + [0.0]
    results = []
    for path in (EDM(), Flow(), VPLinear(), Cosine()):
        grid = from_sigmas(path, noise)
        results.append(sample(two_modes(), solver, grid, 20 * grid.coefs[0].alpha * normal(32, 2)).x)
    assert all((result - results[0]).abs().max() < 1e-12 for result in results[1:])


STARTED = (
    6  # steps whose history is exact: first steps of low order, and a velocity that starts as a field, would hide the order of the rest
)


def slope(solver, make, fields=None, *, counts=(40, 80, 160, 320), places=None):
    """The order of convergence that is seen, by least squares."""
    errors = []
    truth = exact(5 * normal(8, 2))
    for count in counts:
        grid = make(count)
        x = 5 * normal(8, 2)
        state = State(x) if fields is None else started(solver, grid, x, fields)
        got = sample(two_modes(), solver, grid, state).x / grid.coefs[-1].alpha
        errors.append(float((got - truth).norm(dim=-1).mean()))
    steps = torch.tensor([math.log(1 / count) for count in counts])
    values = torch.tensor(errors).log()
    return float(((steps - steps.mean()) * (values - values.mean())).sum() / (steps - steps.mean()).square().sum())


def started(solver, grid, x, fields):
    """A state with an exact past: places from a fine solution, memory as the solver would have left it."""
    places, memory, state = [x], (), State(x)
    for i in range(STARTED):
        c = grid.coefs[i]
        fine = from_sigmas(EDM(), torch.linspace(c.sb, grid.coefs[i + 1].sb, 65).tolist(), clean=False)
        places.append(sample(two_modes(), Heun(), fine, places[-1]).x)
        state = solver.transition(State(places[i], i, 0, memory), two_modes()(places[i], c), grid).state
        memory = state.memory
    return State(places[-1], STARTED, 0, memory)


def even(count):
    return log_snr(EDM(), count, sb_min=0.05, sb_max=5.0, clean=False)


@pytest.mark.parametrize(
    ("solver", "order"),
    [
        (DDIM(), 1),
        (DPMSolver(2), 2),
        (Heun(), 2),
        (Momentum(1.8), 2),
        (Momentum(1.8, uniform=True), 2),
        (Momentum(3, kind="hb"), 1),
        (UniPC(2), 3),
    ],
    ids=name,
)
def test_t3_orders(solver, order):
    """UniPC's corrector lifts its predictor of order two to three."""
    assert slope(solver, even) == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize(
    ("solver", "order"), [(DPMSolver(3), 3), (Momentum(2.8, uniform=True), 3), (Momentum(3, uniform=True), 3)], ids=name
)
def test_t3_higher_orders_with_an_exact_start(solver, order):
    assert slope(solver, even, fields=True, counts=(40, 80, 160, 320, 640)) == pytest.approx(order, abs=0.2)


def test_t3_fixed_coefficients_lose_the_order_on_uneven_steps():
    assert slope(Momentum(3), even, fields=True) < 2.6


def test_velocity_suits_flows_down_to_clean_data():
    x = normal(16, 2)
    truth = sample(two_modes(), Heun("velocity"), flow_shift(Flow(), 1500, shift=3.0), x).x
    errors = [
        float((sample(two_modes(), Momentum(1.8, "velocity"), flow_shift(Flow(), count, shift=3.0), x).x - truth).norm(dim=-1).mean())
        for count in (20, 40, 80)
    ]
    assert errors[0] / errors[1] > 3
    assert errors[1] / errors[2] > 3


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("beta", [1.0, 0.8, 0.5])
def test_t4_stability_has_a_closed_form(order, beta):
    tables = {1: -2 * (2 - beta) / beta, 2: -(2 - beta), 3: -6 * (2 - beta) / (12 - beta), 4: -3 * (2 - beta) / (11 - beta)}
    assert stability(order, beta) == pytest.approx(tables[order], rel=1e-12)
    assert stability(order, beta, kind="hb") == pytest.approx({1: -2, 2: -1, 3: -6 / 11, 4: -0.3}[order] * (2 - beta) / beta, rel=1e-12)
    for kind in ("ghvb", "hb"):
        limit = stability(order, beta, kind=kind)
        assert radius(order, beta, kind, limit * 0.999) < 1 < radius(order, beta, kind, limit * 1.001)


def radius(order, beta, kind, z):
    """The largest eigenvalue of one step of a method on y' = z y."""
    size = 1 + order  # place, and velocities or velocity and fields
    step = torch.zeros(size, size, dtype=torch.float64)
    if kind == "ghvb":
        step[1, 0], step[1, 1] = beta * z, 1 - beta
        for j in range(1, order):
            step[1 + j, j] = 1
        step[0] = sum(weight * step[1 + j] for j, weight in enumerate(coefficients(order, beta)))
        step[0, 0] += 1
        return float(torch.linalg.eigvals(step).abs().max())
    weights = coefficients(order, 1.0)
    step = torch.zeros(1 + order, 1 + order, dtype=torch.float64)  # place, velocity, older fields
    step[1, 0], step[1, 1] = beta * weights[0] * z, 1 - beta
    for j in range(1, order):
        step[1, 1 + j] = beta * weights[j]
    for j in range(1, order):
        step[1 + j] = torch.zeros(1 + order, dtype=torch.float64)
        step[1 + j, 0 if j == 1 else j] = z if j == 1 else 1
    step[0] = step[1].clone()
    step[0, 0] += 1
    return float(torch.linalg.eigvals(step).abs().max())


def test_coefficients_are_those_of_the_paper():
    b = 0.7
    assert coefficients(2, b) == pytest.approx(((2 + b) / (2 * b), -(2 - b) / (2 * b)))
    assert coefficients(3, b) == pytest.approx(((18 + 5 * b) / (12 * b), -(24 - 8 * b) / (12 * b), (6 - b) / (12 * b)))
    four = (46 + 9 * b, -(78 - 19 * b), 42 - 5 * b, -(10 - b))
    assert coefficients(4, b) == pytest.approx([value / (24 * b) for value in four])
    five = (1650 + 251 * b, -(3420 - 646 * b), 2880 - 264 * b, -(1380 - 106 * b), 270 - 19 * b)
    assert coefficients(5, b) == pytest.approx([value / (720 * b) for value in five])
    assert coefficients(3, 1.0) == pytest.approx((23 / 12, -16 / 12, 5 / 12))


@pytest.mark.parametrize(
    ("solver", "error"),
    [
        (Momentum(2.0), 1.43),
        (Momentum(1.8), 6.6e-4),
        (Momentum(2, kind="hb", beta=0.8), 4.5e-3),
        (Momentum(1.9), 0.047),
        (Momentum(1), 9.6e-3),
    ],
    ids=name,
)
def test_t5_a_stiff_equation(solver, error):
    """y' = [[0, 1], [-9, -10]] y from (-1, 0) to t = 3 in 26 steps, told as a denoiser whose eps is the field."""
    matrix = torch.tensor([[0.0, 1.0], [-9.0, -10.0]]).double()
    noise = torch.linspace(3, 0, 27).double()

    def field(x, c, condition):
        return Prediction(x + c.sigma * x @ matrix.mT, -x @ matrix.mT)  # noise falls while the time of the equation rises

    got = sample(field, solver, from_sigmas(EDM(), noise), torch.tensor([[-1.0, 0.0]]).double()).x
    want = torch.linalg.matrix_exp(3 * matrix) @ torch.tensor([-1.0, 0.0]).double()
    assert float((got - want).abs().max()) == pytest.approx(error, rel=0.05)


def test_damping_follows_stiffness():
    """The same equation with plain Adams-Bashforth diverges; damping that adapts holds it, and leaves a mild one alone."""
    matrix = torch.tensor([[0.0, 1.0], [-9.0, -10.0]]).double()
    grid = from_sigmas(EDM(), torch.linspace(3, 0, 27))
    x = torch.tensor([[-1.0, 0.0]]).double()

    def stiff(x, c, condition):
        return Prediction(x + c.sigma * x @ matrix.mT, -x @ matrix.mT)

    def mild(x, c, condition):
        return Prediction(x - 0.1 * c.sigma * x, 0.1 * x)

    assert sample(stiff, Momentum(2.0), grid, x).x.norm() > 1
    assert sample(stiff, Momentum(2.0, automatic=True), grid, x).x.norm() < 0.1
    assert torch.allclose(sample(mild, Momentum(2.0, automatic=True), grid, x).x, sample(mild, Momentum(2.0), grid, x).x, rtol=1e-12)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("path", [VPLinear(), Flow()], ids=["vp", "flow"])
def test_t7_covariance_converges_with_the_first_order(eta, path):
    denoiser, mean, covariance = leaning()
    errors = []
    for count in (100, 400, 1600):
        grid = log_snr(path, count, sb_min=0.01, sb_max=60.0)
        got_mean, got = moments(DDIM(eta), grid, mean, covariance, denoiser)
        assert (got_mean - mean).abs().max() < 1e-9
        errors.append(float((got - covariance).norm()))
    assert 3.6 < errors[0] / errors[1] < 4.4
    assert 3.6 < errors[1] / errors[2] < 4.4


@pytest.mark.parametrize("kappa", [lambda c: 0.0, lambda c: c.t, classical], ids=["ode", "t", "classical"])
def test_t24_every_amount_of_noise_has_the_same_marginals(kappa):
    denoiser, mean, covariance = leaning()
    errors = []
    for count in (400, 1600, 6400):
        grid = flow_shift(Flow(), count, first=0.95, last=0.0)
        got_mean, got = moments(SDE(kappa), grid, mean, covariance, denoiser)
        errors.append(float((got - covariance).norm() + (got_mean - mean).norm()))
    assert errors[-1] < 0.02
    assert 3.6 < errors[0] / errors[1] < 4.4
    assert 3.6 < errors[1] / errors[2] < 4.4


@pytest.mark.parametrize("solver", [DPMSolver(2, eta=1.0), DPMSolver(3, eta=0.7), Heun(churn=8.0)], ids=name)
def test_stochastic_samplers_have_the_right_moments(solver):
    denoiser, mean, covariance = leaning()
    grid = karras(EDM(), 40, sb_min=0.02, sb_max=40.0)
    noise = torch.Generator().manual_seed(3)

    def draws(shape):
        return torch.randn(shape, generator=noise, dtype=torch.float64)

    x = sample(denoiser, solver, grid, 40 * normal(20_000, 3), noise=draws).x
    assert (x.mean(0) - mean).abs().max() < 0.03
    assert (x.mT.cov() - covariance).abs().max() < 0.05


def test_t18_nothing_remembered_is_nothing_changed():
    g, before = torch.randn(3, 5), torch.randn(3, 5)
    assert turned(g, before, 0.0, 1.0) is g
    half = turned(g.bfloat16(), before.bfloat16(), 0.7, 1.0)
    assert half.dtype == torch.bfloat16
    wide = turned(g.bfloat16().float(), before.bfloat16().float(), 0.7, 1.0)
    assert torch.equal(half, wide.bfloat16())
    assert (wide.norm(dim=1) - g.bfloat16().float().norm(dim=1)).abs().max() < 1e-5
    assert 0.9 <= slope(Levenberg(0.7, 1.0), even) <= 1.15
    grid, x = even(20), 5 * normal(8, 2)
    assert torch.equal(sample(two_modes(), Levenberg(0.0), grid, x).x, sample(two_modes(), DDIM(), grid, x).x)


@pytest.mark.parametrize("solver", [DPMSolver(3), UniPC(3), Momentum(2.8), Momentum(3, kind="hb"), Levenberg(), Heun()], ids=name)
def test_t22_particles_keep_their_history(solver):
    grid, x = karras(EDM(), 12, sb_min=0.05, sb_max=5.0), 5 * normal(3, 2)
    chosen = torch.tensor([2, 0, 2, 1, 1])
    state = State(x)
    for _ in range(5 * solver.stages):
        state = solver.transition(state, two_modes()(state.x, solver.node(state, grid)), grid).state
    whole = sample(two_modes(), solver, grid, state).x
    assert torch.equal(sample(two_modes(), solver, grid, state.index(chosen)).x, whole[chosen])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DPMSolver(4), "the order is 4"),
        (lambda: UniPC(0), "the order is 0"),
        (lambda: DDIM(-0.1), "eta is -0.1"),
        (lambda: Momentum(0.0), "momentum number is 0.0"),
        (lambda: Momentum(2.5, kind="hb"), "heavy ball has a whole one"),
        (lambda: Momentum(2, kind="hb", beta=0.0), "beta is 0.0"),
        (lambda: Momentum(2, kind="hb", automatic=True), "for ghvb only"),
        (lambda: Levenberg(1.0), "kappa is 1.0"),
        (lambda: Levenberg(damping=0.0), "damping is 0.0"),
    ],
)
def test_settings_out_of_range_are_told(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_uniform_momentum_needs_a_smooth_grid():
    with pytest.raises(ValueError, match="does not come from a smooth function"):
        sample(two_modes(), Momentum(2.8, uniform=True), from_sigmas(EDM(), [5.0, 1.0, 0.0]), normal(2, 2))
