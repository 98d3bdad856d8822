"""Broken surfaces of known shape; trimesh is the judge."""

import importlib.util
import math
import sys
from dataclasses import replace

import pytest
import torch
import trimesh

from gen3d.errors import BadInput, MissingDependency
from gen3d.pipeline.meshing.cleanup import decimate
from gen3d.pipeline.meshing.report import report, welded
from gen3d.pipeline.meshing.unwrap import unwrap
from gen3d.pipeline.meshing.watertight import watertight
from gen3d.pipeline.meshing.winding import surface_samples, winding_numbers
from gen3d.renderers.mesh import Mesh

needs_open3d = pytest.mark.skipif(importlib.util.find_spec("open3d") is None, reason="open3d is not installed")
TURN = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.3, 0.5], [0.3, 0, -0.7], [-0.5, 0.7, 0]]))  # no face lies along the lattice
BALL = 4 / 3 * math.pi


def mesh_of(*solids):
    solid = trimesh.util.concatenate(solids)
    vertices = torch.tensor(solid.vertices).float() @ TURN
    return Mesh(vertices, torch.tensor(solid.faces), colors=(vertices / 3 + 0.5).clamp(0, 1))


def ball(radius=1.0, x=0.0):
    solid = trimesh.creation.icosphere(4, radius=radius)
    solid.apply_translation((x, 0, 0))
    return solid


def moved(solid, *offset):
    solid.apply_translation(offset)
    return solid


def without(solid, drop):
    """Faces whose middle `drop` wants are gone."""
    return trimesh.Trimesh(solid.vertices, solid.faces[~drop(solid.triangles_center)], process=False)


def flipped(solid):
    return trimesh.Trimesh(solid.vertices, solid.faces[:, ::-1], process=False)


def check(mesh):
    solid = welded(mesh)
    assert solid.is_watertight
    assert solid.is_winding_consistent
    assert solid.volume > 0
    assert report(mesh).degenerate == 0
    return solid


@pytest.mark.parametrize("parts", [[ball(), ball(0.3, x=2.0)], [flipped(ball())]])
def test_what_is_closed_keeps_its_faces_and_looks_outwards(parts):
    mesh = mesh_of(*parts)
    closed = watertight(mesh, resolution=32)
    assert len(closed.faces) == len(mesh.faces)
    assert check(closed).volume == pytest.approx(abs(report(mesh).volume), rel=1e-4)


def test_a_hollow_that_is_closed_stays():
    mesh = mesh_of(ball(), flipped(ball(0.5)))
    assert check(watertight(mesh, resolution=32)).volume == pytest.approx(BALL * (1 - 0.125), rel=0.01)


def test_small_holes_are_filled_and_seams_joined_without_new_faces_elsewhere():
    mesh = mesh_of(without(ball(), lambda at: at[:, 2] > 0.998))
    apart = Mesh(mesh.vertices[mesh.faces].flatten(0, 1), torch.arange(3 * len(mesh.faces)).view(-1, 3))
    closed = watertight(apart, resolution=32)
    assert abs(len(closed.faces) - len(mesh.faces)) < 20
    assert check(closed).volume == pytest.approx(BALL, rel=0.01)


CUP = without(trimesh.creation.box().subdivide().subdivide(), lambda at: at[:, 2] > 0.49)
BROKEN = {  # parts, volume, its relative tolerance, Euler number, its tolerance
    "a ball with a wide hole": ([without(ball(), lambda at: at[:, 2] > 0.8)], BALL * 0.97, 0.01, 2, 0),
    "a box without a lid": ([CUP], 1.0, 0.03, 2, 8),  # some handles along the sharp rim
    "boxes through each other": ([trimesh.creation.box(), moved(trimesh.creation.box(), 0.5, 0.3, 0.2)], 2 - 0.5 * 0.7 * 0.8, 0.01, 2, 0),
    "boxes that share an edge": ([trimesh.creation.box(), moved(trimesh.creation.box(), 1, 1, 0)], 2, 0.05, 4, 8),
    "an inner layer": ([ball(), ball(0.6)], BALL, 0.01, 2, 0),
    "an open inner layer": ([ball(), without(ball(0.6), lambda at: at[:, 0] > 0)], BALL, 0.01, 2, 0),
    "one part inside out": ([without(ball(), lambda at: at[:, 2] > 0.8), flipped(ball(0.5, x=2.0))], BALL * (0.97 + 0.125), 0.01, 4, 0),
}


@needs_open3d
@pytest.mark.parametrize("name", BROKEN)
def test_broken_surfaces_become_solids(name):
    parts, volume, near, euler, handles = BROKEN[name]
    closed = watertight(mesh_of(*parts), resolution=64)
    solid = check(closed)
    assert solid.volume == pytest.approx(volume, rel=near)
    assert solid.euler_number == pytest.approx(euler, abs=handles)
    assert (closed.colors - (closed.vertices / 3 + 0.5).clamp(0, 1)).abs().median() < 0.02


