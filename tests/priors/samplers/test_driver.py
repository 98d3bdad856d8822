"""The loop: what it hands on, what it refuses, and that batches do not matter."""

import gc
import weakref
from dataclasses import replace
from typing import get_args

import pytest
import torch
from oracles import ALPHAS, normal, two_modes

from gen3d.priors.samplers.driver import per_sample, sample
from gen3d.priors.samplers.grids import from_times, karras
from gen3d.priors.samplers.paths import EDM, Flow, VPDiscrete, VPLinear
from gen3d.priors.samplers.predictions import Kind, Network, Prediction, mapped, target, to_x0
from gen3d.priors.samplers.solvers.exponential import DDIM, DPMSolver
from gen3d.priors.samplers.solvers.heun import Heun
from gen3d.priors.samplers.solvers.levenberg import Levenberg
from gen3d.priors.samplers.solvers.momentum import Momentum
from gen3d.priors.samplers.solvers.stochastic import SDE
from gen3d.priors.samplers.solvers.unipc import UniPC
from gen3d.priors.samplers.stepping import State

GRID = karras(EDM(), 8, sb_min=0.05, sb_max=5.0)


@pytest.mark.parametrize(("solver", "evaluations"), [(DDIM(), 8), (Heun(), 15), (DPMSolver(2), 8)])
def test_evaluations_are_counted_and_the_last_prediction_kept(solver, evaluations):
    def denoiser(x, c, condition):
        return replace(two_modes()(x, c), aux={"splats": condition, "sb": c.sb})

    result = sample(denoiser, solver, GRID, 5 * normal(2, 2), "a cat")
    assert result.evaluations == evaluations
    assert result.prediction.aux == {"splats": "a cat", "sb": GRID.coefs[-2].sb}
    assert torch.allclose(result.x, result.prediction.x0)


def test_a_sample_is_the_same_in_every_batch():
    x = 5 * normal(3, 2)
    whole = sample(two_modes(), DDIM(1.0), GRID, x, noise=per_sample([5, 6, 7], dtype=torch.float64)).x
    alone = sample(two_modes(), DDIM(1.0), GRID, x[1:2], noise=per_sample([6], dtype=torch.float64)).x
    assert torch.allclose(whole[1], alone[0], atol=1e-12)
    assert not torch.allclose(whole[1], sample(two_modes(), DDIM(1.0), GRID, x[1:2], noise=per_sample([9], dtype=torch.float64)).x[0])
    with pytest.raises(ValueError, match="3 samples want noise and there are 2 seeds"):
        sample(two_modes(), DDIM(1.0), GRID, x, noise=per_sample([5, 6]))


def test_a_stored_state_is_taken_up_again(tmp_path):
    x, solver = 5 * normal(3, 2), Momentum(2.8)
    state = State(x)
    for _ in range(4):
        state = solver.transition(state, two_modes()(state.x, solver.node(state, GRID)), GRID).state
    torch.save((state.x, state.i, state.stage, state.memory), tmp_path / "state.pt")
    stored = State(*torch.load(tmp_path / "state.pt"))
    assert torch.equal(sample(two_modes(), solver, GRID, stored).x, sample(two_modes(), solver, GRID, x).x)


def test_half_precision_states_are_computed_in_float32():
    result = sample(lambda x, c, condition: Prediction(0 * x, x / c.sigma), DDIM(), GRID, torch.ones(1, 2, dtype=torch.bfloat16))
    assert result.x.dtype == torch.float32


def test_each_token_may_have_its_own_time():
    """A grid of which half of the tokens has half of the noise gives each what it would get alone."""
    times = torch.linspace(0.9, 0.1, 9, dtype=torch.float64)
    x = normal(2, 2, 3)

    def denoiser(x, c, condition):
        k = c.like(x)
        x0 = k.alpha * x / (k.alpha**2 + k.sigma**2)
        return Prediction(x0, (x - k.alpha * x0) / k.sigma)

    for solver in (DDIM(), DDIM(0.5), DPMSolver(2), DPMSolver(3, eta=1.0), Momentum(1.8, "velocity"), Heun("velocity"), Heun()):
        noise = per_sample([1, 2], dtype=torch.float64)
        mixed = sample(
            denoiser, solver, from_times(Flow(), torch.stack([times, times / 2], 1)[:, None].expand(-1, 2, -1), clean=False), x, noise=noise
        ).x
        for token, grid in enumerate((from_times(Flow(), times, clean=False), from_times(Flow(), times / 2, clean=False))):
            alone = sample(denoiser, solver, grid, x, noise=per_sample([1, 2], dtype=torch.float64)).x
            assert torch.allclose(mixed[:, token], alone[:, token], atol=1e-12)


