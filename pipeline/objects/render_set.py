"""A library becomes a rendered set: shard by shard, on several processes, going on where an earlier run stopped."""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gen3d.errors import BadInput
from gen3d.optional import require
from gen3d.pipeline.objects.drawing import draw_entry
from gen3d.pipeline.objects.folders import find_objects
from gen3d.pipeline.objects.parallel import processors
from gen3d.pipeline.objects.planning import batches, check_target, finished, remove_others
from gen3d.pipeline.objects.records import SetManifest
from gen3d.pipeline.objects.settings import RenderSettings
from gen3d.pipeline.objects.shards import draw_shards, writing
from gen3d.pipeline.progress import Progress


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
    with writing(target, "--out"):
        plan = list(batches(entries))
        before = finished(target, settings, plan, progress, overwrite=overwrite)
        draw = partial(draw_entry, settings=settings, library=root)
        manifest = draw_shards(draw, root, target, before, plan, progress, workers or processors(), "render")
        remove_others(target, plan)
    if not manifest.objects:
        first = manifest.failures[0]
        raise BadInput(f"none of the {len(entries):,} meshes in {library} could be drawn; the first, {first.file}: {first.reason}")
    return SetReport(manifest, len(before.objects), time.monotonic() - start)
