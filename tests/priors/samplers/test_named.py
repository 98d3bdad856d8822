"""Solvers by name: how often they call the network."""

import pytest
import torch

from gen3d.priors.samplers.driver import per_sample, sample
from gen3d.priors.samplers.named import SOLVERS, solver_and_grid
from gen3d.priors.samplers.predictions import Prediction, implied_eps
from gen3d.priors.samplers.starts import from_noise


@pytest.mark.parametrize("evaluations", [1, 5, 8])
@pytest.mark.parametrize("name", SOLVERS)
def test_solvers_spend_what_they_may(name, evaluations):
    solver, grid = solver_and_grid(name, evaluations)
    noise = per_sample([0])

    def constant(x, c, condition=None):
        x0 = torch.full_like(x, 0.25)
        return Prediction(x0, implied_eps(x, x0, c))

    done = sample(constant, solver, grid, from_noise(grid, noise((1, 3))))
    assert done.evaluations == (evaluations - 1 + evaluations % 2 if name == "heun" else evaluations)
    assert torch.allclose(done.prediction.x0, torch.full((1, 3), 0.25))
