"""From a rendered set to weights: the trainings of the priors."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from gen3d.errors import BadInput, UsageError
from gen3d.files import atomic_path
from gen3d.pipeline.configuration import as_yaml, flatten, override, read_layer
from gen3d.pipeline.objects.object_set import ObjectSet
from gen3d.pipeline.progress import Progress
from gen3d.pipeline.training.data import DsplatsData
from gen3d.pipeline.training.dsplats import DsplatsTraining, Perceptual
from gen3d.pipeline.training.logs import Reporter
from gen3d.pipeline.training.module import PriorTraining
from gen3d.pipeline.training.run import LAST, TrainingJob, run
from gen3d.pipeline.training.settings import DsplatsSettings, TrainingSettings
from gen3d.priors.multiview.pretrained import from_pretrained
from gen3d.priors.multiview.weights import load_network, save_network
from gen3d.priors.perceptual import load_lpips

WEIGHTS = "dsplats.safetensors"
AVERAGED = "average.network."  # what the names of averaged weights begin with


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training made.

    Attributes:
        weights: file of the averaged network.
        seconds: of this run.
        figures: measured at the end, dB.
    """

    weights: Path
    seconds: float
    figures: dict[str, float]


def train_dsplats(
    folders: Sequence[str | Path], settings: DsplatsSettings, job: TrainingJob, progress: Progress, start: str | Path | None = None
) -> Trained:
    """Train a multiview network on the training split of sets but for its hold-out.

    Args:
        folders: of sets of one library, whose pictures have the network's size; the first one's hold-out is measured.
        settings: of the training; written beside the weights.
        job: where and how it runs.
        progress: told of every step.
        start: a file of weights to begin with; None begins with random ones.

    Raises:
        UsageError: Muon is asked for with fsdp, or the folder holds a training with other settings.
        BadInput: a set is not there, or of another size; or the weights to begin with have other shapes.
    """
    began = time.monotonic()
    sets = [ObjectSet(folder) for folder in folders]
    for each in sets:
        if (size := each.manifest.settings.size) != (taken := settings.network.size):
            raise BadInput(f"{each.folder} has pictures of {size} pixels and the network takes {taken}; say --network.size {size}")
    keep_settings(settings, job)
    pl.seed_everything(settings.seed, verbose=False)
    pretrained = from_pretrained(settings.pretrained, settings.network) if settings.pretrained else None
    module = DsplatsTraining(settings, _perceptual(settings), pretrained)
    if start is not None:
        module.begin_with(load_network(start))
    save = partial(save_network, bits=16 if pretrained else 8)
    return finished(module, DsplatsData(sets, settings, job.accumulate), job, progress, job.out / WEIGHTS, save, began)


def finished(
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
    out = job.out
    path = out / "settings.yaml"
    if (out / LAST).exists() and path.exists():
        earlier, now = flatten(override(type(settings)(), read_layer(path), str(path))), flatten(settings)
        other = [f"{name} was {earlier[name]} and is {now[name]}" for name in now if earlier[name] != now[name] and name != "check"]
        if other:
            raise UsageError(f"{out} holds a training with other settings: {', '.join(other)}; give another --out, or the same settings")
    if not getattr(rank_zero_only, "rank", 0):
        out.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(as_yaml(settings), encoding="utf-8")


def averaged_in(checkpoint: Path) -> dict[str, Tensor]:
    """The averaged weights in a checkpoint, whole whatever pieces they were trained in."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    return {name.removeprefix(AVERAGED): value for name, value in state.items() if name.startswith(AVERAGED)}


def _perceptual(settings: DsplatsSettings) -> Perceptual | None:
    """LPIPS of pictures in [-1, 1], channels first; None where it has no weight."""
    if not settings.perceptual:
        return None
    lpips = load_lpips("alex")

    def distance(one: Tensor, other: Tensor) -> Tensor:
        lpips.to(one.device)
        found: Tensor = lpips(*((each.movedim(1, -1) + 1) / 2 for each in (one, other)))
        return found

    return distance
