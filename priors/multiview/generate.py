"""From given views to splats: in one step, or by sampling the views that are missing."""

from collections.abc import Sequence
from typing import Any

import torch

from gen3d.priors.multiview.denoiser import SplatDenoiser
from gen3d.priors.multiview.network import LATENTS, Views
from gen3d.priors.multiview.pretrained import Model
from gen3d.priors.multiview.settings import LATENT
from gen3d.priors.multiview.views import GivenViews, beside
from gen3d.priors.samplers.driver import Noise, Probe, Sampled, sample
from gen3d.priors.samplers.grids import Grid, angular
from gen3d.priors.samplers.paths import Cosine
from gen3d.priors.samplers.predictions import Denoiser
from gen3d.priors.samplers.solvers.momentum import Momentum
from gen3d.priors.samplers.starts import from_noise
from gen3d.priors.samplers.stepping import Solver
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.gaussians import Gaussians


def reconstruct(model: Model, given: GivenViews, condition: Any = None) -> Gaussians:
    """The splats of given views, in one evaluation; with one view the mean of all that it can be."""
    b, v = given.alpha.shape[:2]
    known = torch.ones(b, v, dtype=torch.bool, device=given.alpha.device)
    latents = None if model.encode is None else model.encode(given.pictures)
    times = torch.zeros_like(known, dtype=torch.float32)
    told = model.tokens([""] * b) if condition is None else condition
    splats: Gaussians = model.network(Views(given.pictures, given.alpha, known, times, given.cameras, latents), told)
    return splats


def generate(
    model: Model,
    given: GivenViews,
    missing: Cameras,
    noise: Noise,
    condition: Any = None,
    *,
    steps: int = 8,
    solver: Solver | None = None,
    grid: Grid | None = None,
    guided: Any = None,
    backend: str = "auto",
    probes: Sequence[Probe] = (),
) -> Sampled:
    """One of the objects that given views can show; its splats are `prediction.aux` of the result.

    Args:
        model: trained with so many views.
        given: of each object; none at all with `v` = 0.
        missing: further cameras `[b, m]` whose views are sampled.
        noise: source of normal numbers; `per_sample` makes an object independent of its batch.
        condition: tokens for the network; None says nothing.
        steps: evaluations of the network.
        solver: `Momentum` of order two by velocity by default.
        grid: on any path; `angular` on the cosine path by default.
        guided: from the denoiser to one with guidance, such as `lambda d: ViewGuidance(d, 2.0)`.
        backend: of `rasterize`.
        probes: called at every evaluation.
    """
    b, v = given.alpha.shape[:2]
    m, height, width = missing.shape[-1], *given.alpha.shape[-2:]
    pictures = torch.cat([given.pictures, given.pictures.new_zeros(b, m, 3, height, width)], 1)
    alpha = torch.cat([given.alpha, given.alpha.new_zeros(b, m, height, width)], 1)
    known = (torch.arange(v + m, device=alpha.device) < v).expand(b, -1)
    grid = grid or angular(Cosine(), steps)
    denoiser: Denoiser = SplatDenoiser(model.network, beside(given.cameras, missing), known, pictures, alpha, model.encode, backend)
    shape = pictures.shape if model.encode is None else (b, v + m, LATENTS, height // LATENT, width // LATENT)
    start = from_noise(grid, noise(shape).to(pictures))
    wrapped = denoiser if guided is None else guided(denoiser)
    told = model.tokens([""] * b) if condition is None else condition
    return sample(wrapped, solver or Momentum(2.0, coordinate="velocity"), grid, start, told, probes=probes, noise=noise)
