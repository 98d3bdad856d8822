"""Normals, welding and open edges of meshes."""

import math

import pytest
import torch

from gen3d.renderers.mesh import Mesh, open_edges, vertex_normals, weld

CUBE_FACES = [
    *([0, 2, 1], [1, 2, 3], [4, 5, 6], [5, 7, 6], [0, 1, 4], [1, 5, 4]),
    *([2, 6, 3], [3, 6, 7], [0, 4, 2], [2, 4, 6], [1, 3, 5], [3, 7, 5]),
]


def cube():
    """A cube around the origin; corner i has x, y, z from bits 0, 1, 2."""
    return Mesh(torch.tensor([[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(8)]).float() - 0.5, torch.tensor(CUBE_FACES))


def apart(mesh):
    """The same surface with every face on its own, as if an atlas had cut it everywhere."""
    return Mesh(mesh.vertices[mesh.faces].reshape(-1, 3), torch.arange(mesh.faces.numel()).reshape(-1, 3))


def test_places_are_numbered_by_their_coordinates():
    points = torch.tensor([[0.0, 1, 2], [0, 1, 3], [-0.0, 1, 2], [5, 1, 2], [0, 1, 3], [0, 2, 2]])
    places = weld(points)
    assert torch.equal(places[:, None] == places, (points[:, None] == points).all(-1))
    assert set(places.tolist()) == {0, 1, 2, 3}
    assert weld(points[:0]).shape == (0,)


def test_normals_of_a_sphere_point_outwards_across_seams():
    trimesh = pytest.importorskip("trimesh")
    ball = trimesh.creation.icosphere(subdivisions=3)
    mesh = apart(Mesh(torch.from_numpy(ball.vertices).float(), torch.from_numpy(ball.faces).long()))
    normals = vertex_normals(mesh)
    assert normals.dtype == torch.float32
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(len(normals)))
    assert (normals * mesh.vertices).sum(-1).min() > math.cos(math.radians(1))


def test_large_faces_weigh_more():
    """Two faces at right angles that share an edge, one three times as large as the other."""
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 3, 0], [0, 0, 1]])
    normals = vertex_normals(Mesh(vertices, torch.tensor([[0, 1, 2], [0, 3, 1]])))
    torch.testing.assert_close(normals[0], torch.tensor([0.0, 1, 3]) / math.sqrt(10))
    torch.testing.assert_close(normals[2], torch.tensor([0.0, 0, 1]))
    torch.testing.assert_close(normals[3], torch.tensor([0.0, 1, 0]))


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_every_vertex_has_a_unit_normal(scale):
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [2, 0, 0], [9, 9, 9]])
    faces = torch.tensor([[0, 1, 2], [2, 1, 0], [0, 1, 3], [1, 1, 1]])  # there and back, a line, a point; nobody names the last
    for mesh in (Mesh(scale * corners, faces), Mesh(scale * corners, faces[:0])):
        assert torch.equal(vertex_normals(mesh), torch.tensor([0.0, 1, 0]).expand(5, 3))


def test_open_edges():
    closed = cube()
    assert open_edges(closed) == (0, 18)
    assert open_edges(apart(closed)) == (0, 18)
    assert open_edges(Mesh(closed.vertices, closed.faces[1:])) == (3, 18)
    assert open_edges(Mesh(closed.vertices, closed.faces[:1])) == (3, 3)
    inverted = torch.cat([closed.faces[:1, [0, 2, 1]], closed.faces[1:]])
    assert open_edges(Mesh(closed.vertices, inverted)) == (3, 18)
    assert open_edges(Mesh(closed.vertices, torch.cat([closed.faces, torch.tensor([[0, 0, 1], [3, 3, 3]])]))) == (0, 18)
    assert open_edges(Mesh(closed.vertices, closed.faces[:0])) == (0, 0)
    beside = Mesh(torch.cat([closed.vertices, closed.vertices + torch.tensor([1.0, 1, 0])]), torch.cat([closed.faces, closed.faces + 8]))
    assert open_edges(beside) == (0, 35), "two cubes that touch along an edge are closed"