@needs_open3d
def test_the_new_surface_lies_on_the_old_one():
    mesh = mesh_of(without(trimesh.creation.icosphere(5), lambda at: at[:, 2] > 0.8))
    radii = watertight(mesh, resolution=64).vertices @ TURN.mT
    radii = radii[radii[:, 2] < 0.5].norm(dim=-1)
    spacing = 2 / 63
    assert (radii - 1).abs().mean() < 0.02 * spacing
    assert (radii - 1).abs().max() < 0.2 * spacing


@needs_open3d
@pytest.mark.parametrize("thickness", [0.0, 0.5, 1.0, 1.5])
def test_sheets_and_thin_walls_get_a_thickness(thickness):
    wall = trimesh.creation.box((1, 0.6, max(thickness, 1e-3) / 63)).subdivide().subdivide()
    wall = without(wall, lambda at: at[:, 2] < 0) if not thickness else without(wall, lambda at: at[:, 0] > 0.45)
    solid = check(watertight(mesh_of(wall), resolution=64))
    assert solid.body_count == 1
    assert solid.euler_number == pytest.approx(2, abs=4)  # a handle or two, no sieve
    assert 2 * solid.volume / solid.area * 63 == pytest.approx(1.7, abs=0.3)


@needs_open3d
def test_faces_wound_at_random_are_put_in_order():
    mesh = mesh_of(without(ball(), lambda at: at[:, 2] > 0.8))
    turned = torch.rand(len(mesh.faces), generator=torch.Generator().manual_seed(0)) < 0.5
    mixed = replace(mesh, faces=torch.where(turned[:, None], mesh.faces.flip(1), mesh.faces))
    assert check(watertight(mixed, resolution=48)).volume == pytest.approx(BALL * 0.97, rel=0.02)


@needs_open3d
def test_a_soup_of_loose_triangles_is_closed():
    middles = torch.rand(300, 1, 3, generator=torch.Generator().manual_seed(0))
    corners = middles + 0.2 * torch.rand(300, 3, 3, generator=torch.Generator().manual_seed(1))
    check(watertight(Mesh(corners.flatten(0, 1), torch.arange(900).view(-1, 3)), resolution=48))


@needs_open3d
def test_fewer_faces_and_an_atlas_leave_it_closed():
    pytest.importorskip("xatlas", reason="xatlas is not installed")
    solid = watertight(mesh_of(CUP, moved(trimesh.creation.torus(0.4, 0.02), 0, 0, 0.8)), resolution=64)
    small = unwrap(decimate(solid, 1_500), size=256)
    assert len(small.faces) <= 1_500
    assert check(small).volume == pytest.approx(report(solid).volume, rel=0.02)


def test_nothing_and_nonsense_end_in_a_sentence(monkeypatch):
    point = Mesh(torch.ones(3, 3), torch.tensor([[0, 1, 2]]))
    with pytest.raises(BadInput, match="0 faces, the size 0"):
        watertight(Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64)))
    with pytest.raises(BadInput, match="1 faces, the size 0"):
        watertight(point)
    with pytest.raises(BadInput, match="no area"):
        watertight(Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]), torch.tensor([[0, 1, 2]])))
    with pytest.raises(BadInput, match="not finite"):
        watertight(replace(point, vertices=torch.full((3, 3), math.nan)))
    with pytest.raises(ValueError, match="the resolution is 4"):
        watertight(point, resolution=4)
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(MissingDependency, match="closing meshes needs the package open3d"):
        watertight(mesh_of(CUP), resolution=16)


def test_winding_numbers_count_how_often_a_surface_goes_around():
    both = mesh_of(ball(20), ball(10))
    points, areas = surface_samples(both.vertices + 32, both.faces)
    assert areas.sum(0).abs().max() < 0.1
    assert areas.norm(dim=-1).sum() == pytest.approx(4 * math.pi * 500, rel=0.01)
    numbers = winding_numbers(points, areas, (64, 64, 64))
    radii = (torch.cartesian_prod(*[torch.arange(64)] * 3) - 32).float().norm(dim=-1).view(64, 64, 64)
    for inner, outer, number in ((0, 8, 2), (12, 18, 1), (22, 60, 0)):
        assert (numbers[(radii >= inner) & (radii < outer)] - number).abs().max() < 0.05


def test_half_a_ball_winds_half_around_the_middle_of_its_rim():
    half = mesh_of(without(ball(20), lambda at: at[:, 2] > 0))
    numbers = winding_numbers(*surface_samples(half.vertices + 48, half.faces), (96, 96, 96))
    assert float(numbers[48, 48, 48]) == pytest.approx(0.5, abs=0.05)
