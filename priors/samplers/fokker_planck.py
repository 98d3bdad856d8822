"""Does a denoiser describe one flow of densities? Where it does not, its ODE and its SDE sample different things (arXiv 2311.15996)."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.priors.samplers.paths import Path
from gen3d.priors.samplers.predictions import Denoiser


def fokker_planck_residual(
    denoiser: Denoiser, path: Path, x: Tensor, t: Float[Tensor, " b"], condition: Any = None, *, directions: Tensor | None = None
) -> Tensor:
    """R = ds/dt - grad [g^2 / 2 (div s + |s|^2) - f x.s] of the score s = (alpha x0 - x) / sigma^2, `[b, ...]`; 0 for an exact score.

    With f = alpha' / alpha and g^2 = 2 sigma sigma' - 2 f sigma^2. As a regulariser add `(sigma**4 * R**2).mean()` to the loss, for
    small priors only: it costs four to six times a step of training, ODE samples improve and SDE samples can get worse.

    Args:
        denoiser: differentiable twice, in the state and in the coefficients.
        path: any.
        x: noised data `[b, ...]`, float64 for a probe of exactness.
        t: times of the samples, strictly between clean data and pure noise.
        condition: of the denoiser.
        directions: random signs `[k, b, ...]` to estimate the divergence with; all basis vectors by default, which is exact and takes
            as many backward passes as an event has numbers.
    """

    def score(at: Tensor, time: Tensor) -> Tensor:
        c = path(time)
        k = c.like(at)
        return ((k.alpha * denoiser(at, c, condition).x0 - at) / k.sigma**2).to(at.dtype)

    with torch.inference_mode(False), torch.enable_grad():
        state = x.detach().clone().requires_grad_()
        times = t.detach().to("cpu", torch.float64).clone()
        change: Tensor = torch.func.jvp(lambda time: score(state, time), (times,), (torch.ones_like(times),))[1]
        s = score(state, times)
        k = path(times).like(state)
        drift = k.dalpha / k.alpha
        half, drift = (
            torch.as_tensor(value, dtype=torch.float64).flatten() for value in (k.sigma * k.dsigma - drift * k.sigma**2, drift)
        )  # half is g^2 / 2
        rate = half * (divergence(s, state, directions) + s.square().flatten(1).sum(1)) - drift * (state * s).flatten(1).sum(1)
        (slope,) = torch.autograd.grad(rate.sum(), state, create_graph=True)
    return change - slope


def intrinsic_dimension(
    denoiser: Denoiser, path: Path, x: Tensor, *, level: float, condition: Any = None, directions: Tensor | None = None
) -> Float[Tensor, " b"]:
    """Directions in which data vary around a sample: the trace of dx0/dz at little noise, z = x / alpha (arXiv 2402.03845).

    Args:
        denoiser: differentiable.
        path: any.
        x: clean samples `[b, ...]`.
        level: sigma / alpha, small against what data vary by and large against what they do not.
        condition: of the denoiser.
        directions: as in `fokker_planck_residual`.
    """
    c = path.at(level)
    with torch.inference_mode(False), torch.enable_grad():
        state = (c.alpha * x.detach()).clone().requires_grad_()
        trace = divergence(denoiser(state, c, condition).x0, state, directions)
    return c.alpha * trace.detach()


def divergence(field: Tensor, x: Tensor, directions: Tensor | None = None) -> Float[Tensor, " b"]:
    """The trace of d field / dx of each sample, differentiable again.

    Args:
        field: `[b, ...]`, computed from x.
        x: `[b, ...]`, samples that do not influence each other.
        directions: random signs `[k, b, ...]` for Hutchinson's estimate; all basis vectors by default, which is exact.
    """
    if directions is None:
        basis = torch.eye(x[0].numel()).to(x)
        return torch.stack([_along(field, x, unit.reshape(x[0].shape).expand_as(x)) for unit in basis]).sum(0)
    return torch.stack([_along(field, x, direction) for direction in directions]).mean(0)


def _along(field: Tensor, x: Tensor, direction: Tensor) -> Tensor:
    (pulled,) = torch.autograd.grad(field, x, direction, create_graph=True)
    return (pulled * direction).flatten(1).sum(1)
