"""The surface on which a field sampled on a lattice takes one value, by marching tetrahedra (Doi and Koide 1991).

Each cell is split into the six tetrahedra of Kuhn, which share the cell's diagonal and fit those of the neighbouring cells. Unlike
marching cubes there is no ambiguous case, so the surface of a closed field is always closed and never touches itself.
"""

from itertools import permutations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

NEAREST = 1e-3  # of an edge: how close to its ends a vertex may lie, so that no face loses its area where a sample equals the level


def isosurface(
    values: Float[Tensor, "x y z"], level: float, origin: Float[Tensor, " 3"], spacing: float
) -> tuple[Float[Tensor, "n 3"], Int[Tensor, "f 3"]]:
    """Vertices and faces of the surface between samples above `level` and the others.

    Every edge of the tetrahedra that crosses the level holds one vertex, shared by all faces around it. Where the surface leaves
    the lattice it ends in a border.

    Args:
        values: finite samples, larger inside.
        level: same unit as the values.
        origin: place of the sample [0, 0, 0], scene units.
        spacing: between samples along each axis, scene units.

    Returns:
        Vertices `[n, 3]`, scene units, and faces `[f, 3]`, counter-clockwise seen from lower values; int64. Both are empty where
        nothing crosses.

    Raises:
        ValueError: a value is not finite.
    """
    if not bool(values.isfinite().all()):
        raise ValueError("the field has values that are not finite, between which nothing can be interpolated; replace them first")
    cells = _crossed(values > level).nonzero()
    shape = torch.tensor(values.shape, device=values.device)
    stride = torch.stack([shape[1] * shape[2], shape[2], shape.new_ones(())])
    corners = _corners().to(values.device)
    steps = (corners * stride).sum(-1)
    first = (cells * stride).sum(-1)
    flat = values.flatten()
    inside = (flat[first[:, None] + steps] > level).long()
    faces = []
    for path, table in zip(_tetrahedra(), _triangles().to(values.device), strict=True):
        case = sum(inside[:, corner] << place for place, corner in enumerate(path))
        start, direction = table[case].unbind(-1)
        keys = (first[:, None, None] + steps[start]) * 8 + direction
        faces.append(keys[direction[..., 0] > 0])
    edges, joined = torch.unique(torch.cat(faces), return_inverse=True)
    low, direction = edges // 8, edges % 8
    below, above = flat[low], flat[low + steps[direction]]
    along = ((level - below) / (above - below)).clamp(NEAREST, 1 - NEAREST)
    places = torch.stack(torch.unravel_index(low, values.shape), -1) + along[:, None] * corners[direction]
    return origin.to(values) + spacing * places, joined


def _crossed(inside: Bool[Tensor, "x y z"]) -> Bool[Tensor, "cx cy cz"]:
    """Cells with corners on both sides."""
    some = every = inside
    for axis, size in enumerate(inside.shape):
        some = some.narrow(axis, 0, size - 1) | some.narrow(axis, 1, size - 1)
        every = every.narrow(axis, 0, size - 1) & every.narrow(axis, 1, size - 1)
    return some & ~every


def _corners() -> Int[Tensor, "8 3"]:
    """The corners of a cell; their numbers hold x, y and z in bits 2, 1 and 0."""
    return torch.cartesian_prod(*[torch.arange(2)] * 3)


def _tetrahedra() -> list[tuple[int, int, int, int]]:
    """Corners of Kuhn's tetrahedra: the six ways from corner 0 to corner 7 along the axes."""
    return [(0, a, a | b, 7) for a, b, _ in permutations((1, 2, 4))]


def _triangles() -> Int[Tensor, "6 16 2 3 2"]:
    """For each tetrahedron and each set of its corners that lie inside, up to two triangles between crossed edges.

    An edge is named by the corner that it starts from and by its direction, the corner that it would reach from corner 0. The
    direction 0 stands for no triangle. Bit k of the set is the k-th corner on the way.
    """
    table = torch.zeros(6, 16, 2, 3, 2, dtype=torch.long)
    places = _corners().double()
    for number, path in enumerate(_tetrahedra()):
        for case in range(1, 15):
            inner = [corner for k, corner in enumerate(path) if case >> k & 1]
            outer = [corner for corner in path if corner not in inner]
            ring = [(i, o) for i in inner for o in outer]
            if len(inner) == 2:  # around the quadrilateral, neighbours share a face of the tetrahedron
                ring[2], ring[3] = ring[3], ring[2]
            outwards = places[outer].mean(0) - places[inner].mean(0)
            for slot in range(len(ring) - 2):
                chosen = [ring[0], ring[slot + 1], ring[slot + 2]]
                a, b, c = (places[list(edge)].mean(0) for edge in chosen)
                if torch.linalg.cross(b - a, c - a) @ outwards < 0:
                    chosen.reverse()
                table[number, case, slot] = torch.tensor([(i & o, i ^ o) for i, o in chosen])
    return table
