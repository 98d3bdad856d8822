"""A rendered set becomes volumes: file by file, on several processes, going on where an earlier run stopped."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from gen3d.errors import BadInput, Interrupted, UsageError, first_line
from gen3d.files import sha256
from gen3d.pipeline.evaluation.object_scores import decibels
from gen3d.pipeline.objects.object_set import ObjectSet
from gen3d.pipeline.objects.parallel import outcomes, processors
from gen3d.pipeline.objects.shards import writing
from gen3d.pipeline.objects.views import ObjectViews
from gen3d.pipeline.progress import Progress
from gen3d.pipeline.volumes.fitters import FITTERS
from gen3d.pipeline.volumes.packing import pack, unpack
from gen3d.pipeline.volumes.settings import VolumeSettings
from gen3d.pipeline.volumes.surface import framed, surface_points
from gen3d.pipeline.volumes.volume_set import MANIFEST, VolumeRecord, Volumes, read_volumes, together, write_file, write_volumes
from gen3d.priors.volume.volume import GaussianVolume
from gen3d.renderers.native.threads import kernel_threads
from gen3d.renderers.rendering import rasterize


@dataclass(frozen=True, slots=True)
class VolumesReport:
    """What a run did.

    Attributes:
        records: of all volumes.
        planned: objects of the set.
        reused: of them, those that an earlier run had done.
        failures: objects that have no volume, and why.
        seconds: wall time.
        bytes: of the files.
    """

    records: tuple[VolumeRecord, ...]
    planned: int
    reused: int
    failures: tuple[tuple[str, str], ...]
    seconds: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Fitted:
    """What became of a portion.

    Attributes:
        records: of its volumes.
        digest: SHA-256 of their file; empty where there is none.
        failures: objects that have no volume, and why.
    """

    records: tuple[VolumeRecord, ...]
    digest: str
    failures: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Portion:
    """Objects whose volumes share a file.

    Attributes:
        file: of the volumes.
        numbers: of the objects in the set.
    """

    file: str
    numbers: tuple[int, ...]


def fit_volumes(
    source: str | Path, folder: str | Path, settings: VolumeSettings, progress: Progress, *, workers: int = 0, overwrite: bool = False
) -> VolumesReport:
    """Fit a volume to every object of a rendered set, or to those that an earlier run of the same settings has left.

    Args:
        source: a set with depth.
        folder: of the volumes.
        settings: of the fits.
        progress: listener.
        workers: processes; 0 takes one for each processor.
        overwrite: replace volumes that are there.

    Raises:
        BadInput: there is no set, or none of its objects can be fitted.
        UsageError: the set has no depth, or the folder holds volumes of other settings or of another set, or another process works in it.
        Interrupted: Ctrl-C; finished files are kept.
    """
    began, objects, target = time.monotonic(), ObjectSet(source), Path(folder)
    if not objects.manifest.settings.geometry:
        raise UsageError(f"{source} holds no depth, at which volumes begin; render it with --geometry true")
    fingerprint = hashlib.sha256(" ".join(shard.sha256 for shard in objects.manifest.shards).encode()).hexdigest()
    with writing(target, "--out"):
        volumes = Volumes(settings, fingerprint) if overwrite else _earlier(target, settings, fingerprint)
        reused, failures = len(volumes.records), list[tuple[str, str]]()
        missing = [portion for portion in portions(objects) if portion.file not in volumes.files]
        progress.start("fit volumes", len(objects))
        progress.advance(reused)
        work = partial(fit_portion, source=Path(source), folder=target, settings=settings)
        try:
            with closing(outcomes(work, missing, workers=min(workers or processors(), len(missing)), lost=_lost)) as ready:
                for fitted in ready:
                    failures += fitted.failures
                    volumes = volumes.joined(fitted.records, fitted.digest)
                    write_volumes(target, volumes)
                    progress.advance(len(volumes.records), failed=len(failures))
        except (KeyboardInterrupt, Interrupted) as error:
            done = len(volumes.records)
            raise Interrupted(f"interrupted with {done:,} of {len(objects):,} objects done; the same command goes on") from error
        progress.finish()
    if not volumes.records:
        raise BadInput(f"none of the {len(objects):,} objects of {source} could be fitted; the first, {failures[0][0]}: {failures[0][1]}")
    size = sum((target / file).stat().st_size for file in volumes.files)
    return VolumesReport(volumes.records, len(objects), reused, tuple(failures), time.monotonic() - began, size)


def portions(objects: ObjectSet) -> list[Portion]:
    """The objects of each shard of a set, in order of their ids."""
    numbers: dict[str, list[int]] = {}
    for number, record in enumerate(objects.records):
        numbers.setdefault(record.shard, []).append(number)
    return [Portion(f"{Path(shard).stem}.safetensors", tuple(each)) for shard, each in sorted(numbers.items())]


def fit_portion(portion: Portion, source: Path, folder: Path, settings: VolumeSettings) -> Fitted:
    """Fit the volumes of a file and write it; another process may do it."""
    objects, parts, failures = ObjectSet(source), list[tuple[VolumeRecord, Tensor, Tensor]](), list[tuple[str, str]]()
    with one_thread():
        for number in portion.numbers:
            try:
                parts.append(fit_object(objects, number, portion.file, settings))
            except Interrupted:
                raise
            except Exception as error:  # one bad object must not end a job, whatever it breaks
                failures.append((objects.record(number).id, first_line(error)))
    digest = write_file(folder, together(parts)) if parts else ""
    return Fitted(tuple(record for record, _, _ in parts), digest, tuple(failures))


@contextmanager
def one_thread() -> Iterator[None]:
    """Leave other cores to other processes: torch's own threads, which kernels of a fit take as many of, and those of kernels."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with kernel_threads(1):
            yield
    finally:
        torch.set_num_threads(before)


