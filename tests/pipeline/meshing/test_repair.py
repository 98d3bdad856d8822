import math

import pytest
import torch
import trimesh

from gen3d.pipeline.meshing.repair import fill_holes, joined, repaired
from gen3d.pipeline.meshing.report import report, welded
from gen3d.renderers.mesh import Mesh


def mesh_of(solid):
    vertices = torch.tensor(solid.vertices).float()
    return Mesh(vertices, torch.tensor(solid.faces), colors=(vertices + 2) / 4)


def together(*meshes):
    starts = torch.tensor([0, *(len(mesh.vertices) for mesh in meshes[:-1])]).cumsum(0)
    faces = torch.cat([mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)])
    return Mesh(torch.cat([m.vertices for m in meshes]), faces, colors=torch.cat([m.colors for m in meshes]))


def cut(mesh, keep):
    """Without the faces whose middle `keep` does not want."""
    middles = mesh.vertices[mesh.faces].mean(1)
    return joined(Mesh(mesh.vertices, mesh.faces[keep(middles)], colors=mesh.colors))


def ball():
    return mesh_of(trimesh.creation.icosphere(3))


def same(mesh, other):
    facts, expected = report(mesh), report(other)
    assert (facts.faces, facts.vertices, facts.euler, facts.watertight) == (expected.faces, expected.vertices, expected.euler, True)
    assert facts.volume == pytest.approx(expected.volume)


def test_a_good_mesh_stays_as_it_is():
    same(repaired(ball()), ball())


def test_seams_short_edges_doubled_faces_and_loose_vertices_go():
    good = ball()
    apart = Mesh(good.vertices[good.faces].flatten(0, 1), torch.arange(3 * len(good.faces)).view(-1, 3))
    near = apart.vertices[:1] + 1e-7 * (apart.vertices[1:2] - apart.vertices[:1])  # splits the first face, and opens its edge
    vertices, new = torch.cat([apart.vertices, near, torch.zeros(1, 3)]), len(apart.vertices)
    extra = torch.tensor([[0, new, 2], [new, 1, 2], [0, 1, new], [3, 4, 5], [3, 4, 5], [6, 6, 7]])
    mended = repaired(Mesh(vertices, torch.cat([apart.faces[1:], extra]), colors=(vertices + 2) / 4))
    same(mended, good)
    assert report(mended).degenerate == 0
    assert welded(mended).is_winding_consistent
    assert (mended.colors - (mended.vertices + 2) / 4).abs().max() < 1e-6


def test_faces_back_to_back_cancel():
    good = ball()
    flap = torch.tensor([[0, 1, 50], [1, 0, 50]])
    same(repaired(Mesh(good.vertices, torch.cat([good.faces, flap]))), good)


def test_solids_that_share_an_edge_come_apart():
    left, right = trimesh.creation.box(), trimesh.creation.box()
    right.apply_translation((1, 1, 0))
    both = joined(together(mesh_of(left), mesh_of(right)))
    assert not report(both).watertight
    opened = repaired(both)
    assert len(opened.faces) == 24 - 4
    closed = fill_holes(opened, longest=10.0)
    assert report(closed).watertight
    assert welded(closed).is_winding_consistent
    assert report(closed).volume == pytest.approx(2, rel=0.2)


@pytest.mark.parametrize(("longest", "open_loops"), [(0.0, 2), (2.5, 1), (10.0, 0)])
def test_holes_are_filled_by_their_length(longest, open_loops):
    holed = cut(ball(), lambda middles: (middles[:, 2] < 0.75) & (middles[:, 2] > -0.97))  # circles of radius 0.66 and 0.24
    filled = fill_holes(holed, longest=longest)
    assert welded(filled).is_winding_consistent
    assert len(welded(filled).outline().entities) == open_loops
    if not open_loops:
        assert report(filled).watertight
        assert report(filled).volume == pytest.approx(report(ball()).volume * 0.94, rel=0.05)
        middle = filled.vertices[len(holed.vertices) :]
        assert (filled.colors[len(holed.vertices) :] - (middle + 2) / 4).abs().max() < 1e-5


def test_an_open_cylinder_gets_both_ends():
    tube = mesh_of(trimesh.creation.cylinder(radius=1, height=2, sections=64))
    opened = cut(tube, lambda middles: middles[:, 2].abs() < 0.99)
    closed = fill_holes(opened, longest=7.0)
    assert report(closed).watertight
    assert report(closed).volume == pytest.approx(2 * math.pi, rel=0.01)


def test_a_single_missing_face_is_put_back_and_holes_that_touch_are_two():
    good = ball()
    same(fill_holes(Mesh(good.vertices, good.faces[1:], colors=good.colors), longest=1.0), good)
    around = (good.faces == 0).any(1).nonzero()[:, 0]
    touching = Mesh(good.vertices, good.faces[[i for i in range(len(good.faces)) if i not in around[[0, 2]].tolist()]], colors=good.colors)
    closed = fill_holes(touching, longest=10.0)
    assert report(closed).watertight
    assert report(closed).euler == 2


def test_a_lonely_face_is_not_closed_by_its_back():
    alone = Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]))
    assert fill_holes(alone, longest=10.0) is alone


def test_nothing_stays_nothing():
    empty = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))
    assert len(repaired(empty).faces) == len(fill_holes(empty, longest=1.0).faces) == 0
