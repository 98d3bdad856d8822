"""Level sets with known shapes, and what holds for any of them; trimesh is the judge."""

import math

import pytest
import torch
import trimesh
from torch.nn import functional

from gen3d.pipeline.meshing.isosurface import isosurface

SIDE, HALF = 40, 1.5
SPACING = 2 * HALF / (SIDE - 1)


@pytest.fixture(scope="module")
def lattice():
    axis = torch.linspace(-HALF, HALF, SIDE)
    return torch.cartesian_prod(axis, axis, axis).view(SIDE, SIDE, SIDE, 3)


def surface(values, level=0.0):
    vertices, faces = isosurface(values, level, torch.full((3,), -HALF), SPACING)
    return trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False)


def test_a_sphere_has_its_area_and_volume_and_faces_outwards(lattice):
    mesh = surface(1 - lattice.norm(dim=-1))
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.euler_number == 2
    assert mesh.area == pytest.approx(4 * math.pi, rel=0.02)
    assert mesh.volume == pytest.approx(4 / 3 * math.pi, rel=0.02)
    assert ((mesh.face_normals * mesh.triangles_center).sum(-1) > 0).all()


def test_origin_spacing_and_level_place_the_surface():
    x = torch.arange(10.0)[:, None, None].expand(10, 4, 6)
    vertices, _ = isosurface(x, 6.25, torch.tensor([100.0, -3.0, 7.0]), 0.5)
    assert vertices[:, 0].sub(100 + 0.5 * 6.25).abs().max() < 1e-4
    assert vertices.amin(0)[1:].tolist() == [-3, 7]
    assert vertices.amax(0)[1:].tolist() == [-1.5, 9.5]


def test_vertices_interpolate_along_the_edges(lattice):
    mesh = surface(1 - lattice.norm(dim=-1))
    distances = torch.from_numpy(mesh.vertices).norm(dim=-1)
    assert (distances - 1).abs().max() < 0.1 * SPACING


def test_a_torus_has_a_hole(lattice):
    x, y, z = lattice.unbind(-1)
    mesh = surface(0.35 - torch.hypot(torch.hypot(x, y) - 0.9, z))
    assert mesh.is_watertight
    assert mesh.euler_number == 0
    assert mesh.volume == pytest.approx(2 * math.pi**2 * 0.9 * 0.35**2, rel=0.02)


def test_a_plane_ends_where_the_lattice_does(lattice):
    normal = torch.tensor([0.6, 0.0, 0.8])
    mesh = surface(0.1 - lattice @ normal)
    assert not mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.euler_number == 1
    assert (mesh.face_normals * mesh.area_faces[:, None]).sum(0) / mesh.area == pytest.approx(normal.numpy(), abs=1e-3)
    assert mesh.area == pytest.approx(2 * HALF * 2 * HALF / 0.8, rel=1e-3)


def test_two_spheres_stay_apart(lattice):
    centre = torch.tensor([0.7, 0.0, 0.0])
    mesh = surface(0.5 - torch.minimum((lattice - centre).norm(dim=-1), (lattice + centre).norm(dim=-1)))
    assert mesh.body_count == 2
    assert mesh.euler_number == 4


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_nothing_comes_where_nothing_crosses(value):
    vertices, faces = isosurface(torch.full((5, 6, 7), value), 0.0, torch.zeros(3), 1.0)
    assert vertices.shape == faces.shape == (0, 3)
    assert faces.dtype == torch.int64


@pytest.mark.parametrize("seed", range(3))
def test_any_field_that_is_padded_is_closed(seed):
    noise = torch.rand(9, 10, 11, generator=torch.Generator().manual_seed(seed))
    vertices, faces = isosurface(functional.pad(noise, (1,) * 6), 0.5, torch.zeros(3), 1.0)
    mesh = trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > 0
    assert len(vertices.unique(dim=0)) == len(vertices)
    assert len(faces.sort(-1).values.unique(dim=0)) == len(faces)
    assert faces.unique().tolist() == list(range(len(vertices)))


def test_samples_at_the_level_cost_no_face_its_area():
    steps = torch.randint(0, 3, (8, 8, 8), generator=torch.Generator().manual_seed(0)).float()
    vertices, faces = isosurface(functional.pad(steps, (1,) * 6), 1.0, torch.zeros(3), 1.0)
    mesh = trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False)
    assert mesh.is_watertight
    assert mesh.area_faces.min() > 1e-8


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_must_be_finite(bad):
    values = torch.zeros(4, 4, 4)
    values[1, 2, 3] = bad
    with pytest.raises(ValueError, match="not finite"):
        isosurface(values, 0.5, torch.zeros(3), 1.0)
