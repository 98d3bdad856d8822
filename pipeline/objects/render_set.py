"""A library becomes a rendered set: shard by shard, on several processes, going on where an earlier run stopped."""

import hashlib
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from gen3d.errors import BadInput, Gen3DError, Interrupted
from gen3d.files import sweep, write_bytes
from gen3d.optional import require
from gen3d.pipeline.lock import lock_folder, release
from gen3d.pipeline.objects.drawing import Drawn, draw_entry, failure
from gen3d.pipeline.objects.folders import find_objects
from gen3d.pipeline.objects.manifest import write_manifest
from gen3d.pipeline.objects.parallel import outcomes, processors
from gen3d.pipeline.objects.planning import Batch, batches, check_target, finished, remove_others
from gen3d.pipeline.objects.records import Failure, ObjectRecord, SetManifest, Shard
from gen3d.pipeline.objects.settings import RenderSettings
from gen3d.pipeline.progress import Progress

EVERY = 15.0  # seconds between two manifests of an unfinished set
MAGIC = b"gen3d-objects 1\n"  # what a shard begins with
DIED = "the process that drew it died, perhaps for want of memory; make the mesh smaller"


@dataclass(frozen=True, slots=True)
class SetReport:
    """What a run did.

    Attributes:
        manifest: of the finished set.
        reused: objects that an earlier run had done.
        seconds: wall time.
    """

    manifest: SetManifest
    reused: int
    seconds: float


def render_set(
    library: str | Path, folder: str | Path, settings: RenderSettings, progress: Progress, *, workers: int = 0, overwrite: bool = False
) -> SetReport:
    """Render the objects of a library, or those that are still missing in an earlier set of the same settings.

    The result does not depend on the number of processes, nor on where earlier runs stopped. Shards that are damaged, or whose
    objects have changed, are rendered again.

    Args:
        library: a folder of meshes, see `find_objects`.
        folder: the set.
        settings: how to render.
        progress: listener.
        workers: processes; 0 takes one for each processor.
        overwrite: replace a set that is there.

    Raises:
        BadInput: the library is broken or empty, or none of its meshes can be drawn.
        UsageError: the folder holds something else or a set of other settings, or another process works in it.
        MissingDependency: the package embreex is not installed.
        Interrupted: Ctrl-C; finished shards are kept.
    """
    start, root, target = time.monotonic(), Path(library), Path(folder)
    entries = find_objects(root)
    check_target(target, settings, overwrite=overwrite)
    require("embreex", extra="mesh", purpose="drawing meshes")
    with _writing(target):
        plan = list(batches(entries))
        before = finished(target, settings, plan, progress, overwrite=overwrite)
        manifest = _render(root, target, before, plan, progress, workers or processors())
        remove_others(target, plan)
    if not manifest.objects:
        first = manifest.failures[0]
        raise BadInput(f"none of the {len(entries):,} meshes in {library} could be drawn; the first, {first.file}: {first.reason}")
    return SetReport(manifest, len(before.objects), time.monotonic() - start)


def _render(library: Path, folder: Path, manifest: SetManifest, plan: Sequence[Batch], progress: Progress, workers: int) -> SetManifest:
    """Draw what is missing. The manifest names every finished shard however this ends; a kill loses those of 15 seconds."""
    done = {shard.file for shard in manifest.shards}
    missing = [batch for batch in plan if batch.file not in done]
    entries = [entry for batch in missing for entry in batch.entries]
    draw = partial(draw_entry, settings=manifest.settings, library=library)
    lost = partial(failure, library=library, reason=DIED)
    count, failed, written = manifest.planned - len(entries), len(manifest.failures), time.monotonic()
    progress.start("render", manifest.planned)
    write_manifest(folder, manifest)
    try:
        with closing(outcomes(draw, entries, workers=min(workers, len(entries)), lost=lost)) as results:
            for batch in missing:
                drawn: list[Drawn] = []
                failures: list[Failure] = []
                for result in islice(results, len(batch.entries)):
                    if isinstance(result, Failure):
                        failures.append(replace(result, shard=batch.file))
                    else:
                        drawn.append(result)
                    count += 1
                    progress.advance(count, failed=failed + len(failures))
                failed += len(failures)
                manifest = _with_shard(manifest, *_write_shard(folder, batch, drawn), failures)
                if time.monotonic() - written > EVERY:
                    write_manifest(folder, manifest)
                    written = time.monotonic()
    except KeyboardInterrupt as error:
        ready = len(manifest.objects) + len(manifest.failures)
        raise Interrupted(
            f"interrupted with {ready:,} of {manifest.planned:,} objects done; the same command goes on from there"
        ) from error
    finally:
        write_manifest(folder, manifest)
    progress.finish()
    return manifest


def _write_shard(folder: Path, batch: Batch, drawn: Sequence[Drawn]) -> tuple[Shard, list[ObjectRecord]]:
    """Write a shard in one step; returns what the manifest says of it and of its objects."""
    data, records = bytearray(MAGIC), []
    for record, content in drawn:
        records.append(replace(record, shard=batch.file, offset=len(data), crc32=zlib.crc32(content)))
        data += content
    write_bytes(folder / batch.file, bytes(data))
    return Shard(batch.file, len(data), hashlib.sha256(data).hexdigest(), batch.inputs), records


def _with_shard(manifest: SetManifest, shard: Shard, records: Sequence[ObjectRecord], failures: Sequence[Failure]) -> SetManifest:
    return replace(
        manifest,
        shards=tuple(sorted((*manifest.shards, shard), key=lambda each: each.file)),
        failures=tuple(sorted((*manifest.failures, *failures), key=lambda each: each.id)),
        objects=tuple(sorted((*manifest.objects, *records), key=lambda each: each.id)),
    )


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """The folder, made if need be and locked; what a killed run left half written is swept away."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_folder(folder)
    except OSError as error:
        raise Gen3DError(f"{folder} cannot be written: {error.strerror or error}; choose another --out") from error
    try:
        sweep(folder)
        yield
    finally:
        release(lock)
