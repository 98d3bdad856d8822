"""The batches of a training for Lightning, and those that it is measured on."""

from collections.abc import Iterator, Sequence

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, Sampler

from gen3d.errors import UsageError
from gen3d.pipeline.objects.holdout import split_off, without
from gen3d.pipeline.objects.object_set import ObjectSet
from gen3d.pipeline.objects.views import RING
from gen3d.pipeline.training.batches import ObjectBatch, StepBatches, joined
from gen3d.pipeline.training.settings import DsplatsSettings
from gen3d.pipeline.training.viewpoints import before

CHECKED = 8  # objects of a batch that is measured


class DsplatsData(pl.LightningDataModule):
    """Training objects of sets but for a hold-out, which is measured.

    Args:
        sets: of the same library, rendered in different ways; the hold-out of the first is measured.
        settings: of the training.
        accumulate: batches of a step.
    """

    def __init__(self, sets: Sequence[ObjectSet], settings: DsplatsSettings, accumulate: int = 1) -> None:
        super().__init__()
        self.settings, self.accumulate = settings, accumulate
        training = [objects.select(split="train") for objects in sets]
        self.kept = split_off(training[0], settings.holdout)[1]
        self.training = [without(objects, self.kept) for objects in training]

    def train_dataloader(self) -> DataLoader[ObjectBatch]:
        """The batches of the steps that are left."""
        trainer = self.trainer
        assert trainer is not None
        batches = StepBatches(self.training, self.settings, trainer.global_rank, trainer.world_size, self.accumulate)
        return DataLoader(batches, batch_size=None, sampler=Remaining(trainer.global_step * self.accumulate, len(batches)))

    def val_dataloader(self) -> list[DataLoader[ObjectBatch]]:
        """Objects from one view, and with three noised views beside it; ranks take turns."""
        trainer = self.trainer
        assert trainer is not None
        if len(self.kept) < trainer.world_size:
            raise UsageError(f"the hold-out has {len(self.kept)} objects for {trainer.world_size} processes; keep more with --holdout")
        mine = range(trainer.global_rank, len(self.kept), trainer.world_size)
        parts = [[checked(self.kept, i, noised=noised) for i in mine] for noised in (0, self.settings.views - 1)]
        return [DataLoader(_grouped(each), batch_size=None) for each in parts]  # type: ignore[arg-type]  # a list is a dataset


class Remaining(Sampler[int]):
    """Numbers from the first that is left to the last; as long as if nothing were done, since Lightning adds what it has done to its count.

    Args:
        first: number that is left.
        count: of all.
    """

    def __init__(self, first: int, count: int) -> None:
        self._first, self._count = first, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._first, self._count))


def checked(objects: ObjectSet, number: int, *, noised: int) -> ObjectBatch:
    """An object from its front view, compared with the others around it; with further noised views, evenly around."""
    order = [0, *(RING * (i + 1) // (noised + 1) for i in range(noised))]
    order += [i for i in range(RING) if i not in order]
    views = objects.read(number, order)
    pictures = views.over(torch.ones(3)).movedim(-1, 1) * 2 - 1
    generator = torch.Generator().manual_seed(number)
    cameras = before(views.cameras)
    cameras = cameras.expand(1)
    noise = torch.randn(1, noised + 1, *pictures.shape[1:], generator=generator)
    given = (torch.arange(noised + 1) == 0)[None]
    time = torch.tensor([(number % CHECKED + 0.5) / CHECKED])
    return ObjectBatch(pictures[None], views.alpha[None], cameras, given, time, noise, (objects.records[number].caption,))


def _grouped(parts: list[ObjectBatch]) -> list[ObjectBatch]:
    return [joined(parts[i : i + CHECKED]) for i in range(0, len(parts), CHECKED)]
