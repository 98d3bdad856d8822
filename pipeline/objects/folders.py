"""Objects of any folder: through its manifest where it has one, else from the names of the mesh files in it."""

import hashlib
import re
from collections import Counter
from pathlib import Path

from gen3d.errors import BadInput
from gen3d.pipeline.formats.meshes import SUFFIXES
from gen3d.pipeline.objects.library import ObjectEntry, read_library

UNKNOWN = "unknown"  # the tier and the licence of objects that no manifest describes
TEST_SHARE = 10  # one object in so many is a test object


def find_objects(folder: str | Path) -> tuple[ObjectEntry, ...]:
    """The objects of a folder in order of their ids; mesh files are not opened.

    Without a manifest.json every mesh file in the folder and below it is an object. Its id is its path without the suffix, its
    caption the words of its name, its category the name of the folder that it lies in, and a hash of its id decides its split.

    Raises:
        BadInput: the folder or its manifest is broken, or there are no objects.
    """
    root = Path(folder)
    if not root.is_dir():
        raise BadInput(f"{root} {'is not a folder' if root.exists() else 'does not exist'}; give a folder of meshes")
    if (root / "manifest.json").is_file():
        entries = read_library(root)
        if not entries:
            raise BadInput(f"{root / 'manifest.json'} lists no objects; add some, or remove it to take the files as they are")
        return entries
    files = [path.relative_to(root) for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
    files = [path for path in files if not any(part.startswith(".") for part in path.parts)]
    if not files:
        raise BadInput(f"{root} holds no meshes ({', '.join(SUFFIXES)}); give a folder with at least one")
    stems = Counter(path.with_suffix("").as_posix() for path in files)
    names = {path: path.with_suffix("").as_posix() for path in files}
    ids = {path: name if stems[name] == 1 else path.as_posix() for path, name in names.items()}
    return tuple(_entry(root, path, ids[path]) for path in sorted(files, key=lambda path: ids[path]))


def split_of(name: str) -> str:
    """Train or test, by a hash of the id: an object stays on its side whatever is added to the folder."""
    return "test" if int(hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:8], 16) % TEST_SHARE == 0 else "train"


def _entry(root: Path, file: Path, name: str) -> ObjectEntry:
    return ObjectEntry(
        id=name,
        path=root / file,
        caption=_words(file.stem),
        colors=(),
        category=_words(file.parent.name),
        tier=UNKNOWN,
        split=split_of(name),
        licence=UNKNOWN,
        attribution="",
    )


def _words(name: str) -> str:
    """A file name as words: redBarrel_02 is red barrel."""
    words = re.split(r"[\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    return " ".join(word for word in words if word and not word.isdigit()) or name
