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


def test_many_charts_keep_their_shape_in_a_small_atlas():
    """Triangles that share no edge: each is a chart, and keeps its shape and its texels."""
    pytest.importorskip("xatlas", reason="xatlas is not installed")
    count = 300
    corners = torch.rand(count, 3, 3, generator=torch.Generator().manual_seed(0)) + 3 * torch.arange(count)[:, None, None]
    flat = unwrap(Mesh(corners.reshape(-1, 3), torch.arange(3 * count).reshape(-1, 3)), size=256)
    assert flat.uvs.min() >= 0
    assert flat.uvs.max() <= 1
    texels = find_texels(flat, 256)
    assert len(texels.face.unique()) > 0.98 * count  # some triangles are needles
    sides = (flat.vertices[flat.faces] - flat.vertices[flat.faces].roll(1, 1)).norm(dim=-1)
    lengths = (flat.uvs[flat.faces] - flat.uvs[flat.faces].roll(1, 1)).norm(dim=-1)
    ratio = lengths / sides
    assert (ratio.amax(1) / ratio.amin(1)).median() < 1.1  # not stretched, but for corners at whole texels


def test_a_missing_package_is_said(ring, monkeypatch):
    monkeypatch.setitem(sys.modules, "xatlas", None)
    with pytest.raises(MissingDependency, match="unwrapping meshes needs the package xatlas"):
        unwrap(ring, size=64)
