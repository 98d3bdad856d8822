import sys

import pytest
import torch
import trimesh

from gen3d.errors import MissingDependency
from gen3d.pipeline.meshing.report import report
from gen3d.pipeline.meshing.texels import find_texels
from gen3d.pipeline.meshing.unwrap import unwrap
from gen3d.renderers.mesh import Mesh


@pytest.fixture(scope="module")
def ring():
    solid = trimesh.creation.torus(2.0, 0.7)
    return Mesh(torch.tensor(solid.vertices).float(), torch.tensor(solid.faces), colors=torch.rand(len(solid.vertices), 3))


def test_the_surface_stays_and_every_face_has_its_own_texels(ring):
    pytest.importorskip("xatlas", reason="xatlas is not installed")
    flat = unwrap(ring, size=512)
    assert report(flat).watertight
    assert len(flat.faces) == len(ring.faces)
    assert flat.uvs.min() >= 0
    assert flat.uvs.max() <= 1
    assert torch.equal(flat.vertices[flat.faces], ring.vertices[ring.faces])
    assert torch.equal(flat.colors[flat.faces], ring.colors[ring.faces])
    texels = find_texels(flat, 512)
    assert len(texels.face.unique()) == len(ring.faces)
    assert len(texels.place) > 0.3 * 512**2  # the atlas is used
    # Charts do not overlap: their areas add up to the texels that are covered.
    corners = flat.uvs[flat.faces]
    (a, b) = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = 0.5 * (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).abs().sum() * 512**2
    assert len(texels.place) == pytest.approx(float(area), rel=0.02)


def test_a_missing_package_is_said(ring, monkeypatch):
    monkeypatch.setitem(sys.modules, "xatlas", None)
    with pytest.raises(MissingDependency, match="unwrapping meshes needs the package xatlas"):
        unwrap(ring, size=64)
