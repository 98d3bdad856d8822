"""What trainings of all priors begin and end with: settings that stay the same, and weights."""

import copy
import csv
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.files import atomic_path
from gen3d.pipeline.configuration import as_yaml, flatten, override, read_layer
from gen3d.pipeline.objects.records import ObjectRecord
from gen3d.pipeline.progress import Progress
from gen3d.pipeline.training.logs import Reporter
from gen3d.pipeline.training.module import PriorTraining
from gen3d.pipeline.training.run import LAST, TrainingJob, run
from gen3d.pipeline.training.settings import TrainingSettings
from gen3d.pipeline.volumes.volume_set import VolumeRecord

SOURCES = "training-data.csv"
AVERAGED = "average.network."  # what the names of averaged weights begin with


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training made.

    Attributes:
        weights: file of the averaged network.
        seconds: of this run.
        figures: measured at the end; those named psnr in dB.
    """

    weights: Path
    seconds: float
    figures: dict[str, float]


def train(
    module: PriorTraining,
    data: pl.LightningDataModule,
    job: TrainingJob,
    progress: Progress,
    weights: Path,
    save: Callable[[Any, Path], None],
    began: float,
) -> Trained:
    """Train, and write the averaged network.

    Args:
        module: of the prior.
        data: of it.
        job: where and how it runs.
        progress: told of every step.
        weights: file to write.
        save: writes a network.
        began: when, by the monotonic clock.
    """
    blank = copy.deepcopy(module.network)  # before a strategy cuts it into pieces
    metrics = run(module, data, job, [Reporter(progress, job.steps)])
    progress.finish()
    if not getattr(rank_zero_only, "rank", 0):
        blank.load_state_dict(averaged_in(job.out / LAST))
        save(blank, weights)
    return Trained(weights, time.monotonic() - began, metrics)


def keep_settings(settings: TrainingSettings, job: TrainingJob) -> None:
    """Write the settings beside the checkpoints of a training; one that goes on must have the same, but for when it measures.

    Raises:
        UsageError: the folder holds a training with others, or Muon is asked for with fsdp.
    """
    if job.strategy == "fsdp" and settings.optimizer == "muon":
        raise UsageError("muon works on whole matrices, which fsdp cuts into pieces; say --optimizer adamw")
    path = job.out / "settings.yaml"
    if (job.out / LAST).exists() and path.exists():
        earlier, now = flatten(override(type(settings)(), read_layer(path), str(path))), flatten(settings)
        other = [f"{name} was {earlier[name]} and is {now[name]}" for name in now if earlier[name] != now[name] and name != "check"]
        if other:
            raise UsageError(f"{job.out} holds a training with other settings: {', '.join(other)}; give another --out, or the same ones")
    if not getattr(rank_zero_only, "rank", 0):
        job.out.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(as_yaml(settings), encoding="utf-8")


def keep_sources(records: Iterable[ObjectRecord | VolumeRecord], job: TrainingJob) -> None:
    """Write beside the weights what they learn from and whose it is, each object once; many licences ask for it.

    Raises:
        UsageError: the folder holds a training that learned from other objects.
    """
    path, names = job.out / SOURCES, ("id", "name", "tier", "licence", "attribution")
    each = sorted({record.id: record for record in records}.items())
    rows = [list(names), *([str(getattr(record, name)) for name in names] for _, record in each)]
    if (job.out / LAST).exists() and path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            if list(csv.reader(file)) != rows:
                raise UsageError(f"{job.out} holds a training on other objects; give another --out, or the same --data")
    if getattr(rank_zero_only, "rank", 0):
        return
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def averaged_in(checkpoint: Path) -> dict[str, Tensor]:
    """The averaged weights in a checkpoint, whole whatever pieces they were trained in."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    return {name.removeprefix(AVERAGED): value for name, value in state.items() if name.startswith(AVERAGED)}
