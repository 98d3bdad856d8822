"""From rendered sets to weights: the training of multiview networks."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
from torch import Tensor

from gen3d.errors import BadInput
from gen3d.pipeline.objects.object_set import ObjectSet
from gen3d.pipeline.progress import Progress
from gen3d.pipeline.training.data import DsplatsData
from gen3d.pipeline.training.dsplats import DsplatsTraining, Perceptual
from gen3d.pipeline.training.run import TrainingJob
from gen3d.pipeline.training.settings import DsplatsSettings
from gen3d.pipeline.training.train import Trained, keep_settings, keep_sources, train
from gen3d.priors.multiview.pretrained import from_pretrained
from gen3d.priors.multiview.weights import load_network, save_network
from gen3d.priors.perceptual import load_lpips

WEIGHTS = "dsplats.safetensors"


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
    data = DsplatsData(sets, settings, job.accumulate)
    keep_settings(settings, job)
    keep_sources((record for objects in data.training for record in objects.records), job)
    pl.seed_everything(settings.seed, verbose=False)
    pretrained = from_pretrained(settings.pretrained, settings.network) if settings.pretrained else None
    module = DsplatsTraining(settings, _perceptual(settings), pretrained)
    if start is not None:
        module.begin_with(load_network(start))
    save = partial(save_network, bits=16 if pretrained else 8)
    return train(module, data, job, progress, job.out / WEIGHTS, save, began)


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
