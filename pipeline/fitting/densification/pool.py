"""Splats at the nodes of a grid, with a pool of free nodes (GVGEN's Candidate Pool Strategy, He et al. 2024, 2403.12957).

There are never more splats than nodes: faint ones give their node back to the pool, and a new one lives only if a free node is within
reach. In the end every node that is left holds a splat that is nothing, so that the count is that of the grid.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.pipeline.fitting.densification.base import Densification
from gen3d.pipeline.fitting.densification.default import SMALL, SPLIT_THRESHOLD
from gen3d.pipeline.fitting.distributed import sum_over_processes
from gen3d.pipeline.fitting.optimizer import rewrite
from gen3d.priors.volume.volume import REACH
from gen3d.renderers.gaussians import GaussianParameters, Gaussians
from gen3d.renderers.quaternions import quaternion_to_matrix

TETHER = 20.0  # weight of the mean distance beyond
AROUND = (-1, 0, 1, 2)  # cells beside the one below a place in which nodes within reach lie
REFILLED_OPACITY, REFILLED_SCALE = 1e-4, 0.0032**0.5


class PoolDensification(Densification):
    """Grows by threshold as the default strategy does, as far as there are free nodes.

    Attributes:
        homes: number of each splat's node, x slowest.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.size = self.schedule.settings.densify.nodes
        if self.schedule.initial_count != self.size**3:
            raise UsageError(
                f"the fit begins with {self.schedule.initial_count:,} splats and the strategy pool with one at each of {self.size}^3 "
                "nodes; it fits volumes, choose default or mcmc for photos"
            )
        self.homes = torch.arange(self.size**3)
        self.total = self.views = torch.zeros(0)

    @property
    def cell(self) -> float:
        """Distance of neighbouring nodes; the grid spans [-1/2, 1/2] along each axis."""
        return 1 / (self.size - 1)

    def watches(self, step: int) -> bool:
        """As long as splats may still be added."""
        return self.schedule.grows(step)

    def observe(self, gradients: Float[Tensor, "n 2"], radii: Int[Tensor, "n 2"]) -> None:
        """Add the gradient norms of the splats that are drawn."""
        if self.total.shape[0] != gradients.shape[0]:
            self.total = self.views = gradients.new_zeros(gradients.shape[0])
        self.total, self.views = self.total.to(gradients), self.views.to(gradients)  # a checkpoint loads them on the CPU
        self.total = self.total + gradients.norm(dim=-1)
        self.views = self.views + (radii[:, 0] > 0)

    def penalty(self, splats: Gaussians) -> Float[Tensor, ""]:
        """How far splats are beyond the reach of their nodes."""
        off = (splats.means - self._places(self.homes, splats.means)).abs()
        return TETHER * (off - REACH * self.cell).relu().mean()

    def after_step(self, step: int, splats: GaussianParameters, optimizer: torch.optim.Optimizer) -> None:
        """Prune and grow when due; refill when nothing is added any more."""
        self.homes = self.homes.to(splats.means.device)
        if self.schedule.densifies(step) and self.schedule.grows(step):
            mean = None
            if len(self.total) == splats.count:
                total, views = sum_over_processes(self.total, self.views)
                mean = total / views.clamp_min(1)
            self._change(step, mean, splats, optimizer)
            self.total = self.views = self.total.new_zeros(0)
        if self.schedule.grows(step) and not self.schedule.grows(step + 1):
            self._refill(splats, optimizer)

    def kept(self) -> dict[str, Tensor]:
        """The nodes of the splats."""
        return {"homes": self.homes}

    def load_kept(self, kept: dict[str, Tensor]) -> None:
        """Continue with them."""
        self.homes = kept["homes"]

    def state(self) -> dict[str, Tensor]:
        """The sums since the last change."""
        return {"total": self.total, "views": self.views}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from `state`."""
        self.total, self.views = state["total"], state["views"]

    def _change(self, step: int, mean: Float[Tensor, " n"] | None, splats: GaussianParameters, optimizer: torch.optim.Optimizer) -> None:
        densify, generator = self.schedule.settings.densify, self.generator(step, splats.means.device)
        faint = splats.logit_opacities.data.sigmoid() < densify.prune_opacity
        grown = torch.zeros_like(faint) if mean is None else (mean > densify.grow_gradient) & ~faint
        large = splats.log_scales.data.amax(-1).exp() > SMALL * self.extent
        split, clone = grown & large, grown & ~large
        means, scales = splats.means.data, splats.log_scales.data.exp()
        rotation = quaternion_to_matrix(splats.quats.data)
        noise = torch.randn(2, len(means), 3, generator=generator, device=means.device).to(means)
        drawn = means + torch.einsum("nij,knj->kni", rotation, noise * scales)
        sources = torch.cat([each.nonzero()[:, 0] for each in (clone, split, split)])
        count = int(split.sum())
        wanted = torch.cat([means[clone], drawn[0][split], drawn[1][split]])
        shrink = torch.cat([torch.zeros(len(wanted) - 2 * count), torch.full((2 * count,), math.log(SPLIT_THRESHOLD))]).to(means)
        stays = ~(faint | split)
        free = torch.ones(self.size**3, dtype=torch.bool, device=means.device)
        free[self.homes[stays]] = False
        found = settle(wanted, free, self.size)
        lives = found >= 0
        # A splat whose halves have no home stays whole, unless somebody else has moved in.
        childless = split.clone()
        childless[sources[lives]] = False
        taken = torch.zeros_like(free)
        taken[found[lives]] = True
        stays |= childless & ~taken[self.homes]

        def change(name: str, tensor: Tensor) -> Tensor:
            new = tensor[sources[lives]]
            if name == "means":
                new = wanted[lives]
            elif name == "log_scales":
                new = new - shrink[lives, None]
            return torch.cat([tensor[stays], new])

        rewrite(splats, optimizer, change, lambda moment: _followed(moment[stays], int(lives.sum())))
        self.homes = torch.cat([self.homes[stays], found[lives]])

    def _refill(self, splats: GaussianParameters, optimizer: torch.optim.Optimizer) -> None:
        """A splat that is nothing for every free node; from then on splats are in the order of their nodes."""
        free = torch.ones(self.size**3, dtype=torch.bool, device=self.homes.device)
        free[self.homes] = False
        empty = free.nonzero()[:, 0]
        order = torch.cat([self.homes, empty]).argsort()
        nothing = {"quats": torch.tensor([1.0, 0, 0, 0]), "log_scales": torch.tensor(REFILLED_SCALE).log()}
        nothing["logit_opacities"] = torch.tensor(REFILLED_OPACITY).logit()

        def change(name: str, tensor: Tensor) -> Tensor:
            if name == "means":
                return torch.cat([tensor, self._places(empty, tensor)])[order]
            value = nothing.get(name, torch.zeros(())).to(tensor)
            return torch.cat([tensor, value.expand(len(empty), *tensor.shape[1:])])[order]

        rewrite(splats, optimizer, change, lambda moment: _followed(moment, len(empty))[order])
        self.homes = torch.cat([self.homes, empty])[order]

    def _places(self, numbers: Int[Tensor, " k"], like: Tensor) -> Float[Tensor, "k 3"]:
        numbers = numbers.to(like.device)
        axes = torch.stack([numbers // self.size**2, numbers // self.size % self.size, numbers % self.size], -1)
        return axes.to(like) * self.cell - 0.5


def settle(places: Float[Tensor, "m 3"], free: Bool[Tensor, " n3"], size: int) -> Int[Tensor, " m"]:
    """The nearest free node of each place, -1 where none is within reach or another place is nearer to it.

    Nodes within reach are among the 64 around a place, so that no search over all nodes is needed.

    Args:
        places: where splats want to live.
        free: nodes without a splat, x slowest.
        size: nodes along a side.
    """
    if not len(places):
        return torch.zeros(0, dtype=torch.int64, device=places.device)
    at = (places + 0.5) * (size - 1)
    steps = torch.tensor(AROUND, device=places.device)
    around = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij"), -1).flatten(0, 2)
    nodes = at.floor().long()[:, None] + around
    inside = ((nodes >= 0) & (nodes < size)).all(-1)
    numbers = (nodes.clamp(0, size - 1) * torch.tensor([size**2, size, 1], device=places.device)).sum(-1)
    off = (at[:, None] - nodes).abs()
    allowed = inside & free[numbers] & (off.amax(-1) <= REACH)
    distance, best = torch.where(allowed, off.square().sum(-1), math.inf).min(1)
    chosen = torch.where(distance.isfinite(), numbers.gather(1, best[:, None])[:, 0], -1)
    order = distance.argsort(stable=True)
    first = torch.full_like(free, len(places), dtype=torch.int64)
    ranked = chosen[order]
    there = ranked >= 0
    first.scatter_reduce_(0, ranked[there], torch.arange(len(order), device=places.device)[there], "amin")
    keeps = torch.zeros_like(there)
    keeps[first[first < len(places)]] = True
    winners = torch.zeros_like(keeps)
    winners[order] = keeps
    return torch.where(winners, chosen, -1)


def _followed(moment: Tensor, count: int) -> Tensor:
    """Moments with those of new splats behind them: none."""
    return torch.cat([moment, moment.new_zeros((count, *moment.shape[1:]))])
