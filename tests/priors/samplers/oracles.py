"""Data whose exact denoisers are known, and the ways that tests compare with them."""

import torch
from torch import Tensor

from gen3d.priors.samplers.analytic import Gaussian, Mixture
from gen3d.priors.samplers.driver import sample
from gen3d.priors.samplers.grids import Grid, log_snr
from gen3d.priors.samplers.paths import EDM, Cosine, Flow, VPDiscrete, VPLinear
from gen3d.priors.samplers.solvers.heun import Heun
from gen3d.priors.samplers.stepping import Solver, State

ALPHAS = (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2).cumprod(0)
PATHS = {"flow": Flow(), "edm": EDM(), "vp": VPLinear(), "cosine": Cosine(), "discrete": VPDiscrete(ALPHAS)}


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in double precision."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def two_modes() -> Mixture:
    """Two round modes in the plane."""
    covariances = torch.stack([0.05 * torch.eye(2), 0.1 * torch.eye(2)]).double()
    return Mixture(torch.tensor([0.4, 0.6]).double(), torch.tensor([[1.0, 0.5], [-1.0, 0.2]]).double(), covariances)


def leaning() -> tuple[Gaussian, Tensor, Tensor]:
    """Normal data in three dimensions, their mean and covariance."""
    root = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.6, 0.0], [-0.3, 0.2, 0.4]]).double()
    mean, covariance = torch.tensor([0.3, -0.5, 0.1]).double(), root @ root.mT
    return Gaussian.of(mean, covariance), mean, covariance


def exact(x: Tensor, *, high: float = 5.0, low: float = 0.05) -> Tensor:
    """Where the ODE takes states of the EDM path with two modes from one noise to another, to about 1e-10 (Richardson)."""
    coarse, fine = (sample(two_modes(), Heun(), log_snr(EDM(), n, sb_min=low, sb_max=high, clean=False), x).x for n in (800, 1600))
    return (4 * fine - coarse) / 3


def moments(solver: Solver, grid: Grid, mean: Tensor, covariance: Tensor, denoiser: Gaussian) -> tuple[Tensor, Tensor]:
    """Mean and covariance of what a solver makes of normal data, without random numbers: every step is affine in x and z.

    The memory of multistep solvers is not followed: only solvers without any.
    """
    c = grid.coefs[0]
    m, p = c.alpha * mean, c.alpha**2 * covariance + c.sigma**2 * torch.eye(len(mean)).double()
    basis = torch.cat([torch.zeros(1, len(mean)).double(), torch.eye(len(mean)).double()])
    for i in range(len(grid)):
        state = State(basis, i)
        transition = solver.transition(state, denoiser(basis, grid.coefs[i]), grid)
        shift, matrix = transition.state.x[0], (transition.state.x[1:] - transition.state.x[0]).mT
        m, p = matrix @ m + shift, matrix @ p @ matrix.mT + float(transition.std) ** 2 * torch.eye(len(mean)).double()
    return m, p
