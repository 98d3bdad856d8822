"""The interface of a densification strategy."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gen3d.pipeline.fitting.schedule import Schedule, mix_seed
from gen3d.renderers.gaussians import GaussianParameters, Gaussians


class Densification(ABC):
    """Watches the gradients on the screen and changes the splats between steps.

    All randomness is a function of seed and step, and what is observed is summed over processes before it is used, so
    that every process makes the same change and a resumed run repeats it.
    """

    def __init__(self, schedule: Schedule, *, extent: float, seed: int) -> None:
        self.schedule = schedule
        self.extent = extent
        self.seed = seed

    def watches(self, step: int) -> bool:
        """Whether `observe` has a use for the screen gradients of `step`."""
        return False

    def observe(self, gradients: Float[Tensor, "n 2"], radii: Int[Tensor, "n 2"]) -> None:
        """Take note of one view.

        Args:
            gradients: of the view's own loss with respect to the projected centres, times half the image size; with `absgrad`
                sums of their magnitudes over pixels.
            radii: pixels, 0 where a splat is not drawn.
        """

    @abstractmethod
    def after_step(self, step: int, splats: GaussianParameters, optimizer: torch.optim.Optimizer) -> None:
        """Change splats and optimiser in place where the schedule asks for it."""

    def state(self) -> dict[str, Tensor]:
        """What this process has observed and a checkpoint must hold; sums, which are added over processes."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from `state`."""

    def kept(self) -> dict[str, Tensor]:
        """What else a checkpoint must hold; the same in every process."""
        return {}

    def load_kept(self, kept: dict[str, Tensor]) -> None:
        """Continue with `kept`."""

    def penalty(self, splats: Gaussians) -> Float[Tensor, ""] | None:
        """What is added to the loss of every step; None for nothing."""
        return None

    def generator(self, step: int, device: torch.device) -> torch.Generator:
        """Randomness for the change after `step`; processes on one kind of device draw the same."""
        return torch.Generator(device).manual_seed(mix_seed("densification", self.seed, step))
