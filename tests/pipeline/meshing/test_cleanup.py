import sys

import pytest
import torch
import trimesh

from gen3d.errors import MissingDependency
from gen3d.pipeline.meshing.cleanup import decimate, largest_components
from gen3d.pipeline.meshing.report import report
from gen3d.renderers.mesh import Mesh


def ball(radius=1.0, x=0.0, subdivisions=3):
    solid = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    vertices = torch.tensor(solid.vertices).float()
    return Mesh(vertices + torch.tensor([x, 0.0, 0.0]), torch.tensor(solid.faces), colors=(vertices / radius + 1) / 2)


def together(*meshes):
    faces, start = [], 0
    for mesh in meshes:
        faces.append(mesh.faces + start)
        start += len(mesh.vertices)
    return Mesh(torch.cat([m.vertices for m in meshes]), torch.cat(faces), colors=torch.cat([m.colors for m in meshes]))


@pytest.mark.parametrize(("share", "left"), [(0.0, 3), (0.1, 2), (0.5, 1), (1.0, 1)])
def test_parts_stay_by_their_area(share, left):
    parts = together(ball(0.5, 5.0), ball(), ball(0.1, 10.0))  # areas 1/4, 1 and 1/100
    kept = largest_components(parts, share)
    assert report(kept).components == left
    assert report(kept).watertight
    assert len(kept.colors) == len(kept.vertices) == left * len(ball().vertices)


def test_nothing_stays_nothing():
    empty = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))
    assert len(largest_components(empty, 0.1).faces) == 0


def test_fewer_faces_keep_shape_closure_and_colours():
    pytest.importorskip("open3d", reason="open3d is not installed")
    full = ball(subdivisions=5)
    small = decimate(full, 1_000)
    facts = report(small)
    assert 900 <= facts.faces <= 1_000
    assert (facts.watertight, facts.euler) == (True, 2)
    assert facts.volume == pytest.approx(4 / 3 * torch.pi, rel=0.02)
    assert (small.colors - (small.vertices + 1) / 2).abs().max() < 0.1
    assert small.vertices.dtype == torch.float32
    assert decimate(small, 5_000) is small


def test_too_few_faces_and_a_missing_package_are_said(monkeypatch):
    with pytest.raises(ValueError, match="faces is 3; the smallest closed mesh has 4"):
        decimate(ball(), 3)
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(MissingDependency, match="simplifying meshes needs the package open3d"):
        decimate(ball(), 100)
