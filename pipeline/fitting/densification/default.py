"""Clone, split, prune (Kerbl et al. 2023, section 5), with growth by threshold or by budget."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gen3d.pipeline.fitting.densification.base import Densification
from gen3d.pipeline.fitting.distributed import sum_over_processes
from gen3d.pipeline.fitting.optimizer import rewrite
from gen3d.renderers.gaussians import GaussianParameters
from gen3d.renderers.quaternions import quaternion_to_matrix

SMALL = 0.01  # splats smaller than this share of the extent are cloned, larger ones are split
SPLIT_THRESHOLD, SPLIT_BUDGET = 1.6, 1.4  # by how much the halves shrink
PRUNE_SCALE = 0.1  # after an opacity reset, splats larger than this share of the extent are removed
RESET_OPACITY = 2.0  # opacities are reset to this many times `prune_opacity`


class DefaultDensification(Densification):
    """Splats with a large mean screen gradient are cloned or split; faint ones are removed.

    With `grow_gradient` > 0 those above the threshold grow, small ones by a clone and large ones by a split in two, as
    gsplat's DefaultStrategy does. With 0, growth follows a straight line to the cap: as many splats as the line asks for
    are drawn with probability by gradient, and every one is split, which suits a short budget better.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.total = torch.zeros(0)
        self.views = torch.zeros(0)

    def watches(self, step: int) -> bool:
        """As long as splats may still be added."""
        return self.schedule.grows(step)

    def observe(self, gradients: Float[Tensor, "n 2"], radii: Int[Tensor, "n 2"]) -> None:
        """Add the gradient norms of the splats that are drawn."""
        if self.total.shape[0] != gradients.shape[0]:
            self.total = self.views = gradients.new_zeros(gradients.shape[0])
        self.total, self.views = self.total.to(gradients), self.views.to(gradients)  # a checkpoint loads them on the CPU
        # Column by column: reductions over an axis of two are several times slower. What is not drawn has no gradient.
        self.total = self.total + (gradients[:, 0].square() + gradients[:, 1].square()).sqrt_()
        self.views = self.views + (radii[:, 0] > 0)

    def after_step(self, step: int, splats: GaussianParameters, optimizer: torch.optim.Optimizer) -> None:
        """Grow, prune and reset when due."""
        densify = self.schedule.settings.densify
        if self.schedule.densifies(step):
            if self.schedule.grows(step) and len(self.total) == splats.count:
                total, views = sum_over_processes(self.total, self.views)
                self._grow(step, total / views.clamp_min(1), splats, optimizer)
            self._prune(step, splats, optimizer)
            self.total = self.views = self.total.new_zeros(0)
        if densify.reset_every and (step + 1) % densify.reset_every == 0 and self.schedule.grows(step):
            reset_opacities(splats, optimizer, RESET_OPACITY * densify.prune_opacity)

    def _grow(self, step: int, mean: Float[Tensor, " n"], splats: GaussianParameters, optimizer: torch.optim.Optimizer) -> None:
        densify = self.schedule.settings.densify
        generator = self.generator(step, mean.device)
        room = max(0, densify.cap - splats.count)
        large = splats.log_scales.data.amax(-1).exp() > SMALL * self.extent
        if densify.grow_gradient > 0:
            chosen = (mean > densify.grow_gradient).nonzero().squeeze(-1)
            chosen = chosen[mean[chosen].argsort(descending=True, stable=True)[:room]]
            grown = torch.zeros_like(large)
            grown[chosen] = True
            split, shrink = grown & large, SPLIT_THRESHOLD
        else:
            wanted = min(room, self.schedule.target_count(step) - splats.count, int((mean > 0).sum()))
            grown = draw(mean, wanted, generator)
            split, shrink = grown, SPLIT_BUDGET
        clone = grown & ~split
        grow(splats, optimizer, clone=clone, split=split, shrink=shrink, generator=generator)

    def _prune(self, step: int, splats: GaussianParameters, optimizer: torch.optim.Optimizer) -> None:
        densify = self.schedule.settings.densify
        keep = splats.logit_opacities.data.sigmoid() >= densify.prune_opacity
        if densify.reset_every and step >= densify.reset_every:
            keep &= splats.log_scales.data.amax(-1).exp() <= PRUNE_SCALE * self.extent
        if not bool(keep.all()):
            rewrite(splats, optimizer, lambda _, tensor: tensor[keep], lambda moment: moment[keep])

    def state(self) -> dict[str, Tensor]:
        """The sums since the last change."""
        return {"total": self.total, "views": self.views}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from `state`."""
        self.total, self.views = state["total"], state["views"]


def draw(weights: Float[Tensor, " n"], count: int, generator: torch.Generator) -> Bool[Tensor, " n"]:
    """A mask of `count` entries drawn without replacement with probability by weight (Gumbel top-k)."""
    mask = torch.zeros(weights.shape, dtype=torch.bool, device=weights.device)
    if count > 0:
        noise = torch.rand(weights.shape, generator=generator, device=weights.device).clamp_min(1e-12).to(weights)
        keys = weights.clamp_min(1e-30).log() - (-noise.log()).log()
        mask[keys.topk(min(count, len(keys))).indices] = True
    return mask


def grow(
    splats: GaussianParameters,
    optimizer: torch.optim.Optimizer,
    *,
    clone: Bool[Tensor, " n"],
    split: Bool[Tensor, " n"],
    shrink: float,
    generator: torch.Generator,
) -> None:
    """Copy the `clone` splats; replace each of the `split` ones by two smaller ones drawn from it.

    New splats start without momentum. The order is: the untouched, the clones, the halves.
    """
    if not bool((clone | split).any()):
        return
    means, log_scales = splats.means.data, splats.log_scales.data
    rotation = quaternion_to_matrix(splats.quats.data[split])
    samples = torch.randn(2, len(rotation), 3, generator=generator, device=means.device).to(means)
    offsets = torch.einsum("nij,knj->kni", rotation, samples * log_scales[split].exp())

    def change(name: str, tensor: Tensor) -> Tensor:
        halves = tensor[split]
        if name == "means":
            return torch.cat([tensor[~split], tensor[clone], (halves + offsets).flatten(0, 1)])
        if name == "log_scales":
            halves = halves - math.log(shrink)
        return torch.cat([tensor[~split], tensor[clone], halves, halves])

    def change_state(moment: Tensor) -> Tensor:
        new = moment.new_zeros((int(clone.sum()) + 2 * int(split.sum()), *moment.shape[1:]))
        return torch.cat([moment[~split], new])

    rewrite(splats, optimizer, change, change_state)


def reset_opacities(splats: GaussianParameters, optimizer: torch.optim.Optimizer, opacity: float) -> None:
    """Lower all opacities to at most `opacity` and forget their momentum."""
    ceiling = math.log(opacity / (1 - opacity))
    splats.logit_opacities.data.clamp_(max=ceiling)
    state = optimizer.state.get(splats.logit_opacities, {})
    for key in ("exp_avg", "exp_avg_sq"):
        if key in state:
            state[key].zero_()
