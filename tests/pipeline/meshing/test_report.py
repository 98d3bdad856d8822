from dataclasses import replace

import pytest
import torch
import trimesh

from gen3d.pipeline.meshing.report import report
from gen3d.renderers.mesh import Mesh


def mesh_of(solid):
    return Mesh(torch.tensor(solid.vertices).float(), torch.tensor(solid.faces))


def cut_apart(mesh):
    """Every face with vertices of its own, as an atlas of single triangles has."""
    return Mesh(mesh.vertices[mesh.faces].reshape(-1, 3), torch.arange(3 * len(mesh.faces)).view(-1, 3))


def test_a_box_is_closed_and_seams_do_not_open_it():
    box = mesh_of(trimesh.creation.box((1, 2, 3)))
    for mesh in (box, cut_apart(box)):
        facts = report(mesh)
        assert (facts.faces, facts.components, facts.watertight, facts.euler, facts.degenerate) == (12, 1, True, 2, 0)
        assert facts.area == pytest.approx(22, rel=1e-5)
        assert facts.volume == pytest.approx(6, rel=1e-5)
    assert (report(box).vertices, report(cut_apart(box)).vertices) == (8, 36)


def test_a_hole_a_handle_and_a_second_part_show():
    box, ring = mesh_of(trimesh.creation.box()), mesh_of(trimesh.creation.torus(2.0, 0.5))
    opened = replace(box, faces=box.faces[1:])
    assert not report(opened).watertight
    assert report(opened).volume is None
    assert (report(ring).euler, report(ring).watertight) == (0, True)
    both = Mesh(torch.cat([box.vertices, ring.vertices]), torch.cat([box.faces, ring.faces + len(box.vertices)]))
    assert (report(both).components, report(both).euler) == (2, 2)


def test_faces_without_area_and_loose_vertices():
    box = mesh_of(trimesh.creation.box())
    vertices = torch.cat([box.vertices, torch.tensor([[9.0, 9.0, 9.0]])])
    facts = report(Mesh(vertices, torch.cat([box.faces, torch.tensor([[0, 0, 1]])])))
    assert (facts.degenerate, facts.components) == (1, 1)


def test_nothing_is_nothing():
    facts = report(Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64)))
    assert (facts.faces, facts.components, facts.watertight, facts.area, facts.volume) == (0, 0, False, 0.0, None)
