import math
from dataclasses import replace

import pytest
import torch

from gen3d.errors import BadInput
from gen3d.pipeline.meshing.bake import bake
from gen3d.pipeline.meshing.pictures import Pictures
from gen3d.pipeline.meshing.texels import find_texels
from gen3d.pipeline.objects.rendering import sphere_cameras
from gen3d.renderers.cameras import look_at, orbit
from gen3d.renderers.mesh import Mesh
from gen3d.renderers.mesh_renderer import render_mesh

pytest.importorskip("embreex", reason="embreex is not installed")


def ball(rows=24, columns=48):
    """A unit sphere with longitude and latitude as atlas, a margin around it, and a colour for each place."""
    latitude = torch.linspace(-math.pi / 2, math.pi / 2, rows + 1)
    longitude = torch.linspace(-math.pi, math.pi, columns + 1)
    b, a = torch.meshgrid(latitude, longitude, indexing="ij")
    vertices = torch.stack([b.cos() * a.sin(), b.sin(), b.cos() * a.cos()], -1).reshape(-1, 3)
    uvs = torch.stack([0.1 + 0.8 * (a / math.pi + 1) / 2, 0.1 + 0.8 * (b / math.pi + 0.5)], -1).reshape(-1, 2)
    index = torch.arange((rows + 1) * (columns + 1)).view(rows + 1, columns + 1)
    low, right, up, across = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = torch.cat([torch.stack([low, right, across], -1).reshape(-1, 3), torch.stack([low, across, up], -1).reshape(-1, 3)])
    return Mesh(vertices, faces, uvs, colors=(vertices + 1) / 2)


def pictures_of(mesh, cameras):
    drawn = render_mesh(mesh, cameras)
    return Pictures(cameras, drawn.rgb, drawn.depth)


def square(z, rows=(0.0, 0.5)):
    """Two units wide, facing +Z, in a part of the atlas."""
    vertices = torch.tensor([[-1.0, -1, z], [1, -1, z], [1, 1, z], [-1, 1, z]])
    uvs = torch.tensor([[0.0, rows[0]], [1, rows[0]], [1, rows[1]], [0, rows[1]]])
    return vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), uvs


def test_every_texel_of_a_square_belongs_to_one_face_and_knows_its_point():
    vertices, faces, uvs = square(0.0, rows=(0.0, 1.0))
    texels = find_texels(Mesh(vertices, faces, uvs), 8)
    assert texels.place.tolist() == list(range(64))
    points = texels.between(vertices[faces])
    expected = torch.linspace(-7 / 8, 7 / 8, 8)
    assert torch.allclose(points[:8, 0], expected, atol=1e-6)  # the first row is the top of the picture
    assert torch.allclose(points[:8, 1], torch.full((8,), 7 / 8), atol=1e-6)


def test_faces_in_batches_are_the_same(monkeypatch):
    whole = find_texels(ball(), 64)
    monkeypatch.setattr("gen3d.pipeline.meshing.texels.PAIRS_AT_ONCE", 50)
    parts = find_texels(ball(), 64)
    assert torch.equal(whole.place, parts.place)
    assert torch.equal(whole.face, parts.face)


def test_a_coloured_ball_gets_its_colours_back():
    mesh = ball()
    pictures = pictures_of(mesh, sphere_cameras(20, radius=3.0, fov=45.0, size=160))
    texels = find_texels(mesh, 128)
    baked, seen = bake(mesh, pictures, texels)
    assert seen > 0.95  # half of the faces at the poles have no area
    error = (baked.texture.reshape(-1, 3)[texels.place] - texels.between(mesh.colors[mesh.faces])).abs()
    assert error.mean() < 0.01
    assert error.max() < 0.1
    again = render_mesh(baked, sphere_cameras(3, radius=3.0, fov=45.0, size=96, turn=50.0))
    truth = render_mesh(mesh, sphere_cameras(3, radius=3.0, fov=45.0, size=96, turn=50.0))
    assert (again.rgb - truth.rgb).square().mean() < 1e-4  # 40 dB


def test_gutters_repeat_the_edge():
    mesh = ball()
    baked, _ = bake(mesh, pictures_of(mesh, sphere_cameras(12, radius=3.0, fov=45.0, size=96)), find_texels(mesh, 64))
    assert torch.equal(baked.texture[32, 0], baked.texture[32, 6])
    assert (baked.texture[32, 0] > 0).any()


def test_what_is_hidden_takes_no_colour_from_what_hides_it():
    (front, faces, lower), (back, _, upper) = square(0.0), square(-3.0, rows=(0.5, 1.0))
    back[:, 0] += 1.0  # its right half shows beside the front square
    colors = torch.cat([torch.tensor([1.0, 0, 0]).expand(4, 3), torch.tensor([0, 1.0, 0]).expand(4, 3)])
    mesh = Mesh(torch.cat([front, back]), torch.cat([faces, faces + 4]), torch.cat([lower, upper]), colors=colors)
    camera = orbit(torch.zeros(1), torch.zeros(1), radius=8.0, fov=40.0, width=128, height=128)
    baked, seen = bake(mesh, pictures_of(mesh, camera), find_texels(mesh, 32))
    assert 0.5 < seen < 0.9  # a part of the back square
    assert (baked.texture[:16] - torch.tensor([0.0, 1, 0])).abs().max() < 0.01
    assert (baked.texture[17:] - torch.tensor([1.0, 0, 0])).abs().max() < 0.01


def test_cameras_that_look_elsewhere_are_an_error():
    mesh = ball()
    away = orbit(torch.zeros(1), torch.zeros(1), radius=3.0, fov=45.0, width=32, height=32)
    away = replace(away, world_to_camera=look_at(torch.tensor([[0.0, 0, 3]]), torch.tensor([[0.0, 0, 9]])).to(torch.float32))
    with pytest.raises(BadInput, match="no picture shows any of the surface"):
        bake(mesh, pictures_of(mesh, away), find_texels(mesh, 16))


def test_a_texture_without_a_texel_for_any_face_is_an_error():
    mesh = replace(ball(), uvs=torch.full_like(ball().uvs, 0.01))
    pictures = pictures_of(mesh, orbit(torch.zeros(1), torch.zeros(1), radius=3.0, fov=45.0, width=32, height=32))
    with pytest.raises(BadInput, match="a texture of 4² has no texel for any of the"):
        bake(mesh, pictures, find_texels(mesh, 4))
