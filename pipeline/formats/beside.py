"""The files beside a mesh: buffers, materials and pictures that it names."""

from pathlib import Path

from gen3d.files import read_bytes


class Beside:
    """Hands readers the files that a mesh names, out of the mesh's own folder and no other place.

    Args:
        folder: of the mesh.
        limit: bytes of all files together, as one may be named many times.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder.resolve()
        self._left = limit

    def get(self, name: str) -> bytes:
        """The content of a file; the folder part of a name is dropped where it leads nowhere, as exporters leave their own there.

        Raises:
            FileNotFoundError: it is not there, or outside the folder.
            BadInput: it is empty, or the files have more bytes together than the limit.
        """
        plain = name.strip().replace("\\", "/")
        for candidate in (plain, plain.rsplit("/", 1)[-1]):
            path = (self._folder / candidate).resolve()
            if path.is_relative_to(self._folder) and path.is_file():
                content = read_bytes(path, limit=self._left)
                self._left -= len(content)
                return content
        raise FileNotFoundError(f"{name} is not in the folder of the mesh")

    __getitem__ = get
