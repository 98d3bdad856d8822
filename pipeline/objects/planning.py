"""What a run has to render: the shards of a library, less those that an earlier run has finished."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gen3d.errors import UsageError
from gen3d.files import sha256
from gen3d.pipeline.objects.library import ObjectEntry
from gen3d.pipeline.objects.manifest import is_set, read_manifest
from gen3d.pipeline.objects.object_set import damage
from gen3d.pipeline.objects.records import Lens, SetManifest
from gen3d.pipeline.objects.settings import RenderSettings
from gen3d.pipeline.objects.views import DISTANCE, FOV, REACH
from gen3d.pipeline.progress import Progress

OBJECTS = 64  # of a shard


@dataclass(frozen=True, slots=True)
class Batch:
    """The objects of a shard.

    Attributes:
        file: name of the shard.
        entries: what it is to hold.
        inputs: digest of these entries and of the contents of their files, though not of files that these name, such as materials.
    """

    file: str
    entries: tuple[ObjectEntry, ...]
    inputs: str


def lens_of(settings: RenderSettings) -> Lens:
    """What the cameras of a set share."""
    return Lens(FOV, DISTANCE, DISTANCE - REACH[settings.fit], DISTANCE + REACH[settings.fit])


def batches(entries: Sequence[ObjectEntry]) -> Iterator[Batch]:
    """The shards of a library, so many objects each in the order given."""
    for number, first in enumerate(range(0, len(entries), OBJECTS)):
        chosen = tuple(entries[first : first + OBJECTS])
        facts = [({**asdict(entry), "path": entry.path.name}, _content(entry.path)) for entry in chosen]
        yield Batch(f"{number:05d}.shard", chosen, hashlib.sha256(json.dumps(facts).encode()).hexdigest())


def check_target(folder: Path, settings: RenderSettings, *, overwrite: bool) -> None:
    """Make sure that a set may be written, or continued, in a folder.

    Raises:
        BadInput: the set in it is damaged.
        UsageError: it holds something else, or a set of other settings.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name the folder of the set")
    if not folder.exists() or not any(not each.name.startswith(".") for each in folder.iterdir()):
        return
    if not is_set(folder):
        raise UsageError(f"{folder} holds files that are no rendered set; choose another --out")
    if overwrite:
        return
    before = read_manifest(folder)
    was = [f"--{name} {_told(value)}" for name, value in asdict(before.settings).items() if value != getattr(settings, name)]
    if was or before.lens != lens_of(settings):
        how = " ".join(was) or "other cameras"
        raise UsageError(f"{folder} was rendered with {how}; give the same settings, choose another --out, or add --overwrite")


def finished(folder: Path, settings: RenderSettings, plan: Sequence[Batch], progress: Progress, *, overwrite: bool) -> SetManifest:
    """The manifest to start from: empty, or with the shards of an earlier run that are whole and still true; the others are noted.

    Raises:
        BadInput: the set is damaged beyond its shards.
    """
    empty = SetManifest(settings, lens_of(settings), sum(len(batch.entries) for batch in plan))
    if overwrite or not is_set(folder):
        return empty
    before, inputs = read_manifest(folder), {batch.file: batch.inputs for batch in plan}
    kept = []
    for shard in before.shards:
        if inputs.get(shard.file) != shard.inputs:
            progress.note(f"{shard.file} holds other objects than the library now; it is rendered again")
        elif reason := damage(folder, shard):
            progress.note(f"{shard.file} {reason}; it is rendered again")
        else:
            kept.append(shard)
    names = {shard.file for shard in kept}
    failures = tuple(each for each in before.failures if each.shard in names)
    objects = tuple(each for each in before.objects if each.shard in names)
    return SetManifest(settings, lens_of(settings), empty.planned, tuple(kept), failures, objects)


def remove_others(folder: Path, plan: Sequence[Batch]) -> None:
    """Remove the shards of an earlier, larger library."""
    names = {batch.file for batch in plan}
    for path in folder.glob("*.shard"):
        if path.name not in names:
            path.unlink()


def _content(path: Path) -> str:
    """The digest of a file, or of nothing where it cannot be read, which the drawing will tell."""
    try:
        return sha256(path)
    except OSError:
        return ""


def _told(value: object) -> str:
    """A setting as its flag takes it."""
    return ",".join(f"{each:g}" for each in value) if isinstance(value, tuple) else str(value)