def test_inference_mode_and_compilation_are_possible():
    x = 5 * normal(2, 2)
    with torch.inference_mode():
        assert torch.equal(sample(two_modes(), DPMSolver(2), GRID, x).x, sample(two_modes(), DPMSolver(2), GRID, x).x)

    def step(x, x0, eps, before):
        return DPMSolver(2, clamp=False).transition(State(x, 3, 0, (before,)), Prediction(x0, eps), GRID).state.x

    parts = [normal(2, 2, seed=seed) for seed in range(4)]
    compiled = torch.compile(step, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(*parts), step(*parts))


def test_shapes_that_differ_are_told():
    with pytest.raises(ValueError, match=r"x0 has shape \(2, 3\) and the state \(2, 2\)"):
        sample(lambda x, c, condition: Prediction(normal(2, 3), x), DDIM(), GRID, normal(2, 2))
    with pytest.raises(ValueError, match="nothing left to do"):
        sample(two_modes(), DDIM(), GRID, State(normal(2, 2), len(GRID)))


def test_precision_is_that_of_the_state_with_any_times():
    """Coefficients in double precision leave states, predictions and targets in theirs."""
    net = Network(lambda x, t, condition: x.to(torch.float32), VPLinear(), "eps")
    for grid in (from_times(Flow(), [0.9, 0.5, 0.0]), from_times(Flow(), torch.tensor([[0.9, 0.8], [0.5, 0.4], [0.0, 0.0]]))):
        for solver in (DDIM(), DPMSolver(2), Momentum(1.8), Heun()):
            result = sample(net, solver, grid, torch.ones(2, 3))
            assert {result.x.dtype, result.prediction.x0.dtype, result.prediction.eps.dtype} == {torch.float32}
    c = Flow()(torch.tensor([0.3, 0.4]))
    for kind in get_args(Kind):
        assert target(kind, torch.ones(2, 3), torch.ones(2, 3), c).dtype == torch.float32
        assert to_x0(kind, torch.ones(2, 3), torch.ones(2, 3), c).dtype == torch.float32


@pytest.mark.parametrize("solver", [DDIM(1.0), DPMSolver(3), Momentum(2.8), UniPC(3), SDE(lambda c: c.sb), Levenberg(), Heun()])
def test_what_predictions_carry_comes_out(solver):
    def denoiser(x, c, condition):
        return replace(two_modes()(x, c), aux={"splats": [x + 1]})

    result = sample(denoiser, solver, GRID, 5 * normal(2, 2))
    assert result.prediction.aux["splats"][0].shape == (2, 2)


def test_values_are_mapped_in_all_that_holds_them():
    value = {"a": (torch.ones(2), [torch.zeros(2)]), "b": "text", "c": Prediction(torch.ones(2), torch.ones(2))}
    changed = mapped(lambda part: part + 1, value)
    assert (changed["a"][0].tolist(), changed["a"][1][0].tolist(), changed["b"]) == ([2, 2], [1, 1], "text")
    assert changed["c"].eps.tolist() == [2, 2]
    assert mapped(torch.add, value, value)["c"].x0.tolist() == [2, 2]


def test_nothing_is_kept_that_is_not_needed():
    """While the network runs there is one state and the memory; of earlier predictions nothing."""
    alive = []

    def denoiser(x, c, condition):
        gc.collect()
        alive.append(sum(1 for reference in references if reference() is not None))
        prediction = Prediction(x * 0.5, x * 0.25)
        references.extend([weakref.ref(prediction.x0), weakref.ref(prediction.eps)])
        return prediction

    for solver, kept in ((DDIM(), 0), (DPMSolver(2), 1), (DPMSolver(3), 2)):
        references: list = []
        alive.clear()
        sample(denoiser, solver, GRID, normal(2, 2))
        assert max(alive) == kept


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("solver", [DDIM(1.0), DPMSolver(3), Momentum(2.8), UniPC(3), SDE(lambda c: c.sb), Levenberg(), Heun()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gpu_gives_what_the_cpu_gives(solver, dtype):
    """The same seeds on both; in bfloat16 the network alone is rough, states stay in float32."""

    def run(device):
        net = Network(lambda x, t, condition: 0.5 * x, VPDiscrete(ALPHAS), "v", dtype=dtype)
        noise = per_sample([1, 2], device=device)
        x = noise((2, 3, 8, 8)) * GRID.coefs[0].spread
        return sample(net, solver, GRID, x, noise=noise).x

    made = run("cuda")
    assert (made.device.type, made.dtype) == ("cuda", torch.float32)
    assert torch.allclose(made.cpu(), run("cpu"), atol=1e-4 if dtype == torch.float32 else 0.1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_times_of_samples_may_live_on_a_gpu():
    path, t = VPDiscrete(ALPHAS), torch.tensor([10.0, 500.0], device="cuda")
    x0 = torch.ones(2, 3, device="cuda")
    assert torch.allclose(path.noised(x0, 0 * x0, t).cpu(), path.noised(x0.cpu(), 0 * x0.cpu(), t.cpu()))
