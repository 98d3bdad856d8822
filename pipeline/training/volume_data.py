"""Volumes of a library as trainings take them: a hold-out, phrases, statistics."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from gen3d.errors import BadInput, UsageError
from gen3d.pipeline.objects.holdout import held_out
from gen3d.pipeline.training.data import Remaining
from gen3d.pipeline.training.volume_batches import Sentences, VolumeBatch, VolumeBatches, encoded, pictured
from gen3d.pipeline.training.volume_settings import VolumeTrainingSettings
from gen3d.pipeline.volumes.volume_set import VolumeSet
from gen3d.priors.pictures import reads_pictures
from gen3d.priors.volume.field import distance_field
from gen3d.priors.volume.volume import FAINT, LOGIT, GaussianVolume, Statistics

CHECKED = 16  # objects of a batch that is measured
COUNTED = 256  # objects that statistics are taken over
DROWNED = 10.0  # root of the number of nodes beyond which noise as strong as a field leaves only details to be guessed


class VolumeData(pl.LightningDataModule):
    """Training objects but for the hold-out, and the hold-out.

    Args:
        volumes: of a library.
        settings: of the training.
        encoder: makes the encoder of sentences when they are first needed.
        accumulate: batches of a step.

    Raises:
        BadInput: the volumes have another size than the network.
        UsageError: the hold-out leaves nothing to train with.
    """

    def __init__(self, volumes: VolumeSet, settings: VolumeTrainingSettings, encoder: Callable[[], Any], accumulate: int = 1) -> None:
        super().__init__()
        if (size := volumes.settings.size) != (taken := settings.network.size):
            raise BadInput(f"{volumes.folder} has volumes of {size} nodes and the network takes {taken}; say --network.size {size}")
        every = volumes.select("train")
        kept = held_out([record.id for record in every.records], settings.holdout)
        parts = [tuple(record for record in every.records if (record.id in kept) == wanted) for wanted in (False, True)]
        if not all(parts):
            raise UsageError(f"{len(every)} training objects and a hold-out of {settings.holdout} leave nothing; lower --holdout")
        self.training, self.kept = (VolumeSet(volumes.folder, part) for part in parts)
        self.settings, self.encoder, self.accumulate = settings, encoder, accumulate

    def setup(self, stage: str) -> None:
        """Encode what is told of the objects, once."""
        if not hasattr(self, "_sentences"):
            encoder, tell = self.encoder(), pictured if reads_pictures(self.settings.network.encoder) else encoded
            once = replace(self.settings, phrases=1, recolored=0.0)  # the hold-out is asked for by full captions alone
            self._sentences: list[Sentences] = [tell(self.training, encoder, self.settings), tell(self.kept, encoder, once)]

    def train_dataloader(self) -> "DataLoader[VolumeBatch]":
        """The batches of the steps that are left."""
        trainer = self.trainer
        assert trainer is not None
        ranks = trainer.global_rank, trainer.world_size
        batches = VolumeBatches(self.training, self._sentences[0], self.settings, *ranks, self.accumulate)
        left = Remaining(trainer.global_step * self.accumulate, len(batches))
        return DataLoader(batches, batch_size=None, sampler=left)

    def val_dataloader(self) -> "DataLoader[VolumeBatch]":
        """This process's share of the hold-out, each object once with its full caption, at times that are spread evenly."""
        trainer = self.trainer
        assert trainer is not None
        if len(self.kept) < trainer.world_size:
            raise UsageError(f"the hold-out has {len(self.kept)} objects for {trainer.world_size} processes; keep more with --holdout")
        mine = range(trainer.global_rank, len(self.kept), trainer.world_size)
        parts = [mine[start : start + CHECKED] for start in range(0, len(mine), CHECKED)]
        return DataLoader([self.checked(part) for part in parts], batch_size=None)  # type: ignore[arg-type]  # a list is a dataset

    def checked(self, numbers: range) -> VolumeBatch:
        """Objects of the hold-out, without chance."""
        batches = VolumeBatches(self.kept, self._sentences[1], self.settings)
        volumes, fields = (torch.stack(part) for part in zip(*(batches.objects(i, mirror=False) for i in numbers), strict=True))
        times = torch.tensor([(i + 0.5) / len(self.kept) for i in numbers])
        return VolumeBatch(volumes, fields, self._sentences[1].told([(i, 0) for i in numbers]), times, tuple(numbers))


def statistics(volumes: VolumeSet) -> tuple[Statistics, Statistics]:
    """Mean and deviation of fields; and of attributes where nodes hold something, of the opacity over all nodes.

    Fields are smooth, so that noise averages out over many nodes, and what it leaves to be guessed at its usual levels are details. The
    deviation that is given is therefore larger than theirs, by the root of the number of nodes, so that the same levels drown shapes,
    too, and words are worth reading. It is the scaling of Chen 2023 (2301.10972), but for the network's inputs, which are taken as they
    are.
    """
    step = max(1, len(volumes) // COUNTED)
    values = [volumes.read(number) for number in range(0, len(volumes), step)]
    fields = torch.stack([distance_field(GaussianVolume.of_generated(each)) for each in values])
    held = torch.cat([each.flatten(1)[:, each[LOGIT].flatten() > FAINT] for each in values], 1)
    mean, std = held.mean(1), held.std(1)
    logits = torch.stack([each[LOGIT] for each in values])
    mean[LOGIT], std[LOGIT] = logits.mean(), logits.std()
    spread = max(1.0, logits[0].numel() ** 0.5 / DROWNED)
    return Statistics(fields.mean()[None], spread * fields.std()[None]), Statistics(mean, std.clamp_min(1e-3))
