"""The pictures of a protocol as a rendered set: drawn once from the meshes of a library, and kept."""

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from gen3d.errors import BadInput, Gen3DError, MissingDependency
from gen3d.files import sweep, write_bytes
from gen3d.optional import require
from gen3d.pipeline.evaluation.objects_protocol import ObjectsProtocol
from gen3d.pipeline.formats.images import to_uint8
from gen3d.pipeline.lock import lock_folder, release
from gen3d.pipeline.objects.drawing import failure
from gen3d.pipeline.objects.encoding import encode_views
from gen3d.pipeline.objects.library import ObjectEntry
from gen3d.pipeline.objects.manifest import write_manifest
from gen3d.pipeline.objects.object_set import ObjectSet
from gen3d.pipeline.objects.parallel import outcomes, processors
from gen3d.pipeline.objects.planning import Batch, batches, finished
from gen3d.pipeline.objects.records import Failure, ObjectRecord, SetManifest, Shard
from gen3d.pipeline.objects.rendering import straight_color
from gen3d.pipeline.objects.settings import RenderSettings
from gen3d.pipeline.objects.views import ObjectViews
from gen3d.pipeline.progress import Progress
from gen3d.renderers.mesh import Mesh
from gen3d.renderers.mesh_renderer import render_mesh

DIED = "the process that drew it died, perhaps for want of memory; make the mesh smaller"
Drawn = tuple[ObjectRecord, bytes]


def protocol_set(
    library: Path, entries: Sequence[ObjectEntry], protocol: ObjectsProtocol, folder: Path, progress: Progress, *, workers: int = 0
) -> ObjectSet:
    """The objects in every view of a protocol; those that an earlier call has drawn into the folder are read.

    The pictures do not depend on the number of processes. Shards that are damaged, or whose meshes have changed, are drawn again.

    Args:
        library: the folder of the meshes.
        entries: objects of it.
        protocol: decides the pictures.
        folder: where they are kept, for this protocol and this choice of objects alone.
        progress: listener; told of objects that cannot be drawn.
        workers: processes; 0 takes one for each processor.

    Raises:
        BadInput: none of the objects can be drawn.
        UsageError: another process works in the folder.
        MissingDependency: the package embreex is not installed, and there is something to draw.
    """
    plan, settings = list(batches(entries)), RenderSettings(size=protocol.size, views=len(protocol.angles), geometry=False)
    with _locked(folder):
        manifest = finished(folder, settings, plan, progress, overwrite=False)
        if any(_angles(record) != protocol.angles for record in manifest.objects):
            manifest = finished(folder, settings, plan, progress, overwrite=True)
        done = {shard.file for shard in manifest.shards}
        missing = [batch for batch in plan if batch.file not in done]
        if missing:
            manifest = _draw_missing(library, missing, protocol, folder, manifest, progress, workers or processors())
    for each in manifest.failures:
        progress.note(f"{each.file} is left out: {each.reason}")
    if not manifest.objects:
        raise BadInput(f"none of the {manifest.planned:,} objects in {library} can be drawn; repair the meshes, or give another library")
    return ObjectSet(folder, manifest=manifest)


def draw(mesh: Mesh, protocol: ObjectsProtocol) -> ObjectViews:
    """What the cameras of a protocol see of a mesh that is placed.

    Raises:
        MissingDependency: the package embreex is not installed.
    """
    drawn = render_mesh(mesh, protocol.cameras, supersample=protocol.rays)
    return ObjectViews(protocol.cameras, straight_color(drawn), drawn.alpha)


def fingerprint(objects: ObjectSet) -> str:
    """A digest of all pictures of a set as they are decoded, by which tables tell that they judge the same ones."""
    digest = hashlib.sha256()
    for record, views in zip(objects.records, objects, strict=True):
        digest.update(record.id.encode(errors="surrogateescape"))
        digest.update(to_uint8(torch.cat([views.rgb, views.alpha[..., None]], -1)).numpy().tobytes())
    return digest.hexdigest()[:16]


def draw_object(entry: ObjectEntry, protocol: ObjectsProtocol, library: Path) -> Drawn | Failure:
    """An object's record, still without a place in a shard, and its pictures; or why there are none.

    Raises:
        MissingDependency: no mesh can be drawn on this machine.
    """
    try:
        mesh = entry.read()
        placement = protocol.placement(mesh)
        content = encode_views(draw(placement.place(mesh), protocol), geometry=False)[0]
    except MissingDependency:
        raise
    except Exception as error:  # one bad mesh must not end the job, whatever it breaks
        return failure(entry, library, str(error) or type(error).__name__)
    azimuths, elevations = zip(*protocol.angles, strict=True)
    record = ObjectRecord(
        id=entry.id,
        name=entry.caption,
        caption=entry.caption,
        colors=entry.colors,
        category=entry.category,
        tier=entry.tier,
        split=entry.split,
        licence=entry.licence,
        attribution=entry.attribution,
        centre=placement.centre,
        scale=placement.scale,
        azimuths=azimuths,
        elevations=elevations,
        shard="",
        offset=0,
        sizes=(len(content),),
        crc32=0,
    )
    return record, content


def _draw_missing(
    library: Path,
    missing: Sequence[Batch],
    protocol: ObjectsProtocol,
    folder: Path,
    manifest: SetManifest,
    progress: Progress,
    workers: int,
) -> SetManifest:
    """Draw shard after shard; the manifest names every finished one however this ends."""
    require("embreex", extra="mesh", purpose="drawing meshes")
    entries = [entry for batch in missing for entry in batch.entries]
    work = partial(draw_object, protocol=protocol, library=library)
    lost = partial(failure, library=library, reason=DIED)
    progress.start(f"draw {folder.name}", len(entries))
    count = 0
    with closing(outcomes(work, entries, workers=min(workers, len(entries)), lost=lost)) as results:
        for batch in missing:
            drawn: list[Drawn] = []
            failures: list[Failure] = []
            for result in islice(results, len(batch.entries)):
                if isinstance(result, Failure):
                    failures.append(replace(result, shard=batch.file))
                else:
                    drawn.append(result)
                count += 1
                progress.advance(count)
            manifest = _with_shard(folder, batch, manifest, drawn, failures)
            write_manifest(folder, manifest)
    progress.finish()
    return manifest


def _with_shard(folder: Path, batch: Batch, manifest: SetManifest, drawn: Sequence[Drawn], failures: Sequence[Failure]) -> SetManifest:
    data, records = bytearray(), []
    for record, content in drawn:
        records.append(replace(record, shard=batch.file, offset=len(data), crc32=zlib.crc32(content)))
        data += content
    write_bytes(folder / batch.file, bytes(data))
    shard = Shard(batch.file, len(data), hashlib.sha256(data).hexdigest(), batch.inputs)
    return replace(
        manifest,
        shards=(*manifest.shards, shard),
        failures=(*manifest.failures, *failures),
        objects=tuple(sorted((*manifest.objects, *records), key=lambda record: record.id)),
    )


def _angles(record: ObjectRecord) -> tuple[tuple[float, float], ...]:
    return tuple(zip(record.azimuths, record.elevations, strict=True))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The folder, made if need be; nobody else writes there, and what a killed run left half written is swept away."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_folder(folder)
    except OSError as error:
        raise Gen3DError(f"{folder} cannot be written: {error.strerror or error}; choose another --cache") from error
    try:
        sweep(folder)
        yield
    finally:
        release(lock)
