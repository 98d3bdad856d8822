"""The pictures of a protocol as a rendered set: drawn once from the meshes of a library, and kept."""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from gen3d.errors import BadInput
from gen3d.pipeline.evaluation.objects_protocol import ObjectsProtocol
from gen3d.pipeline.evaluation.protocol_drawing import draw_object
from gen3d.pipeline.formats.images import to_uint8
from gen3d.pipeline.objects.library import ObjectEntry
from gen3d.pipeline.objects.object_set import ObjectSet
from gen3d.pipeline.objects.parallel import processors
from gen3d.pipeline.objects.planning import Batch, batches, finished
from gen3d.pipeline.objects.records import ObjectRecord, SetManifest
from gen3d.pipeline.objects.settings import RenderSettings
from gen3d.pipeline.objects.shards import draw_shards, writing
from gen3d.pipeline.progress import Progress, Silent


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
    plan = list(batches(entries))
    settings = RenderSettings(size=protocol.size, views=len(protocol.angles), geometry=False, fit=protocol.fit)
    manifest, missing = _look(folder, settings, plan, protocol, Silent())
    if missing:  # who only reads needs no lock
        with writing(folder, "--cache"):
            manifest, _ = _look(folder, settings, plan, protocol, progress)
            draw = partial(draw_object, protocol=protocol, library=library)
            manifest = draw_shards(draw, library, folder, manifest, plan, progress, workers or processors(), f"draw {folder.name}")
    for each in manifest.failures:
        progress.note(f"{each.file} is left out: {each.reason}")
    if not manifest.objects:
        raise BadInput(f"none of the {manifest.planned:,} objects in {library} can be drawn; repair the meshes, or give another library")
    return ObjectSet(folder, manifest=manifest)


def fingerprint(objects: ObjectSet) -> str:
    """A digest of all pictures of a set as they are decoded, by which tables tell that they judge the same ones."""
    digest = hashlib.sha256()
    for record, views in zip(objects.records, objects, strict=True):
        digest.update(record.id.encode(errors="surrogateescape"))
        digest.update(to_uint8(torch.cat([views.rgb, views.alpha[..., None]], -1)).numpy().tobytes())
    return digest.hexdigest()[:16]


def _look(
    folder: Path, settings: RenderSettings, plan: Sequence[Batch], protocol: ObjectsProtocol, progress: Progress
) -> tuple[SetManifest, list[Batch]]:
    """What an earlier call has left that is whole and of these views, and what is missing."""
    manifest = finished(folder, settings, plan, progress, overwrite=False)
    if any(_angles(record) != protocol.angles for record in manifest.objects):
        manifest = finished(folder, settings, plan, progress, overwrite=True)
    done = {shard.file for shard in manifest.shards}
    return manifest, [batch for batch in plan if batch.file not in done]


def _angles(record: ObjectRecord) -> tuple[tuple[float, float], ...]:
    return tuple(zip(record.azimuths, record.elevations, strict=True))
