"""manifest.json of a rendered set: written in one step, and checked when it is read."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from gen3d.errors import BadInput, Gen3DError
from gen3d.files import read_json, write_text
from gen3d.pipeline.configuration import override
from gen3d.pipeline.objects.records import Failure, Lens, ObjectRecord, SetManifest, Shard
from gen3d.pipeline.objects.settings import RenderSettings

MANIFEST = "manifest.json"
FORMAT, VERSION = "gen3d-objects", 1
Kind = TypeVar("Kind")


def is_set(folder: Path) -> bool:
    """Whether a folder holds a rendered set, as far as its manifest says."""
    try:
        content = read_json(folder / MANIFEST)
    except BadInput:
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def write_manifest(folder: Path, manifest: SetManifest) -> None:
    """Write manifest.json in one step, a line for each object."""
    head = {
        "format": FORMAT,
        "version": VERSION,
        "settings": asdict(manifest.settings),
        "lens": asdict(manifest.lens),
        "planned": manifest.planned,
    }
    lists = {name: _lines(getattr(manifest, name)) for name in ("shards", "failures", "objects")}
    parts = [f'"{name}": {_compact(value)}' for name, value in head.items()] + [f'"{name}": [{text}]' for name, text in lists.items()]
    write_text(folder / MANIFEST, "{" + ",\n".join(parts) + "}\n")


def read_manifest(folder: str | Path) -> SetManifest:
    """The manifest of a set, checked as far as that goes without opening the shards.

    Raises:
        BadInput: the folder holds no set, one of another version, or a manifest that contradicts itself.
    """
    source = Path(folder) / MANIFEST
    if not source.is_file():
        raise BadInput(f"{folder} holds no rendered set (it has no {MANIFEST}); make one with gen3d data render LIBRARY --out {folder}")
    content = read_json(source)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise BadInput(f"{source} is not the manifest of a rendered set; make one with gen3d data render LIBRARY --out SET")
    if content.get("version") != VERSION:
        raise BadInput(f"{source} has version {content.get('version')!r} and {VERSION} is read; render the set again")
    try:
        manifest = SetManifest(
            settings=override(RenderSettings(), _mapping(content.get("settings")), str(source)),
            lens=_checked(Lens, content.get("lens")),
            planned=_value(int, content.get("planned")),
            shards=_all(Shard, content.get("shards")),
            failures=_all(Failure, content.get("failures")),
            objects=_all(ObjectRecord, content.get("objects")),
        )
        _check_places(manifest)
    except (ValueError, Gen3DError) as error:
        raise BadInput(f"{source} is damaged ({error}); render the set again") from error
    return manifest


def _check_places(manifest: SetManifest) -> None:
    """Make sure that every object lies within a shard, every shard within the folder, and that the cameras see something."""
    lens = manifest.lens
    if not (0 < lens.fov < 180 and 0 < lens.near < lens.far and lens.distance > 0):
        raise ValueError(f"no camera has the lens {lens}")
    shards = {shard.file: shard for shard in manifest.shards}
    for name in shards:
        if Path(name).name != name or name.startswith("."):
            raise ValueError(f"the shard {name!r} does not lie in the folder of the set")
    if len({record.id for record in manifest.objects}) != len(manifest.objects):
        raise ValueError("an id appears twice")
    files = 2 if manifest.settings.geometry else 1
    for each in manifest.objects:
        shard = shards.get(each.shard)
        if shard is None or each.offset < 0 or min(each.sizes, default=0) <= 0 or each.offset + sum(each.sizes) > shard.bytes:
            raise ValueError(f"the object {each.id!r} does not lie within a shard")
        if len(each.sizes) != files or {len(each.azimuths), len(each.elevations)} != {manifest.settings.views}:
            raise ValueError(f"the object {each.id!r} has not as many views as the set")


def _lines(records: Iterable[Any]) -> str:
    return ",".join(f"\n{_compact(asdict(record))}" for record in records)


def _compact(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _mapping(raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise ValueError(f"{str(raw)[:40]!r} is not a record")
    return raw


def _all(kind: type[Kind], raw: Any) -> tuple[Kind, ...]:
    if not isinstance(raw, list):
        raise ValueError(f"{kind.__name__} is not a list of records")
    return tuple(_checked(kind, each) for each in raw)


def _checked(kind: type[Kind], raw: Any) -> Kind:
    """A record whose fields have the types of its dataclass; fields of later versions are passed over."""
    content = _mapping(raw)
    values = {}
    for name, hint in get_type_hints(kind).items():
        value = content.get(name)
        if get_origin(hint) is not tuple:
            values[name] = _value(hint, value)
        elif isinstance(value, list):
            values[name] = tuple(_value(get_args(hint)[0], each) for each in value)
        else:
            raise ValueError(f"{name} is {str(value)[:40]!r}")
    return kind(**values)


def _value(kind: Any, raw: Any) -> Any:
    if kind is float and type(raw) is int:
        raw = float(raw)
    if type(raw) is not kind or (kind is float and not math.isfinite(raw)):
        raise ValueError(f"{str(raw)[:40]!r} is not of type {kind.__name__}")
    return raw
