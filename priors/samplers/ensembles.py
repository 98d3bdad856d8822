"""Ensembles of posterior samples with weights: approximation-free diffusion posterior sampling (arXiv 2506.03979), annealed."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.priors.samplers.driver import Moment, Step
from gen3d.priors.samplers.steering import choosing, effective_share, systematic


@dataclass(frozen=True)
class Linear:
    """What linear measurements say of a state with noise sb: mu = r^T (noise_std^2 I + sb^2 H H^T)^-1 r / 2 with r = y - H x.

    The likelihood as it is would make the sampler stiff and overflow; this one is as wide as the state is noisy, and ends the same.

    Attributes:
        matrix: H `[m, d]` of flattened events.
        measured: y `[m]`.
        noise_std: of y, above 0.
    """

    matrix: Float[Tensor, "m d"]
    measured: Float[Tensor, " m"]
    noise_std: float

    def __call__(self, x: Float[Tensor, "n d"], sb: float) -> tuple[Float[Tensor, " n"], Float[Tensor, "n d"]]:
        """The value of mu for states in units of the data, and its gradient."""
        matrix, values, basis = self.matrix.to(x), self._turned[0].to(x), self._turned[1].to(x)
        spread = self.noise_std**2 + sb**2 * values
        rest = (self.measured.to(x) - x @ matrix.mT) @ basis
        return (rest.square() / spread).sum(1) / 2, -(rest / spread) @ basis.mT @ matrix

    @cached_property
    def _turned(self) -> tuple[Tensor, Tensor]:
        """Variances that unit noise of the state has in the measurements, and their axes."""
        values, axes = torch.linalg.eigh(self.matrix @ self.matrix.mT)
        return values, axes


class AnnealedPosterior:
    """Particles that are pulled towards the measurements, and weights that make up for it.

    A proposal is moved by std^2 times the slope of the log-likelihood where it leads; the ratio of what the solver proposed to what is
    drawn goes into the weight together with the change of the likelihood. In continuous time these are the drift and the weights of
    the paper; in this form they are exact for every step size, given the solver's own steps. One object for one run, of a stochastic
    solver on any path, from a finite sigma / alpha.

    Args:
        likelihood: its negative log and the gradient, of flattened states in units of the data with noise sb.
        resample: when the effective share of particles falls below this.

    Attributes:
        log_weights: `[n]` of the particles.
        log_evidence: log of the mean likelihood over the prior; with `Linear`, without the constant of the noise.
    """

    def __init__(self, likelihood: Callable[[Tensor, float], tuple[Tensor, Tensor]], *, resample: float = 0.5) -> None:
        self._likelihood, self._resample = likelihood, resample
        self._before: Tensor | None = None
        self.log_weights = torch.zeros(0)
        self.log_evidence = 0.0

    def __call__(self, moment: Moment) -> Step:
        """See `Controller`.

        Raises:
            ValueError: the grid begins with pure noise, or the solver is deterministic.
        """
        transition, d, last = moment.transition, moment.grid.coefs[moment.state.i + 1], moment.state.i + 1 == len(moment.grid)
        mean = transition.state.x.flatten(1)
        if self._before is None:
            first = moment.grid.coefs[moment.state.i]
            if first.alpha == 0:
                raise ValueError(
                    "pure noise has no likelihood to weigh particles by; begin the grid a little later, flow_shift(first=0.98)"
                )
            self._before = self._likelihood(moment.state.x.flatten(1) / first.alpha, float(first.sb))[0]
            self.log_weights = -self._before
        chosen, ratio = mean, torch.zeros_like(self._before)
        if choosing(moment):
            std, z = float(transition.std), moment.noise(transition.state.x.shape).flatten(1)
            shift = -(std**2) / d.alpha * self._likelihood(mean / d.alpha, float(d.sb))[1]
            chosen = mean + shift + std * z
            ratio = (shift.square() / 2 + std * z * shift).sum(1) / std**2
        mu = self._likelihood(chosen / d.alpha, float(d.sb))[0]
        self.log_weights, self._before = self.log_weights + self._before - mu - ratio, mu
        state = replace(transition.state, x=chosen.reshape(transition.state.x.shape))
        if not last and effective_share(self.log_weights) >= self._resample:
            return Step(state)
        self.log_evidence += float(self.log_weights.logsumexp(0)) - math.log(len(mean))
        if last:
            return Step(state)
        ancestors = systematic(self.log_weights, moment.noise)
        self.log_weights, self._before = torch.zeros_like(mu), mu[ancestors]
        return Step(state.index(ancestors), ancestors=ancestors)
