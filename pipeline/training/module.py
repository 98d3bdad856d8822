"""What the trainings of all priors share: one optimiser, the average of the weights, the rate, and what is said when all is lost."""

import math
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.optim.lr_scheduler import LambdaLR

from gen3d.errors import BadInput, Gen3DError
from gen3d.pipeline.training.average import Average
from gen3d.pipeline.training.optimizers import matrices_of, optimizer_of
from gen3d.pipeline.training.settings import TrainingSettings
from gen3d.priors.samplers.objectives import NoiseBins

RISE = 200  # steps in which the learning rate rises


class PriorTraining(pl.LightningModule):
    """One optimiser over one loss; the moving average of the weights is what is measured and exported.

    Args:
        network: to train; its `ENDS` are the names of the first layers and the last.
        settings: of the training.
        pretrained: whether the network has brought weights.
        adopted: learning rate of these, as a share of the others'.
    """

    def __init__(self, network: Any, settings: TrainingSettings, *, pretrained: bool = False, adopted: float = 1.0) -> None:
        super().__init__()
        self.settings, self.network = settings, network
        self.average = Average(network, settings.average)
        self._matrices, self._ends = matrices_of(network), tuple(network.ENDS)  # before a strategy cuts them into pieces
        self._adopted = adopted if pretrained else None

    def begin_with(self, network: Any) -> None:
        """Take the weights of a network.

        Raises:
            BadInput: it has other shapes.
        """
        mine, theirs = self.network.facts, network.facts
        other = [f"{name} {theirs.get(name)} instead of {mine[name]}" for name in mine if theirs.get(name) != mine[name]]
        if other:
            raise BadInput(f"the network to begin with is another one: {', '.join(other)}; give one that was trained with these settings")
        for each in (self.network, self.average.network):
            each.load_state_dict(network.state_dict())

    def check_finite(self, *numbers: Tensor) -> None:
        """End a training that has gone astray.

        Raises:
            Gen3DError: some of the numbers are not finite.
        """
        if not all(bool(each.isfinite().all()) for each in numbers):
            raise Gen3DError(
                f"the network's numbers are not finite at step {self.global_step}; begin again with another --out, a lower --rate, "
                "and --init with weights of before"
            )

    def log_bins(self, bins: NoiseBins, name: str, figure: Callable[[float], float]) -> None:
        """A figure of the mean error of each level of noise, over all processes."""
        mine = torch.stack([bins.counts, bins.sums]).to(self.device)
        everywhere = self.all_gather(mine)
        assert isinstance(everywhere, Tensor)
        counts, sums = everywhere.reshape(-1, *mine.shape).sum(0)
        for low, total, count in zip(bins.edges.tolist(), sums.tolist(), counts.tolist(), strict=False):
            if count:
                self.log(f"{name}/noise {10**low:.2f}", figure(total / count))

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """The average follows, before anything is saved."""
        super().optimizer_step(*arguments, **options)
        self.average.update(self.network)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with a whole step: the checkpoint can have been written amid one, or with other batches in a step."""
        done = checkpoint["global_step"] * self.trainer.accumulate_grad_batches
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for counts in (progress["total"], progress["current"]):
            counts.update(dict.fromkeys(counts, done))

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, gradient_clip_val: int | float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """By norm, which of pieces only FSDP itself knows."""
        whole = self.trainer.model
        if isinstance(whole, FullyShardedDataParallel):
            whole.clip_grad_norm_(float(gradient_clip_val or math.inf))
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def configure_optimizers(self) -> Any:
        """Without decay of what is not a matrix; the rate rises, then falls as a cosine to a hundredth."""
        optimizer = optimizer_of(self.network, self.settings, self._matrices, self._ends, self._adopted)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, self._rate), "interval": "step"}}

    def _rate(self, step: int) -> float:
        """Share of the highest learning rate."""
        done = min(1.0, step / self.settings.steps)
        return min(1.0, (step + 1) / RISE) * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)
