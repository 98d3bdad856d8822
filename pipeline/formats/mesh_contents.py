"""What the encoders of mesh files are given, and what they give back."""

import re
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from gen3d import __version__
from gen3d.renderers.mesh import Mesh

HEADER = 200  # bytes; the labels stand within them


@dataclass(frozen=True, slots=True)
class MeshContents:
    """A checked mesh on the CPU that stands in the axes of its file.

    Attributes:
        mesh: float32 and int64; uvs and texture are both there or both None.
        normals: `[n, 3]` smooth unit normals in the same axes.
        closed: no edge is open.
        axes: a key of `WORLD_TO_MESH_AXES`.
        unit: what one unit of length is, such as metre.
        stem: name of the file without its suffix.
    """

    mesh: Mesh
    normals: Float[Tensor, "n 3"]
    closed: bool
    axes: str
    unit: str
    stem: str

    def labels(self) -> list[str]:
        """What the header says of the file, one line each; see `named_axes`."""
        return [f"gen3d version {__version__}", f"gen3d axes {self.axes}", f"gen3d unit {self.unit}"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A mesh as the files that hold it.

    Attributes:
        content: of the file itself.
        beside: contents of the files that it names, by name.
        comments: sentences about what the format could not keep.
    """

    content: bytes
    beside: dict[str, bytes]
    comments: tuple[str, ...] = ()


def named_axes(data: bytes) -> str | None:
    """The axes that the header of an OBJ, PLY or STL file names as `MeshContents.labels` does."""
    named = re.search(rb"gen3d axes (\w+)", data[:HEADER])
    return named and named[1].decode("ascii")
