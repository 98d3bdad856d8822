"""From volumes to weights: the trainings of GVGEN's two networks."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_only

from gen3d.errors import MissingWeights, UsageError
from gen3d.pipeline.progress import Progress
from gen3d.pipeline.training.gvgen import AttributeTraining, FieldTraining
from gen3d.pipeline.training.module import PriorTraining
from gen3d.pipeline.training.run import TrainingJob, newest
from gen3d.pipeline.training.train import Trained, keep_settings, keep_sources, train
from gen3d.pipeline.training.volume_batches import TOGETHER
from gen3d.pipeline.training.volume_data import VolumeData, statistics
from gen3d.pipeline.training.volume_settings import AttributeSettings, FieldSettings
from gen3d.pipeline.volumes.appearance import appearance
from gen3d.pipeline.volumes.volume_set import VolumeSet
from gen3d.priors.perceptual import Lpips, load_lpips
from gen3d.priors.pictures import reads_pictures
from gen3d.priors.text import Encoder
from gen3d.priors.volume.looks import looks_of
from gen3d.priors.volume.shipped import WORDS, encoder_of
from gen3d.priors.volume.volume import GaussianVolume
from gen3d.priors.volume.weights import load_network, save_network
from gen3d.priors.volume.words import Words, save_words


def train_gvgen(
    folders: Sequence[str | Path],
    settings: FieldSettings | AttributeSettings,
    job: TrainingJob,
    progress: Progress,
    start: str | Path | None = None,
) -> Trained:
    """Train the network that the kind of the settings names on the training split of volumes but for its hold-out.

    Args:
        folders: one folder that gen3d data volumes wrote.
        settings: of the training; written beside the weights.
        job: where and how it runs.
        progress: told of every step.
        start: a file of weights to begin with; None begins with random ones.

    Raises:
        UsageError: there are several folders, or Muon is asked for with fsdp, or the folder to write holds a training with other settings.
        BadInput: the volumes are not there, or of another size; or the weights to begin with have other shapes.
        MissingWeights: the text encoder or LPIPS is not here.
    """
    began = time.monotonic()
    if len(folders) != 1:
        raise UsageError(f"there are {len(folders)} folders of volumes; give one")
    volumes = VolumeSet(folders[0])
    data = VolumeData(volumes, settings, partial(encoder_of, settings.network), job.accumulate)
    keep_settings(settings, job)
    keep_sources(data.training.records, job)
    pl.seed_everything(settings.seed, verbose=False)
    fields, attributes = statistics(data.training)
    field = isinstance(settings, FieldSettings)
    module: PriorTraining
    if isinstance(settings, FieldSettings):
        module = FieldTraining(settings, fields)
    else:
        module = AttributeTraining(settings, attributes, load_lpips("alex") if settings.perceptual and settings.render else None)
    if start is not None:
        module.begin_with(load_network(start))
    words = job.out / WORDS
    known = words.exists() and newest(job.out) is not None  # else they may be those of other volumes
    if field and not reads_pictures(settings.network.encoder) and not known and not getattr(rank_zero_only, "rank", 0):
        save_words(words_of(data.training, data.encoder(), _lpips(progress)), words)
    name = "gvgen-field.safetensors" if field else "gvgen-attributes.safetensors"
    return train(module, data, job, progress, job.out / name, save_network, began)


def words_of(volumes: VolumeSet, encoder: Encoder, lpips: Lpips | None) -> Words:
    """The names of objects, each once, what they mean, and how the objects look.

    Args:
        volumes: of the objects.
        encoder: of sentences.
        lpips: what looks are told apart by; None leaves them out.
    """
    names = sorted({record.name for record in volumes.records})
    pooled = torch.cat([encoder(names[start : start + TOGETHER]).pooled.cpu() for start in range(0, len(names), TOGETHER)])
    if lpips is None:
        return Words(tuple(names), pooled)
    rows = [appearance(GaussianVolume.of_generated(volumes.read(number)).gaussians(), lpips) for number in range(len(volumes))]
    places = {name: place for place, name in enumerate(names)}
    return Words(tuple(names), pooled, looks_of(rows, pooled[[places[record.name] for record in volumes.records]]))


def _lpips(progress: Progress) -> Lpips | None:
    try:
        return load_lpips("alex")
    except MissingWeights as error:
        progress.note(f"what objects look like is left out, and samples will be chosen without it: {error}")
        return None
