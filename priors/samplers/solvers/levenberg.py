"""Experimental: Levenberg-Marquardt-Langevin (arXiv 2505.24222) in a form that does something.

The published form removes from a direction g its part along m = g itself and restores the length, which changes nothing but
rounding. Here m remembers earlier directions, and damping is relative to m, so that the method converges. It is of first order and
extrapolates directions; DPM-Solver++ of order two does that better.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gen3d.priors.samplers.coefficients import weighted
from gen3d.priors.samplers.grids import Grid
from gen3d.priors.samplers.predictions import Prediction
from gen3d.priors.samplers.solvers.exponential import phi
from gen3d.priors.samplers.stepping import OneStage, State, Transition, advanced


@dataclass(frozen=True)
class Levenberg(OneStage):
    """DDIM along turned directions.

    Attributes:
        kappa: how much of the direction before is remembered, in [0, 1); 0 is DDIM.
        damping: in units of |m|^2, above 0; 1 is a good choice.

    Raises:
        ValueError: a number is out of its range.
    """

    kappa: float = 0.7
    damping: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.kappa < 1:
            raise ValueError(f"kappa is {self.kappa}; it must be at least 0 and below 1")
        if not self.damping > 0:
            raise ValueError(f"damping is {self.damping}; it must be above 0")

    def transition(self, state: State, prediction: Prediction, grid: Grid) -> Transition:
        """To the next node."""
        c, d = (grid.coefs[state.i + j].like(state.x) for j in (0, 1))
        moved = phi(prediction, d)
        if state.memory and self.kappa:
            direction = turned(prediction.eps, state.memory[0], self.kappa, self.damping)
            # The same state with the turned noise implies another x0; pure noise comes without memory.
            moved = weighted((1.0, moved), (d.sigma - d.alpha * c.sigma / c.alpha, direction - prediction.eps))
        return Transition(advanced(state, moved, (prediction.eps,) if self.kappa else ()))


def turned(g: Tensor, before: Tensor, kappa: float, damping: float) -> Tensor:
    """G with its part along m = kappa before + (1 - kappa) g damped, as long as g; computed in float32 at least, for each sample.

    Args:
        g: `[b, ...]`; itself with kappa = 0.
        before: the g of the step before.
        kappa: see `Levenberg`.
        damping: see `Levenberg`.
    """
    if kappa == 0:
        return g
    wide = torch.promote_types(g.dtype, torch.float32)
    a, tiny = g.flatten(1).to(wide), torch.finfo(wide).tiny
    m = torch.lerp(a, before.flatten(1).to(wide), kappa)
    square, along = (torch.linalg.vecdot(m, other)[:, None] for other in (m, a))
    turned = torch.addcmul(a, m, -along / ((1 + damping) * square).clamp_min(tiny))
    length, new = (torch.linalg.vector_norm(part, dim=1, keepdim=True) for part in (a, turned))
    return (turned * (length / new.clamp_min(tiny))).reshape(g.shape).to(g.dtype)
