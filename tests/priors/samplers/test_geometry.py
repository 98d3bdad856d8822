"""The Fokker-Planck residual, intrinsic dimension and divergence against closed forms."""

import pytest
import torch
from oracles import PATHS, normal, two_modes

from gen3d.priors.samplers.analytic import Gaussian
from gen3d.priors.samplers.fokker_planck import divergence, fokker_planck_residual, intrinsic_dimension
from gen3d.priors.samplers.paths import EDM, Flow
from gen3d.priors.samplers.predictions import Network, Prediction


def states(name, count=64):
    """Noised data of two modes with times of their own, away from both ends."""
    path = PATHS[name]
    t = {"edm": 0.3, "discrete": 99.3}.get(name, 0.25) + torch.linspace(0, 1, count).double() * {"edm": 2, "discrete": 700}.get(name, 0.5)
    data = two_modes().sample(count, torch.Generator().manual_seed(0))
    return path, path.noised(data, normal(count, 2), t), t


@pytest.mark.parametrize("name", sorted(PATHS))
def test_t13_an_exact_score_has_no_residual(name):
    path, x, t = states(name)
    assert fokker_planck_residual(two_modes(), path, x, t).abs().max() < 1e-10


def test_t13_the_residual_grows_with_the_error():
    path, x, t = states("flow")

    def off(amount):
        return lambda x, c, condition=None: Prediction(two_modes()(x, c).x0 + amount * torch.sin(3 * x), x)

    small, large = (fokker_planck_residual(off(a), path, x, t).detach().square().mean().sqrt().item() for a in (1e-3, 1e-2))
    assert small > 1e-4
    assert large / small == pytest.approx(10, rel=0.1)


def test_the_residual_trains_a_network():
    """As a regulariser it has gradients in the weights, from both of its terms, and falls."""
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2))
    network = Network(lambda x, t, _: layers(torch.cat([x, t[:, None]], 1)), Flow(), "flow")
    _, x, t = states("flow", 32)
    directions = torch.randint(0, 2, (4, 32, 2), generator=torch.Generator().manual_seed(0)).float() * 2 - 1
    optimizer = torch.optim.Adam(layers.parameters(), 3e-3)
    losses = []
    for _ in range(200):
        residual = fokker_planck_residual(network, Flow(), x.float(), t, directions=directions)
        loss = (t[:, None] ** 4 * residual**2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]


def test_flat_data_have_the_dimension_of_their_plane():
    """Normal data of rank three in ten dimensions: 3 / (1 + noise^2) in all."""
    basis = torch.linalg.qr(normal(10, 3))[0]
    gaussian, x = Gaussian(torch.zeros(10).double(), basis, torch.ones(3).double()), normal(4, 2, 5)
    for noise, expected in ((1.0, 1.5), (0.1, 3 / 1.01), (0.01, 3 / 1.0001)):
        for path in (EDM(), Flow()):
            got = intrinsic_dimension(gaussian, path, x, level=noise)
            assert torch.allclose(got, torch.full((4,), expected).double(), atol=1e-9)


def test_random_signs_estimate_the_trace():
    matrix = normal(5, 5)
    x = normal(3, 5).requires_grad_()
    signs = torch.randint(0, 2, (4000, 3, 5), generator=torch.Generator().manual_seed(0)).double() * 2 - 1
    exact, guessed = (divergence(x @ matrix.mT, x, directions) for directions in (None, signs))
    assert torch.allclose(exact, matrix.trace().expand(3))
    error = ((matrix + matrix.mT).square().sum() - (2 * matrix.diagonal()).square().sum()).div(2).sqrt() / 4000**0.5
    assert (guessed - exact).abs().max() < 4 * error
