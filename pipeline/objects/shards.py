"""Objects drawn and written shard by shard, on several processes; the manifest names what is finished however this ends."""

import hashlib
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

from gen3d.errors import Gen3DError, Interrupted
from gen3d.files import sweep, write_bytes
from gen3d.optional import require
from gen3d.pipeline.lock import lock_folder, release
from gen3d.pipeline.objects.drawing import Drawn, failure
from gen3d.pipeline.objects.library import ObjectEntry
from gen3d.pipeline.objects.manifest import write_manifest
from gen3d.pipeline.objects.parallel import outcomes
from gen3d.pipeline.objects.planning import Batch
from gen3d.pipeline.objects.records import Failure, ObjectRecord, SetManifest, Shard
from gen3d.pipeline.progress import Progress

EVERY = 15.0  # seconds between two manifests of an unfinished set
MAGIC = b"gen3d-objects 1\n"  # what a shard begins with
DIED = "the process that drew it died, perhaps for want of memory; make the mesh smaller"
Draw = Callable[[ObjectEntry], Drawn | Failure]  # picklable, for it runs in other processes


def draw_shards(
    draw: Draw, library: Path, folder: Path, manifest: SetManifest, plan: Sequence[Batch], progress: Progress, workers: int, name: str
) -> SetManifest:
    """Draw the shards of a plan that a manifest does not name yet. A kill loses those of 15 seconds.

    Args:
        draw: an object's pictures, or why there are none.
        library: the folder that files of failures are named within.
        folder: of the set, locked by the caller.
        manifest: what is done.
        plan: what is to be there in the end.
        progress: listener.
        workers: processes, at least 1.
        name: of the work, for the listener.

    Raises:
        MissingDependency: the package embreex is not installed.
        Interrupted: Ctrl-C; finished shards are kept.
    """
    require("embreex", extra="mesh", purpose="drawing meshes")
    done = {shard.file for shard in manifest.shards}
    missing = [batch for batch in plan if batch.file not in done]
    entries = [entry for batch in missing for entry in batch.entries]
    lost = partial(failure, library=library, reason=DIED)
    count, failed, written = manifest.planned - len(entries), len(manifest.failures), time.monotonic()
    progress.start(name, manifest.planned)
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


@contextmanager
def writing(folder: Path, flag: str) -> Iterator[None]:
    """A folder, made if need be and locked; what a killed run left half written is swept away.

    Args:
        folder: to write.
        flag: of the command line that names another one.

    Raises:
        Gen3DError: it cannot be written.
        UsageError: another process works in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_folder(folder)
    except OSError as error:
        raise Gen3DError(f"{folder} cannot be written: {error.strerror or error}; choose another {flag}") from error
    try:
        sweep(folder)
        yield
    finally:
        release(lock)


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
