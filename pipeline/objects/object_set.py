"""A rendered set as training reads it: random access, selection, shares of processes. Needs neither embreex nor Open3D nor trimesh."""

import difflib
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from torch.utils.data import Dataset

from gen3d.errors import BadInput
from gen3d.files import sha256
from gen3d.pipeline.objects.encoding import decode_views
from gen3d.pipeline.objects.library import select
from gen3d.pipeline.objects.manifest import MANIFEST, read_manifest
from gen3d.pipeline.objects.records import ObjectRecord, SetManifest, Shard
from gen3d.pipeline.objects.views import ObjectViews, object_cameras

AGAIN = "copy the set again, or give the gen3d data render that made it once more: it renders damaged shards anew"


class ObjectSet(Dataset[ObjectViews]):
    """The objects of a rendered set, by number or by id.

    It holds no open files and no state, so that threads and processes of any start method share it; numbers count the selected
    objects in order of their ids.

    Attributes:
        folder: where the set lies.
        manifest: what it says of itself.
        records: of the selected objects.
    """

    def __init__(self, folder: str | Path, records: Sequence[ObjectRecord] | None = None, manifest: SetManifest | None = None) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(folder) if manifest is None else manifest
        self.records = self.manifest.objects if records is None else tuple(records)
        self._numbers = {record.id: number for number, record in enumerate(self.records)}

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: int | str) -> ObjectViews:
        return self.read(key)

    def __iter__(self) -> Iterator[ObjectViews]:
        return (self.read(number) for number in range(len(self)))

    def record(self, key: int | str) -> ObjectRecord:
        """What the manifest says of an object.

        Raises:
            BadInput: no selected object has this id.
            IndexError: no selected object has this number.
        """
        if isinstance(key, str):
            if key not in self._numbers:
                near = difflib.get_close_matches(key, self._numbers, n=3)
                hint = f"did you mean {' or '.join(near)}?" if near else f"{MANIFEST} names them"
                raise BadInput(f"{self.folder} has no object {key!r} among its {len(self):,}; {hint}")
            key = self._numbers[key]
        return self.records[key]

    def read(self, key: int | str, views: Sequence[int] | None = None) -> ObjectViews:
        """The pictures of an object.

        Args:
            key: its number or its id.
            views: which of its views, in this order; None reads all.

        Raises:
            BadInput: it is not there, or its bytes are damaged.
            IndexError: no selected object has this number.
        """
        record, settings, lens = self.record(key), self.manifest.settings, self.manifest.lens
        cameras = object_cameras(record.azimuths, record.elevations, settings.size, distance=lens.distance, fov=lens.fov)
        data = self._bytes(record)
        files = [data[: record.sizes[0]], data[record.sizes[0] :]]
        name = f"{self.folder / record.shard}, object {record.id!r},"
        return decode_views(files[: len(record.sizes)], cameras, name, views, near=lens.near, far=lens.far)

    def select(self, *, split: str | None = None, tier: str | None = None) -> Self:
        """The objects of one split and one tier; None takes all.

        Raises:
            BadInput: no object is left.
        """
        return type(self)(self.folder, select(self.records, tier=tier, split=split), self.manifest)

    def of_rank(self, rank: int, world_size: int) -> Self:
        """Every `world_size`-th object from number `rank` on: the shares of all ranks are disjoint and together complete."""
        if not 0 <= rank < world_size:
            raise ValueError(f"the rank is {rank} of {world_size}; it must lie between 0 and {world_size - 1}")
        return type(self)(self.folder, self.records[rank::world_size], self.manifest)

    def verify(self) -> None:
        """Compare every shard with its checksum.

        Raises:
            BadInput: one is missing or damaged.
        """
        for shard in self.manifest.shards:
            if reason := damage(self.folder, shard):
                raise BadInput(f"{self.folder / shard.file} {reason}; {AGAIN}")

    def _bytes(self, record: ObjectRecord) -> bytes:
        path = self.folder / record.shard
        try:
            with path.open("rb") as stream:
                stream.seek(record.offset)
                data = stream.read(sum(record.sizes))
        except OSError as error:
            raise BadInput(f"{path} cannot be read: {error.strerror or error}; {AGAIN}") from error
        if zlib.crc32(data) != record.crc32:
            raise BadInput(f"{path} is damaged: the object {record.id!r} does not match its checksum; {AGAIN}")
        return data


def damage(folder: Path, shard: Shard) -> str:
    """What is wrong with the file of a shard; empty when nothing is."""
    path = folder / shard.file
    try:
        if (size := path.stat().st_size) != shard.bytes:
            return f"has {size:,} bytes and {shard.bytes:,} are expected"
        return "" if sha256(path) == shard.sha256 else "is damaged: it does not match its checksum"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
