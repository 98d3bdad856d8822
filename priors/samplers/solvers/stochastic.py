"""Reverse SDEs: any amount of noise with the same marginals (Song et al. 2021; Albergo et al. 2023)."""

from collections.abc import Callable
from dataclasses import dataclass

from gen3d.priors.samplers.coefficients import Coef, Scalar, everywhere, sqrt, weighted
from gen3d.priors.samplers.grids import Grid
from gen3d.priors.samplers.predictions import Prediction
from gen3d.priors.samplers.solvers.exponential import phi
from gen3d.priors.samplers.stepping import OneStage, State, Transition, advanced


def classical(c: Coef) -> Scalar:
    """The kappa of the forward process' own reverse SDE: g^2 / 2 = sigma sigma' - (alpha' / alpha) sigma^2.

    Raises:
        ValueError: at pure noise, where it is infinite.
    """
    if everywhere(c.alpha == 0):
        raise ValueError(
            "the classical reverse SDE is infinitely noisy at alpha = 0; begin the grid a little later, flow_shift(first=0.98)"
        )
    return c.sigma * c.dsigma - c.dalpha / c.alpha * c.sigma**2


@dataclass(frozen=True)
class SDE(OneStage):
    """Euler-Maruyama in the path's time, x' = x - h u + h kappa s + sqrt(2 kappa h) z with the score s = -eps / sigma.

    The last step to clean data has no noise.

    Attributes:
        kappa: how much noise, at least 0 at every time; 0 is the ODE. Where it is infinite (`classical` for pure noise) start later.
    """

    kappa: Callable[[Coef], Scalar] = classical

    def transition(self, state: State, prediction: Prediction, grid: Grid) -> Transition:
        """To the next node."""
        c, d = (grid.coefs[state.i + j].like(state.x) for j in (0, 1))
        if everywhere(d.sigma == 0):
            return Transition(advanced(state, phi(prediction, d)))
        h = c.t - d.t
        kappa = self.kappa(c)
        x0, eps = c.alpha - h * c.dalpha, c.sigma - h * (c.dsigma + kappa / c.sigma)
        return Transition(advanced(state, weighted((x0, prediction.x0), (eps, prediction.eps))), sqrt(2 * kappa * h))
