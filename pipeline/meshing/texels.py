"""Which texel of an atlas shows which point of a mesh."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gen3d.renderers.mesh import Mesh

PAIRS_AT_ONCE = 4_000_000  # (face, texel) pairs that are looked at together, about half a gigabyte
EDGE = 1e-6  # a texel centre on an edge belongs to a face on either side


@dataclass(frozen=True, slots=True)
class Texels:
    """The texels whose centres lie in faces, each once.

    Attributes:
        size: rows and columns of the texture.
        place: row-major index into the texture `[t]`, first row on top, ascending.
        face: `[t]`.
        barycentric: weights of the face's corners `[t, 3]`.
    """

    size: int
    place: Int[Tensor, " t"]
    face: Int[Tensor, " t"]
    barycentric: Float[Tensor, "t 3"]

    def between(self, corners: Float[Tensor, "f 3 c"]) -> Float[Tensor, "t c"]:
        """What the corners of faces hold, interpolated."""
        return (corners[self.face] * self.barycentric[..., None]).sum(1)


def find_texels(mesh: Mesh, size: int) -> Texels:
    """Rasterise the faces of an atlas; where faces overlap the first one wins.

    Args:
        mesh: with uvs; what lies outside [0, 1] is left out.
        size: rows and columns of the texture.

    Raises:
        ValueError: the mesh has no uvs.
    """
    if mesh.uvs is None:
        raise ValueError("the mesh has no uvs; unwrap it first")
    # In these coordinates the centre of the texel in row r and column c is (c, r).
    flipped = torch.stack([mesh.uvs[:, 0], 1 - mesh.uvs[:, 1]], -1).double()
    corners = (flipped * size - 0.5)[mesh.faces]
    first = corners.amin(1).sub(EDGE).ceil().clamp(0, size).long()
    extent = (corners.amax(1).add(EDGE).floor().clamp(-1, size - 1).long() + 1 - first).clamp_min(0)
    parts = [_inside(corners, faces, first, extent, size) for faces in _batches(extent.prod(1))]
    place, face, barycentric = (torch.cat(values) for values in zip(*parts, strict=True))
    order = place.argsort(stable=True)  # faces ascend within a place
    place = place[order]
    kept = torch.ones(len(place), dtype=torch.bool)
    kept[1:] = place[1:] != place[:-1]
    return Texels(size, place[kept], face[order][kept], barycentric[order][kept].to(mesh.vertices))


def _batches(counts: Int[Tensor, " f"]) -> Iterator[slice]:
    """Runs of faces with about `PAIRS_AT_ONCE` texels together."""
    group = (counts.cumsum(0) - counts) // PAIRS_AT_ONCE
    ends = [*((group.diff() > 0).nonzero()[:, 0] + 1).tolist(), len(counts)]
    return (slice(begin, end) for begin, end in zip([0, *ends[:-1]], ends, strict=True))


def _inside(
    corners: Float[Tensor, "f 3 2"], faces: slice, first: Int[Tensor, "f 2"], extent: Int[Tensor, "f 2"], size: int
) -> tuple[Tensor, Tensor, Tensor]:
    counts = extent[faces].prod(1)
    face = torch.repeat_interleave(counts) + faces.start
    step = torch.arange(len(face)) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    columns = extent[face, 0]
    x, y = first[face, 0] + step % columns, first[face, 1] + step // columns
    a, b, c = corners[face].unbind(1)
    point = torch.stack([x, y], -1).to(corners)
    area = _cross(b - a, c - a)
    weights = torch.stack([_cross(b - point, c - point), _cross(c - point, a - point), _cross(a - point, b - point)], -1) / area[:, None]
    kept = (weights >= -EDGE).all(-1)  # never for a face without area, whose weights are not finite
    return (y * size + x)[kept], face[kept], weights[kept]


def _cross(first: Float[Tensor, "n 2"], second: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
