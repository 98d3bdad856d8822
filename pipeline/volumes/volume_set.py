"""Fitted volumes of a library: files of some objects each, and a manifest that says whose they are."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gen3d.errors import BadInput
from gen3d.files import atomic_path, read_json, sha256, write_json
from gen3d.pipeline.configuration import override
from gen3d.pipeline.volumes.packing import unpack
from gen3d.pipeline.volumes.settings import VolumeSettings

MANIFEST = "volumes.json"
FORMAT, VERSION = "gen3d-volumes", 2
AGAIN = "make it with gen3d data volumes SET --out FOLDER"


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """An object whose volume is there.

    Attributes:
        id: its name in the set.
        name: words for it.
        colors: dominant colour words.
        category: what kind of thing it is.
        tier: kind of origin.
        split: train or test.
        licence: of the mesh, and so of its volume.
        attribution: whom the licence asks to be named.
        scale: p -> scale (p - centre) leads from the frame of the set to that of the volume.
        centre: in the frame of the set.
        psnr: of its pictures by its volume as it is stored, dB.
        file: that holds it.
    """

    id: str
    name: str
    colors: tuple[str, ...]
    category: str
    tier: str
    split: str
    licence: str
    attribution: str
    scale: float
    centre: tuple[float, ...]
    psnr: float
    file: str


@dataclass(frozen=True, slots=True)
class Packed:
    """The volumes of a file.

    Attributes:
        records: of its objects.
        held: numbers of the nodes that hold something, an object after the other.
        values: what they hold.
        counts: of the nodes of each object.
    """

    records: tuple[VolumeRecord, ...]
    held: Tensor
    values: Tensor
    counts: Tensor


@dataclass(frozen=True, slots=True)
class Volumes:
    """What the manifest says.

    Attributes:
        settings: that all were fitted with.
        source: fingerprint of the set that they were fitted to.
        files: SHA-256 by name.
        records: of all objects, in order of their ids.
    """

    settings: VolumeSettings
    source: str
    files: Mapping[str, str] = field(default_factory=dict)
    records: tuple[VolumeRecord, ...] = ()

    def joined(self, records: tuple[VolumeRecord, ...], digest: str) -> "Volumes":
        """With the objects of one more file."""
        if not records:
            return self
        every = sorted((*self.records, *records), key=lambda each: each.id)
        return replace(self, files={**self.files, records[0].file: digest}, records=tuple(every))


class VolumeSet:
    """The volumes of the selected objects, by number.

    Attributes:
        folder: where they lie.
        settings: that they were fitted with.
        records: of the selected objects.
    """

    def __init__(self, folder: str | Path, records: tuple[VolumeRecord, ...] | None = None) -> None:
        self.folder = Path(folder)
        volumes = read_volumes(self.folder)
        self.settings, every = volumes.settings, volumes.records
        self.records = every if records is None else records
        self._files: dict[str, dict[str, Tensor]] = {}
        self._places = {each.id: (each.file, place) for file in _by_file(every).values() for place, each in enumerate(file)}

    def __len__(self) -> int:
        return len(self.records)

    def select(self, split: str) -> Self:
        """The objects of a split.

        Raises:
            BadInput: there is none.
        """
        chosen = tuple(record for record in self.records if record.split == split)
        if not chosen:
            raise BadInput(f"{self.folder} holds no objects of the split {split}; {AGAIN}")
        return type(self)(self.folder, chosen)

    def read(self, number: int) -> Float[Tensor, "13 n n n"]:
        """The generated form of an object's volume.

        Raises:
            BadInput: its file is damaged.
        """
        file, place = self._places[self.records[number].id]
        if file not in self._files:
            self._files[file] = _tensors(self.folder / file)
        tensors = self._files[file]
        try:
            start, count = int(tensors["counts"][:place].sum()), int(tensors["counts"][place])
            return unpack(tensors["held"][start : start + count], tensors["values"][start : start + count], self.settings.size)
        except (KeyError, IndexError, RuntimeError) as error:
            raise BadInput(f"{self.folder / file} is damaged: {error}; {AGAIN}, which fits damaged files anew") from error


def write_file(folder: Path, packed: Packed) -> str:
    """Write the volumes of some objects in one step; the SHA-256 of the file."""
    path = folder / packed.records[0].file
    with atomic_path(path) as temporary:
        save_file({"held": packed.held, "values": packed.values, "counts": packed.counts}, temporary)
    return sha256(path)


def write_volumes(folder: Path, volumes: Volumes) -> None:
    """Write the manifest in one step."""
    facts = {"settings": asdict(volumes.settings), "source": volumes.source, "files": dict(volumes.files)}
    write_json(folder / MANIFEST, {"format": FORMAT, "version": VERSION, **facts, "objects": [asdict(each) for each in volumes.records]})


def read_volumes(folder: Path) -> Volumes:
    """What the manifest of a folder of volumes says.

    Raises:
        BadInput: it holds none, or the manifest is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BadInput(f"{folder} holds no volumes (it has no {MANIFEST}); {AGAIN}")
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("version") != VERSION:
        raise BadInput(f"{path} is not the manifest of volumes of version {VERSION}; {AGAIN}")
    try:
        records = tuple(_record(each) for each in content["objects"])
        files = {str(name): str(digest) for name, digest in content["files"].items()}
        return Volumes(override(VolumeSettings(), content["settings"], str(path)), str(content["source"]), files, records)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"{path} is damaged ({error}); {AGAIN}") from error


def _record(raw: dict[str, Any]) -> VolumeRecord:
    record = VolumeRecord(**raw)
    if Path(record.file).name != record.file or record.file.startswith("."):
        raise ValueError(f"the file {record.file!r} does not lie in the folder")
    return replace(record, colors=tuple(record.colors), centre=tuple(record.centre))


def _by_file(records: tuple[VolumeRecord, ...]) -> dict[str, list[VolumeRecord]]:
    files: dict[str, list[VolumeRecord]] = {}
    for record in records:
        files.setdefault(record.file, []).append(record)
    return files


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{path} cannot be read: {error}; {AGAIN}") from error


def together(parts: list[tuple[VolumeRecord, Tensor, Tensor]]) -> Packed:
    """The volumes of several objects as one file holds them."""
    records, held, values = zip(*parts, strict=True)
    return Packed(tuple(records), torch.cat(held), torch.cat(values), torch.tensor([len(each) for each in held], dtype=torch.int32))
