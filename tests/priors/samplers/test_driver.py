"""The loop: what it hands on, what it refuses, and that batches do not matter."""

from dataclasses import replace

import pytest
import torch
from oracles import normal, two_modes

from gen3d.priors.samplers.driver import per_sample, sample
from gen3d.priors.samplers.grids import from_times, karras
from gen3d.priors.samplers.paths import EDM, Flow
from gen3d.priors.samplers.predictions import Prediction
from gen3d.priors.samplers.solvers.exponential import DDIM, DPMSolver
from gen3d.priors.samplers.solvers.heun import Heun
from gen3d.priors.samplers.solvers.momentum import Momentum
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
    assert torch.equal(sample(two_modes(), solver, GRID, x, state=stored).x, sample(two_modes(), solver, GRID, x).x)


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
            denoiser, solver, from_times(Flow(), torch.stack([times, times / 2], 1)[:, None].expand(-1, 2, -1)), x, noise=noise
        ).x
        for token, grid in enumerate((from_times(Flow(), times), from_times(Flow(), times / 2))):
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
        sample(two_modes(), DDIM(), GRID, normal(2, 2), state=State(normal(2, 2), len(GRID)))
