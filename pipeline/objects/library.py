"""Libraries of textured meshes: a folder with one file an object and a manifest.json."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, TypeVar

from gen3d.errors import BadInput
from gen3d.files import read_json
from gen3d.pipeline.formats.meshes import read_mesh
from gen3d.renderers.mesh import Mesh


class Sorted(Protocol):
    """What is sorted by origin and by use."""

    @property
    def tier(self) -> str:
        """Kind of origin."""

    @property
    def split(self) -> str:
        """Train or test."""


Entry = TypeVar("Entry", bound=Sorted)


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """One object of a library.

    Attributes:
        id: unique name.
        path: its mesh file.
        caption: words for it, lower case.
        colors: dominant colour words, may be empty.
        category: what kind of thing it is.
        tier: kind of origin, such as scan, textured or lowpoly.
        split: train or test.
        licence: of the mesh and of pictures drawn from it.
        attribution: whom the licence asks to be named.
    """

    id: str
    path: Path
    caption: str
    colors: tuple[str, ...]
    category: str
    tier: str
    split: str
    licence: str
    attribution: str

    def read(self) -> Mesh:
        """The mesh.

        Raises:
            BadInput: the file is missing or broken.
        """
        return read_mesh(self.path)


def read_library(folder: str | Path) -> tuple[ObjectEntry, ...]:
    """All objects that a folder's manifest.json lists, in order of their ids.

    The manifest holds `objects`, a list of records with `id`, `file`, `caption`, `tier`, `split`, `licence`, `attribution` and,
    when known, `colors` and `category`. Mesh files are not opened.

    Raises:
        BadInput: the manifest is missing or broken, an id appears twice, or a file lies outside the folder.
    """
    root = Path(folder)
    manifest = root / "manifest.json"
    content = read_json(manifest)
    records = content.get("objects") if isinstance(content, dict) else None
    if not isinstance(records, list):
        raise BadInput(f"{manifest} has no list `objects`; give the folder of an object library")
    entries = sorted((_entry(record, root, manifest) for record in records), key=lambda entry: entry.id)
    for entry, other in pairwise(entries):
        if entry.id == other.id:
            raise BadInput(f"{manifest} lists the object {entry.id!r} twice; ids must differ")
    return tuple(entries)


def select(entries: tuple[Entry, ...], *, tier: str | None = None, split: str | None = None) -> tuple[Entry, ...]:
    """The objects of one tier and one split; None takes all.

    Raises:
        BadInput: no entry is left.
    """
    chosen = tuple(entry for entry in entries if tier in (None, entry.tier) and split in (None, entry.split))
    if not chosen:
        known = sorted({(entry.tier, entry.split) for entry in entries})
        there = ", ".join(f"{a}/{b}" for a, b in known) or "nothing"
        raise BadInput(f"no object has tier {tier or 'any'} and split {split or 'any'}; the library has {there}")
    return chosen


def _entry(record: Any, root: Path, manifest: Path) -> ObjectEntry:
    """One checked record."""
    texts = ("id", "file", "caption", "tier", "split", "licence", "attribution")
    if not isinstance(record, dict) or not all(isinstance(record.get(key), str) for key in texts):
        raise BadInput(f"{manifest} has the record {str(record)[:80]}; each needs the texts {', '.join(texts)}")
    colors = record.get("colors", [])
    if not isinstance(colors, list) or not all(isinstance(color, str) for color in colors):
        raise BadInput(f"{manifest} gives {record['id']!r} the colors {str(colors)[:80]}; they must be a list of words")
    path = root / record["file"]
    if not path.resolve().is_relative_to(root.resolve()):
        raise BadInput(f"{manifest} gives {record['id']!r} the file {record['file']!r}; it must lie in the library's folder")
    return ObjectEntry(
        id=record["id"],
        path=path,
        caption=record["caption"],
        colors=tuple(colors),
        category=str(record.get("category", "")),
        tier=record["tier"],
        split=record["split"],
        licence=record["licence"],
        attribution=record["attribution"],
    )
