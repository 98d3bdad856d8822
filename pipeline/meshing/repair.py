"""Small faults of a triangle mesh put right: what other programs stumble over, and holes."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from gen3d.pipeline.meshing.cleanup import with_faces
from gen3d.renderers.mesh import Mesh

SHORTEST = 1e-5  # of the size: shorter edges are collapsed, because faces at them have no area to speak of


def repaired(mesh: Mesh) -> Mesh:
    """The mesh with one vertex at each place, without faces that have no area or lie on others, and with at most two faces at an edge.

    Edges shorter than 1e-5 of the size are collapsed. Of faces with the same corners one stays; those that lie back to back
    cancel, because they enclose nothing. All faces at an edge of more than two go, which leaves a hole for `fill_holes`.

    Args:
        mesh: without a texture.
    """
    if not len(mesh.faces):
        return mesh
    mesh = joined(mesh)
    places, faces = mesh.vertices.double().numpy(), mesh.faces.numpy()
    edges = _edges(faces)
    size = np.linalg.norm(np.ptp(places, axis=0))
    short = edges[np.linalg.norm(places[edges[:, 0]] - places[edges[:, 1]], axis=1) < SHORTEST * size]
    graph = coo_matrix((np.ones(len(short), dtype=np.int8), (short[:, 0], short[:, 1])), shape=(len(places), len(places)))
    _, cluster = connected_components(graph, directed=False)
    _, keeper = np.unique(cluster, return_index=True)
    faces = _single(keeper[cluster[faces]])
    faces = faces[(_faces_around(_edges(faces)).reshape(-1, 3) <= 2).all(1)]
    return with_faces(mesh, torch.from_numpy(faces))


def joined(mesh: Mesh) -> Mesh:
    """The mesh with one vertex at each place, whose colour is that of the first one there, and no vertex without a face.

    Args:
        mesh: without a texture.
    """
    _, first, index = np.unique(mesh.vertices.double().numpy(), axis=0, return_index=True, return_inverse=True)
    original = torch.from_numpy(first)
    single = replace(mesh, vertices=mesh.vertices[original], colors=None if mesh.colors is None else mesh.colors[original])
    return with_faces(single, torch.from_numpy(index.reshape(-1))[mesh.faces])


def fill_holes(mesh: Mesh, *, longest: float) -> Mesh:
    """Close every boundary up to some length with a fan of faces around a new vertex in its middle, wound like its surroundings.

    A boundary that touches itself counts as several. The fan makes no edge that was there before, so none gets a third face. The
    new vertex lies at, and has the colour of, the mean of the boundary. A boundary of three edges gets one face, but no face gets
    its own back. Wide holes are better closed by `watertight`.

    Args:
        mesh: without a texture; vertices are welded and at most two faces meet at an edge, as `repaired` leaves them.
        longest: length of a boundary, all around, in scene units; a round hole of diameter d has 3.14 d.
    """
    if not len(mesh.faces):
        return mesh
    vertices = mesh.vertices.double().numpy()
    values = vertices if mesh.colors is None else np.concatenate([vertices, mesh.colors.double().numpy()], 1)
    caps, middles = [], []
    for loop in _loops(_open_edges(mesh.faces.numpy())):
        around = np.roll(loop, -1)
        lengths = np.linalg.norm(vertices[around] - vertices[loop], axis=1)
        if lengths.sum() > longest:
            continue
        if len(loop) == 3:
            caps.append(loop[None, ::-1])
            continue
        middles.append(lengths @ (values[loop] + values[around]) / (2 * lengths.sum()))
        caps.append(np.stack([around, loop, np.full(len(loop), len(vertices) + len(middles) - 1)], 1))
    if not caps:
        return mesh
    rows = torch.from_numpy(np.array(middles).reshape(-1, values.shape[1])).to(mesh.vertices)
    return Mesh(
        torch.cat([mesh.vertices, rows[:, :3]]),
        torch.from_numpy(np.concatenate([mesh.faces.numpy(), *caps])),
        colors=None if mesh.colors is None else torch.cat([mesh.colors, rows[:, 3:].to(mesh.colors)]),
    )


def _open_edges(faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "e 2"]:
    """Edges of one face, in its direction; faces all alone have none."""
    edges = _edges(faces)
    single = (_faces_around(edges) == 1).reshape(-1, 3)
    return edges[(single & ~single.all(1, keepdims=True)).ravel()]


def _edges(faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "e 2"]:
    """Three edges for each face, in its direction, face by face."""
    return faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)


def _faces_around(edges: Int[np.ndarray, "e 2"]) -> Int[np.ndarray, " e"]:
    """How often each edge is there, in either direction."""
    low, high = edges.min(1), edges.max(1)
    _, edge, count = np.unique(low * (high.max(initial=0) + 1) + high, return_inverse=True, return_counts=True)
    return count[edge]


def _single(faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "g 3"]:
    """Faces with three different corners, one for each set of corners; those back to back cancel."""
    faces = faces[(faces != np.roll(faces, 1, axis=1)).all(1)]
    ordered = np.sort(faces, axis=1)
    lowest = faces.argmin(1)
    after = faces[np.arange(len(faces)), (lowest + 1) % 3]
    turn = np.where(after == ordered[:, 1], 1, -1)  # the two ways around the same corners
    _, first, group = np.unique(ordered, axis=0, return_index=True, return_inverse=True)
    turns = np.bincount(group.reshape(-1), weights=turn, minlength=len(first))
    chosen = np.where((turns * turn[first] < 0)[:, None], faces[first][:, ::-1], faces[first])
    return chosen[turns != 0]


def _loops(edges: Int[np.ndarray, "e 2"]) -> list[Int[np.ndarray, " n"]]:
    """Closed ways along directed edges that meet no vertex twice; edges that lead nowhere are left out."""
    onwards = defaultdict(list)
    for start, end in edges.tolist():
        onwards[start].append(end)
    loops = []
    for begin in list(onwards):
        while onwards[begin]:
            path, place = [begin], {begin: 0}
            while onwards[path[-1]]:
                vertex = onwards[path[-1]].pop()
                if vertex in place:  # the way has come back to itself: cut the loop off
                    kept = place[vertex] + 1
                    loops.append(np.array(path[kept - 1 :]))
                    for passed in path[kept:]:
                        del place[passed]
                    del path[kept:]
                else:
                    place[vertex] = len(path)
                    path.append(vertex)
    return loops
