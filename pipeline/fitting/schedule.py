"""What happens at which step of a fit: pure functions of the step, so that a resumed run repeats them."""

import functools
import zlib
from dataclasses import dataclass

import torch

from gen3d.pipeline.fitting.settings import FittingSettings

FEWEST_CHANGES = 12  # while splats may be added


@dataclass(frozen=True, slots=True)
class Schedule:
    """A fit of a known number of steps.

    Attributes:
        settings: the fractions and rates; its own `steps` is not read.
        steps: optimisation steps of this fit.
        initial_count: splats at step 0.
    """

    settings: FittingSettings
    steps: int
    initial_count: int

    def fraction(self, step: int) -> float:
        """How much of the fit is over before `step`, in [0, 1]."""
        return step / max(1, self.steps)

    def reduction(self, step: int) -> int:
        """The factor by which photos are reduced: 2 in the first part, then 1."""
        return 2 if self.fraction(step) < self.settings.half_resolution else 1

    def sh_degree(self, step: int) -> int:
        """The harmonics in use: one more degree at equal intervals over the first half."""
        degree = self.settings.sh_degree
        return min(degree, int(2 * self.fraction(step) * (degree + 1)))

    def rate(self, step: int) -> float:
        """What all learning rates are multiplied by: 1, then a straight line to 0 over the last `rates.cooldown` of the steps."""
        left, cooldown = 1 - self.fraction(step), self.settings.rates.cooldown
        return min(1.0, left / cooldown) if cooldown else 1.0

    def decay(self, step: int) -> float:
        """What the rates of positions and cameras are multiplied by besides: from 1 exponentially to `rates.means_end`."""
        return self.settings.rates.means_end ** self.fraction(step)

    @property
    def interval(self) -> int:
        """Steps between two changes of the splats: `densify.every`, less in a fit so short that it would see few."""
        densify = self.settings.densify
        growing = int((densify.stop - densify.start) * self.steps)
        return min(densify.every, max(1, growing // FEWEST_CHANGES)) if growing > 0 else densify.every

    def densifies(self, step: int) -> bool:
        """Whether splats are added or removed after `step`."""
        densify = self.settings.densify
        due = (step + 1) % self.interval == 0
        return due and densify.start <= self.fraction(step) < densify.prune_stop

    def grows(self, step: int) -> bool:
        """Whether splats may still be added after `step`."""
        return self.fraction(step) < self.settings.densify.stop

    def target_count(self, step: int) -> int:
        """The count that budgeted growth aims at: linear from the start to the cap at `densify.stop`."""
        densify = self.settings.densify
        reached = min(1.0, (step + 1) / max(1.0, densify.stop * self.steps))
        return round(self.initial_count + reached * max(0, densify.cap - self.initial_count))

    def checkpoints(self, step: int) -> bool:
        """Whether a checkpoint is due after `step`."""
        parts = self.settings.checkpoints + 1
        return step + 1 < self.steps and (step + 1) * parts // self.steps > step * parts // self.steps


def views_of_step(seed: int, step: int, count: int, per_step: int) -> list[int]:
    """The views that a step looks at: every view once in random order, then all again in another.

    A function of seed and step alone; `count` views in all, `per_step` of them at once.
    """
    first = step * per_step
    return [_order(seed, position // count, count)[position % count] for position in range(first, first + per_step)]


@functools.lru_cache(maxsize=8)
def _order(seed: int, epoch: int, count: int) -> list[int]:
    generator = torch.Generator().manual_seed(mix_seed("order", seed, epoch))
    return torch.randperm(count, generator=generator).tolist()


def mix_seed(purpose: str, seed: int, number: int) -> int:
    """A seed for one use of randomness, well separated from its neighbours' and from other purposes (a splitmix64 step)."""
    mask = (1 << 64) - 1
    value = (seed * 0x9E3779B97F4A7C15 + number * 0xD1B54A32D192ED03 + zlib.crc32(purpose.encode())) & mask
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
    return (value ^ (value >> 31)) >> 1
