"""3DGS as Markov chain Monte Carlo (Kheradmand et al. 2024): relocate the dead, add copies, shake the rest."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gen3d.pipeline.fitting.densification.base import Densification
from gen3d.pipeline.fitting.optimizer import rewrite
from gen3d.renderers.gaussians import GaussianParameters
from gen3d.renderers.quaternions import quaternion_to_matrix

MAX_COPIES = 51  # of one splat at a time
GROWTH = 1.05
NOISE_STEEPNESS, NOISE_CENTRE = 100.0, 0.995


class McmcDensification(Densification):
    """Splats are samples: faint ones jump to places of opaque ones, and noise along the covariance explores."""

    def after_step(self, step: int, splats: GaussianParameters, optimizer: torch.optim.Optimizer) -> None:
        """Relocate and add when due; add noise always."""
        generator = self.generator(step, splats.means.device)
        densify = self.schedule.settings.densify
        if self.schedule.densifies(step):
            relocate(splats, optimizer, densify.prune_opacity, generator)
            if self.schedule.grows(step):
                # A twentieth at a time as in the paper; faster where a short fit would not reach the cap.
                target = min(densify.cap, max(int(GROWTH * splats.count), self.schedule.target_count(step)))
                add(splats, optimizer, target - splats.count, densify.prune_opacity, generator)
        position = next(group for group in optimizer.param_groups if group["name"] == "means")
        shake(splats, position["lr"] * densify.noise, generator)


def shared_opacity_and_scale(
    opacities: Float[Tensor, " n"], scales: Float[Tensor, "n 3"], copies: Int[Tensor, " n"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 3"]]:
    """Opacity and scale of each of N copies of a splat that together look like the one (equation 9 of the paper).

    o' = 1 - (1 - o)^(1/N) and s' = s · o / Σ_{i=1..N} Σ_{k=0..i-1} C(i-1, k) (-1)^k o'^(k+1) / sqrt(k+1).
    """
    copies = copies.clamp(1, MAX_COPIES)
    new_opacities = 1 - (1 - opacities.double()).pow(1 / copies)
    # Swapping the sums: Σ_i C(i-1, k) over i = k+1..N is C(N, k+1), so one sum over k is left.
    order = torch.arange(MAX_COPIES, dtype=torch.float64, device=opacities.device)
    choose = torch.lgamma(copies[:, None] + 1.0) - torch.lgamma(order + 2) - torch.lgamma((copies[:, None] - order).clamp_min(1e-9))
    terms = torch.where(order < copies[:, None], choose.exp(), 0) * (-1) ** order / (order + 1).sqrt()
    shrink = opacities / (terms * new_opacities[:, None] ** (order + 1)).sum(-1)
    return new_opacities.to(opacities), scales * shrink[:, None].to(scales)


def relocate(splats: GaussianParameters, optimizer: torch.optim.Optimizer, faint: float, generator: torch.Generator) -> None:
    """Move splats fainter than `faint` onto others drawn by opacity; each target shares its opacity with them."""
    opacities = splats.logit_opacities.data.sigmoid()
    dead = (opacities <= faint).nonzero().squeeze(-1)
    alive = (opacities > faint).nonzero().squeeze(-1)
    if len(dead) == 0 or len(alive) == 0:
        return
    targets = alive[_draw(opacities[alive], len(dead), generator)]
    _share(splats, targets, faint)
    source = torch.arange(splats.count, device=dead.device)
    source[dead] = targets

    def forget(moment: Tensor) -> Tensor:
        return moment.index_fill(0, torch.cat([targets, dead]), 0)

    rewrite(splats, optimizer, lambda _, tensor: tensor[source], forget)


def add(splats: GaussianParameters, optimizer: torch.optim.Optimizer, count: int, faint: float, generator: torch.Generator) -> None:
    """Append `count` copies of splats drawn by opacity; each original shares its opacity with its copies."""
    if count <= 0:
        return
    targets = _draw(splats.logit_opacities.data.sigmoid(), count, generator)
    _share(splats, targets, faint)
    rewrite(
        splats,
        optimizer,
        lambda _, tensor: torch.cat([tensor, tensor[targets]]),
        lambda moment: torch.cat([moment, moment.new_zeros((count, *moment.shape[1:]))]),
    )


def _draw(weights: Float[Tensor, " n"], count: int, generator: torch.Generator) -> Int[Tensor, " m"]:
    """Indices drawn with replacement with probability by weight; any n (torch.multinomial stops at 2^24)."""
    cumulative = weights.double().cumsum(0)
    places = torch.rand(count, generator=generator, dtype=torch.float64, device=weights.device) * cumulative[-1]
    return torch.searchsorted(cumulative, places, right=True).clamp(max=len(weights) - 1)


def _share(splats: GaussianParameters, targets: Int[Tensor, " m"], faint: float) -> None:
    chosen, times = targets.unique(return_counts=True)
    opacities, scales = shared_opacity_and_scale(
        splats.logit_opacities.data[chosen].sigmoid(), splats.log_scales.data[chosen].exp(), times + 1
    )
    splats.logit_opacities.data[chosen] = opacities.clamp(faint, 1 - 1e-6).logit()
    splats.log_scales.data[chosen] = scales.log()


def shake(splats: GaussianParameters, rate: float, generator: torch.Generator) -> None:
    """Add noise Σ ε to the centres, strong for faint splats and none for opaque ones (equation 8)."""
    transparency = 1 - splats.logit_opacities.data.sigmoid()
    strength = rate * torch.sigmoid(NOISE_STEEPNESS * (transparency - NOISE_CENTRE))
    noise = torch.randn(splats.count, 3, generator=generator, device=splats.means.device).to(splats.means)
    factor = quaternion_to_matrix(splats.quats.data) * splats.log_scales.data.exp()[:, None, :]
    splats.means.data += (factor @ (factor.mT @ (noise * strength[:, None])[..., None]))[..., 0]
