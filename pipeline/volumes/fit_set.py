"""A rendered set becomes volumes: file by file, on several processes, going on where an earlier run stopped."""

import hashlib
import time
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from gen3d.errors import Interrupted, UsageError
from gen3d.pipeline.evaluation.object_scores import decibels
from gen3d.pipeline.objects.object_set import ObjectSet
from gen3d.pipeline.objects.parallel import outcomes, processors
from gen3d.pipeline.objects.shards import writing
from gen3d.pipeline.objects.views import ObjectViews
from gen3d.pipeline.progress import Progress
from gen3d.pipeline.volumes.packing import pack, unpack
from gen3d.pipeline.volumes.refine import refined
from gen3d.pipeline.volumes.settings import VolumeSettings
from gen3d.pipeline.volumes.surface import framed, surface_points, surface_volume
from gen3d.pipeline.volumes.volume_set import MANIFEST, VolumeRecord, read_volumes, together, write_file, write_volumes
from gen3d.priors.volume.volume import GaussianVolume
from gen3d.renderers.native.threads import kernel_threads
from gen3d.renderers.rendering import rasterize


@dataclass(frozen=True, slots=True)
class VolumesReport:
    """What a run did.

    Attributes:
        records: of all volumes.
        reused: objects that an earlier run had done.
        seconds: wall time.
        bytes: of the files.
    """

    records: tuple[VolumeRecord, ...]
    reused: int
    seconds: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Portion:
    """Objects whose volumes share a file.

    Attributes:
        file: of the volumes.
        numbers: of the objects in the set.
    """

    file: str
    numbers: tuple[int, ...]


def fit_volumes(source: str | Path, folder: str | Path, settings: VolumeSettings, progress: Progress, *, workers: int = 0) -> VolumesReport:
    """Fit a volume to every object of a rendered set, or to those that an earlier run of the same settings has left.

    Args:
        source: a set with depth.
        folder: of the volumes.
        settings: of the fits.
        progress: listener.
        workers: processes; 0 takes one for each processor.

    Raises:
        BadInput: there is no set, or the folder holds volumes of another one.
        UsageError: the set has no depth, or the folder holds volumes of other settings, or another process works in it.
        Interrupted: Ctrl-C; finished files are kept.
    """
    began, objects, target = time.monotonic(), ObjectSet(source), Path(folder)
    if not objects.manifest.settings.geometry:
        raise UsageError(f"{source} holds no depth, at which volumes begin; render it with --geometry true")
    fingerprint = hashlib.sha256(" ".join(shard.sha256 for shard in objects.manifest.shards).encode()).hexdigest()
    with writing(target, "--out"):
        records = _earlier(target, settings, fingerprint)
        done, reused = {record.file for record in records}, len(records)
        missing = [portion for portion in portions(objects) if portion.file not in done]
        progress.start("fit volumes", len(objects))
        progress.advance(reused)
        work = partial(fit_portion, source=Path(source), folder=target, settings=settings)
        try:
            with closing(outcomes(work, missing, workers=min(workers or processors(), len(missing)), lost=_lost)) as ready:
                for fresh in ready:
                    records = tuple(sorted((*records, *fresh), key=lambda each: each.id))
                    write_volumes(target, settings, fingerprint, records)
                    progress.advance(len(records))
        except KeyboardInterrupt as error:
            raise Interrupted(f"interrupted with {len(records):,} of {len(objects):,} objects done; the same command goes on") from error
        progress.finish()
    size = sum((target / file).stat().st_size for file in {record.file for record in records})
    return VolumesReport(records, reused, time.monotonic() - began, size)


def portions(objects: ObjectSet) -> list[Portion]:
    """The objects of each shard of a set, in order of their ids."""
    numbers: dict[str, list[int]] = {}
    for number, record in enumerate(objects.records):
        numbers.setdefault(record.shard, []).append(number)
    return [Portion(f"{Path(shard).stem}.safetensors", tuple(each)) for shard, each in sorted(numbers.items())]


def fit_portion(portion: Portion, source: Path, folder: Path, settings: VolumeSettings) -> list[VolumeRecord]:
    """Fit the volumes of a file and write it; another process may do it."""
    objects = ObjectSet(source)
    with kernel_threads(1):
        parts = [fit_object(objects, number, portion.file, settings) for number in portion.numbers]
    write_file(folder, together(parts))
    return [record for record, _, _ in parts]


def fit_object(objects: ObjectSet, number: int, file: str, settings: VolumeSettings) -> tuple[VolumeRecord, Tensor, Tensor]:
    """An object's record, the nodes that hold something, and what they hold."""
    record, views = objects.record(number), objects.read(number)
    views, points, centre, scale = framed(views, surface_points(views))
    held, values = pack(refined(surface_volume(points, settings.size), views, settings))
    stored = GaussianVolume.of_generated(unpack(held, values, settings.size))
    told = {name: getattr(record, name) for name in ("id", "name", "colors", "category", "tier", "split", "licence", "attribution")}
    return VolumeRecord(**told, scale=scale, centre=centre, psnr=quality(stored, views), file=file), held, values


@torch.no_grad()
def quality(volume: GaussianVolume, views: ObjectViews) -> float:
    """PSNR of an object's views over white, dB."""
    white = torch.ones(3)
    shown = rasterize(volume.gaussians(), views.cameras, background=white).rgb.clamp(0, 1)
    return float(decibels((shown - views.over(white)).square().flatten(1).mean(1)).mean())


def _earlier(folder: Path, settings: VolumeSettings, fingerprint: str) -> tuple[VolumeRecord, ...]:
    """What an earlier run of the same set and settings has finished.

    Raises:
        UsageError: it had other settings, or another set.
    """
    if not (folder / MANIFEST).is_file():
        return ()
    before, source, records = read_volumes(folder)
    if before != settings or source != fingerprint:
        raise UsageError(f"{folder} holds volumes of another set or of other settings; choose another --out")
    return tuple(record for record in records if (folder / record.file).is_file())


def _lost(portion: Portion) -> list[VolumeRecord]:
    return []  # nothing of it is there, and the next run does it again
