"""Drawing the views of a protocol: of a mesh, of an object of a library, and shard by shard of many."""

import hashlib
import zlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

from gen3d.errors import MissingDependency
from gen3d.files import write_bytes
from gen3d.optional import require
from gen3d.pipeline.evaluation.objects_protocol import ObjectsProtocol
from gen3d.pipeline.objects.drawing import failure
from gen3d.pipeline.objects.encoding import encode_views
from gen3d.pipeline.objects.library import ObjectEntry
from gen3d.pipeline.objects.manifest import write_manifest
from gen3d.pipeline.objects.parallel import outcomes
from gen3d.pipeline.objects.planning import Batch
from gen3d.pipeline.objects.records import Failure, ObjectRecord, SetManifest, Shard
from gen3d.pipeline.objects.rendering import straight_color
from gen3d.pipeline.objects.views import ObjectViews, placement_of
from gen3d.pipeline.progress import Progress
from gen3d.renderers.mesh import Mesh
from gen3d.renderers.mesh_renderer import render_mesh

DIED = "the process that drew it died, perhaps for want of memory; make the mesh smaller"
Drawn = tuple[ObjectRecord, bytes]


def draw(mesh: Mesh, protocol: ObjectsProtocol) -> ObjectViews:
    """What the cameras of a protocol see of a mesh that is placed.

    Raises:
        MissingDependency: the package embreex is not installed.
    """
    drawn = render_mesh(mesh, protocol.cameras, supersample=protocol.rays)
    return ObjectViews(protocol.cameras, straight_color(drawn), drawn.alpha)


def draw_object(entry: ObjectEntry, protocol: ObjectsProtocol, library: Path) -> Drawn | Failure:
    """An object's record, still without a place in a shard, and its pictures; or why there are none.

    Raises:
        MissingDependency: no mesh can be drawn on this machine.
    """
    try:
        mesh = entry.read()
        placement = placement_of(mesh, protocol.fit)
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


def draw_missing(
    library: Path,
    missing: Sequence[Batch],
    protocol: ObjectsProtocol,
    folder: Path,
    manifest: SetManifest,
    progress: Progress,
    workers: int,
) -> SetManifest:
    """Draw shard after shard; the manifest names every finished one however this ends."""
    if not missing:
        return manifest
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