def fit_object(objects: ObjectSet, number: int, file: str, settings: VolumeSettings) -> tuple[VolumeRecord, Tensor, Tensor]:
    """An object's record, the nodes that hold something, and what they hold."""
    record, views = objects.record(number), objects.read(number)
    views, points, centre, scale = framed(views, surface_points(views))
    held, values = pack(FITTERS[settings.fit](views, points, settings))
    stored = GaussianVolume.of_generated(unpack(held, values, settings.size))
    told = {name: getattr(record, name) for name in ("id", "name", "colors", "category", "tier", "split", "licence", "attribution")}
    return VolumeRecord(**told, scale=scale, centre=centre, psnr=quality(stored, views), file=file), held, values


@torch.no_grad()
def quality(volume: GaussianVolume, views: ObjectViews) -> float:
    """PSNR of an object's views over white, dB."""
    white = torch.ones(3)
    shown = rasterize(volume.gaussians(), views.cameras, background=white).rgb.clamp(0, 1)
    return float(decibels((shown - views.over(white)).square().flatten(1).mean(1)).mean())


def _earlier(folder: Path, settings: VolumeSettings, fingerprint: str) -> Volumes:
    """What an earlier run of the same set and settings has finished and is still whole.

    Raises:
        UsageError: it had other settings, or another set.
    """
    if not (folder / MANIFEST).is_file():
        return Volumes(settings, fingerprint)
    before = read_volumes(folder)
    if before.settings != settings or before.source != fingerprint:
        raise UsageError(f"{folder} holds volumes of another set or of other settings; choose another --out, or add --overwrite")
    whole = {file: digest for file, digest in before.files.items() if (folder / file).is_file() and sha256(folder / file) == digest}
    return replace(before, files=whole, records=tuple(record for record in before.records if record.file in whole))


def _lost(portion: Portion) -> Fitted:
    reason = "the process that fitted it died, perhaps for want of memory; the same command tries again"
    return Fitted((), "", ((f"{len(portion.numbers)} objects of {portion.file}", reason),))
