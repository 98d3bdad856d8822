"""run.json: the facts of a run, and how they are taken."""

import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_origin, get_type_hints

from gen3d.errors import BadInput
from gen3d.files import read_json, sha256

Status = Literal["running", "done", "failed", "interrupted"]
IN_JSON: dict[Any, type] = {Literal: str, tuple: list}
MOST_INPUT_FILES = 20_000


@dataclass(frozen=True)
class Manifest:
    """run.json.

    Attributes:
        version: of gen3d.
        verb: the job: photos.
        config_sha256: digest of config.yaml.
        seed: the only source of randomness.
        device: what was used, or auto until that is known.
        started: when the run began, ISO 8601 in UTC.
        status: running, done, failed or interrupted.
        error: the sentence that a failed run ended with.
        inputs: SHA-256 by absolute path; of a folder, over the names and contents of its files.
        stages: wall time in seconds by stage, summed over resumptions.
        peak_memory_mib: largest resident memory of the main process, and of the GPU where one was used.
        weights: name, licence and sha256 of each weight file that was used.
        frame: the world frame of the results.
        world_from_source: rows of the 4x4 transform from the frame of the input to that of the results; empty for none.
        unit: what one scene unit is, such as metre.
        mesh: how the mesh in exports was made, its report, and how well it shows the splats; empty for none.
        budgets: steps by stage that budgets in seconds were turned into.
        notes: what the user should know about the result.
    """

    version: str
    verb: str
    config_sha256: str
    seed: int
    device: str
    started: str
    status: Status = "running"
    error: str = ""
    inputs: dict[str, str] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)
    peak_memory_mib: dict[str, int] = field(default_factory=dict)
    weights: tuple[dict[str, str], ...] = ()
    frame: str = "gltf"
    unit: str = "unitless"
    world_from_source: tuple[list[float], ...] = ()
    mesh: dict[str, Any] = field(default_factory=dict)
    budgets: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_manifest(path: Path) -> Manifest:
    """The manifest in a run.json; fields of later versions are passed over.

    Raises:
        BadInput: the file is missing, or is not a manifest.
    """
    content = read_json(path)
    values: dict[str, Any] = {}
    for name, hint in get_type_hints(Manifest).items():
        if not isinstance(content, dict) or name not in content:
            continue
        kind = IN_JSON.get(get_origin(hint), get_origin(hint) or hint)
        if not isinstance(content[name], kind):
            raise BadInput(f"{path} says {name} is {content[name]!r:.80}, which no manifest of gen3d does; start the job again")
        values[name] = tuple(content[name]) if kind is list else content[name]
    try:
        return Manifest(**values)
    except TypeError as error:
        raise BadInput(f"{path} is not a manifest of gen3d ({error}); start the job again") from error


def merged(manifest: Manifest, **facts: Any) -> Manifest:
    """A manifest with new facts: mappings are merged into what is there, notes and weights appended without repetition.

    The mesh is replaced as a whole: what the one before was made with says nothing of the new one.

    Raises:
        TypeError: a name is not a field of `Manifest`.
    """
    for name, value in facts.items():
        before: Any = getattr(manifest, name, None)
        if isinstance(before, dict) and name != "mesh":
            facts[name] = {**before, **value}
        elif name in ("notes", "weights"):
            facts[name] = (*before, *(each for each in value if each not in before))
    return dataclasses.replace(manifest, **facts)


def input_digest(path: Path) -> str:
    """SHA-256 of a file, or over the names and digests of the files in a folder; hidden ones and results do not count.

    Raises:
        BadInput: the path does not exist, cannot be read, or is a folder of more than 20,000 files.
    """
    if not path.exists():
        raise BadInput(f"{path} does not exist; check the path")
    try:
        if path.is_file():
            return sha256(path)
        files = []
        for file in _files(path):
            files.append(file)
            if len(files) > MOST_INPUT_FILES:
                raise BadInput(f"{path} holds more than {MOST_INPUT_FILES:,} files; give the folder of one scene")
        digests = [(file.relative_to(path).as_posix(), sha256(file)) for file in sorted(files)]
    except OSError as error:
        raise BadInput(f"{error.filename or path} cannot be read: {error.strerror or error}; check its permissions") from error
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        # A job started inside its own input writes its results there.
        folders[:] = [
            name for name in folders if not name.startswith(".") and name != "outputs" and not Path(folder, name, "run.json").exists()
        ]
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def peak_memory() -> dict[str, int]:
    """The largest resident memory of this process so far, and of its GPU memory where torch uses one; MiB."""
    peaks = {}
    with suppress(ImportError):  # Windows has no resource module
        import resource

        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peaks["main"] = largest // (1024**2 if sys.platform == "darwin" else 1024)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        peaks["cuda"] = torch.cuda.max_memory_allocated() // 1024**2
    return peaks
