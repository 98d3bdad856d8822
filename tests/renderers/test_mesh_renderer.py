"""The mesh renderer against closed forms and a brute-force ray caster."""

import importlib
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from gen3d.errors import MissingDependency
from gen3d.renderers.cameras import Cameras, look_at, orbit, pinhole
from gen3d.renderers.mesh import Mesh, sample_texture
from gen3d.renderers.mesh_renderer import GREY, render_mesh

CUBE_FACES = [
    *([0, 2, 1], [1, 2, 3], [4, 5, 6], [5, 7, 6], [0, 1, 4], [1, 5, 4]),
    *([2, 6, 3], [3, 6, 7], [0, 4, 2], [2, 4, 6], [1, 3, 5], [3, 7, 5]),
]
WHITE = torch.ones(3)


def cube(side=1.0):
    """A cube around the origin; corner i has x, y, z from bits 0, 1, 2."""
    corners = torch.tensor([[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(8)]).double() - 0.5
    return Mesh(side * corners, torch.tensor(CUBE_FACES))


def quad(texture=None, colors=None):
    """The square [-.5, .5]² at z = 0 seen from +Z: corners lower left, lower right, upper right, upper left."""
    vertices = torch.tensor([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]])
    uvs = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    return Mesh(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), uvs if texture is not None else None, texture, colors)


def front(distance, size, focal=None):
    """One camera on +Z that looks at the origin."""
    pose = look_at(torch.tensor([[0.0, 0.0, distance]]), torch.zeros(1, 3))
    return Cameras(pose, pinhole(focal or size, size, size)[None], size, size)


def brute_force(mesh, camera, background, supersample):
    """Möller–Trumbore of every ray with every face, flat or vertex colours; numpy, one ray at a time."""
    pose = camera.world_to_camera[0].double().numpy()
    matrix = camera.intrinsics[0].double().numpy()
    origin, turn = -pose[:3, :3].T @ pose[:3, 3], pose[:3, :3].T
    a, b, c = (mesh.vertices.double().numpy()[mesh.faces.numpy()[:, i]] for i in range(3))
    shape = (camera.height, camera.width)
    rgb, alpha, depth, normal = np.zeros((*shape, 3)), np.zeros(shape), np.zeros(shape), np.zeros((*shape, 3))
    for row, column, i, j in np.ndindex(*shape, supersample, supersample):
        x = (column + (j + 0.5) / supersample - matrix[0, 2]) / matrix[0, 0]
        y = (row + (i + 0.5) / supersample - matrix[1, 2]) / matrix[1, 1]
        ray = turn @ np.array([x, y, 1.0])
        across = np.cross(ray, c - a)
        determinant = ((b - a) * across).sum(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            u = ((origin - a) * across).sum(1) / determinant
            other = np.cross(origin - a, b - a)
            v = (other @ ray) / determinant
            t = ((c - a) * other).sum(1) / determinant
        t = np.where((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0), t, np.inf)
        if not np.isfinite(t).any():
            rgb[row, column] += background
            continue
        face = int(t.argmin())
        up = np.cross((b - a)[face], (c - a)[face])
        weights = np.array([1 - u[face] - v[face], u[face], v[face]])
        colors = np.full((3, 3), GREY) if mesh.colors is None else mesh.colors.double().numpy()[mesh.faces.numpy()[face]]
        rgb[row, column] += weights @ colors
        alpha[row, column] += 1
        depth[row, column] += t[face]
        normal[row, column] += up / np.linalg.norm(up) * -np.sign(up @ ray)
    depth = np.divide(depth, alpha, out=np.zeros(shape), where=alpha > 0)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    return rgb / supersample**2, alpha / supersample**2, depth, np.divide(normal, length, out=normal, where=length > 0)


def test_the_front_of_a_cube_is_a_square_at_its_distance():
    # The front face at z = .5 is 1.5 away: its half side is 64 · .5 / 1.5 = 21.33 pixels, the camera being at 2.
    drawn = render_mesh(cube(), front(2.0, 64), supersample=1)
    near = (torch.arange(64) + 0.5 - 32).abs() < 64 * 0.5 / 1.5
    inside = near[:, None] & near[None]
    assert torch.equal(drawn.alpha[0] == 1, inside)
    assert torch.equal(drawn.rgb[0] == 0, ~inside[..., None].expand(-1, -1, 3))
    assert torch.allclose(drawn.depth[0][inside], torch.tensor(1.5), atol=1e-6)
    assert torch.allclose(drawn.normal[0][inside], torch.tensor([0.0, 0, 1]), atol=1e-6)
    assert (drawn.depth[0][~inside] == 0).all()
    assert (drawn.normal[0][~inside] == 0).all()


def test_alpha_is_the_covered_share_of_a_pixel():
    # The half side is 16 · .5 / 1 = 4.25 pixels with focal 8.5: border pixels are covered by a quarter.
    drawn = render_mesh(quad(), front(1.0, 16, focal=8.5), background=WHITE, supersample=4)
    assert torch.allclose(drawn.alpha[0, 8, 2:6], torch.tensor([0.0, 0.25, 1.0, 1.0]))
    assert drawn.alpha[0, 3, 3] == 0.0625
    assert torch.allclose(drawn.rgb[0, 8, 3], torch.tensor(0.25 * GREY + 0.75))
    assert drawn.depth[0, 3, 3] == pytest.approx(1.0)


def test_sphere_depths_and_normals():
    trimesh = pytest.importorskip("trimesh")
    ball = trimesh.creation.icosphere(subdivisions=5, radius=0.5)
    mesh = Mesh(torch.from_numpy(np.array(ball.vertices)), torch.from_numpy(np.array(ball.faces)))
    camera = orbit(torch.tensor([30.0]), torch.tensor([20.0]), radius=3.0, fov=25.0, width=48, height=48)
    drawn = render_mesh(mesh, camera, supersample=1)
    grid = (torch.arange(48) + 0.5 - 24) / camera.intrinsics[0, 0, 0]
    rays = torch.stack([grid[None].expand(48, 48), grid[:, None].expand(48, 48), torch.ones(48, 48)], -1)
    # |o + t d|² = r² with the optical centre at distance 3 along -z of the camera.
    a, b = (rays**2).sum(-1), -3.0 * torch.ones(48, 48)
    root = b**2 - a * (9 - 0.25)
    inside = root > 0.05
    depth = (-b - root.clamp_min(0).sqrt()) / a
    assert (drawn.alpha[0][inside] == 1).all()
    assert (drawn.alpha[0][root < 0] == 0).all()
    assert torch.allclose(drawn.depth[0][inside], depth[inside], atol=2e-3)
    points = camera.positions[0] + depth[..., None] * (rays @ camera.world_to_camera[0, :3, :3])
    cosine = (drawn.normal[0] * points / 0.5).sum(-1)
    assert (cosine[inside] > math.cos(math.radians(3))).all()


@pytest.mark.parametrize("supersample", [1, 2])
def test_equals_brute_force(supersample):
    generator = torch.Generator().manual_seed(3)
    mesh = Mesh(
        torch.rand(30, 3, generator=generator).double() - 0.5,
        torch.stack([torch.randperm(30, generator=generator)[:3] for _ in range(25)]),
        colors=torch.rand(30, 3, generator=generator),
    )
    camera = orbit(torch.tensor([50.0]), torch.tensor([-25.0]), radius=1.6, fov=50.0, width=20, height=16)
    drawn = render_mesh(mesh, camera, background=torch.tensor([0.2, 0.4, 0.9]), supersample=supersample)
    expected = brute_force(mesh, camera, np.array([0.2, 0.4, 0.9]), supersample)
    assert 0.3 < float(drawn.alpha.mean()) < 0.9
    for name, value in zip(("rgb", "alpha", "depth", "normal"), expected, strict=True):
        assert np.allclose(getattr(drawn, name)[0].numpy(), value, atol=1e-5), name


def test_bands_do_not_show(monkeypatch):
    camera = front(2.0, 24)
    whole = render_mesh(cube(), camera)
    monkeypatch.setattr("gen3d.renderers.mesh_renderer.BAND", 5 * 24 * 4)
    assert torch.equal(render_mesh(cube(), camera).rgb, whole.rgb)


def test_texture_stands_upright():
    red, green, blue, yellow = torch.eye(3)[0], torch.eye(3)[1], torch.eye(3)[2], torch.tensor([1.0, 1, 0])
    # First row on top: red is the upper left corner.
    texture = torch.stack([torch.stack([red, green]), torch.stack([blue, yellow])]).repeat_interleave(8, 0).repeat_interleave(8, 1)
    picture = render_mesh(quad(texture), front(1.0, 32, focal=32), supersample=1).rgb[0]
    for row, column, color in ((8, 8, red), (8, 24, green), (24, 8, blue), (24, 24, yellow)):
        assert torch.allclose(picture[row, column], color), (row, column)


def test_bilinear_lookup_repeats():
    texture = torch.tensor([[0.0, 1.0], [2.0, 3.0]])[..., None]
    at = torch.tensor([[0.25, 0.75], [0.5, 0.75], [0.25, 0.25], [0.5, 0.5], [0.0, 0.75], [1.25, -0.25], [-0.25, 1.75]])
    assert torch.allclose(sample_texture(texture, at)[:, 0], torch.tensor([0.0, 0.5, 2.0, 1.5, 0.5, 0.0, 1.0]))


def test_vertex_colors_multiply_the_texture():
    texture = torch.full((4, 4, 3), 0.5)
    colors = torch.tensor([[1.0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0]])
    camera = front(1.0, 16, focal=16)
    plain, both = render_mesh(quad(colors=colors), camera).rgb[0], render_mesh(quad(texture, colors), camera).rgb[0]
    assert torch.allclose(both, plain / 2)
    assert torch.allclose(plain[:, 8, 1], 1 - (torch.arange(16) + 0.5) / 16, atol=1e-6)
    assert torch.allclose(render_mesh(quad(), camera).rgb, torch.tensor(GREY))


def test_holes_of_the_texture_show_what_is_behind():
    hole = torch.cat([torch.ones(8, 8, 3), torch.ones(8, 8, 1)], -1)
    hole[:, 4:, 3] = 0
    both = quad(hole)
    # A second quad behind: its uvs lie in the opaque half and its colour is blue.
    shifted = both.vertices * 3 - torch.tensor([0, 0, 0.5])
    mesh = replace(
        both,
        vertices=torch.cat([both.vertices, shifted]),
        faces=torch.cat([both.faces, both.faces + 4]),
        uvs=torch.cat([both.uvs, torch.full((4, 2), 0.25)]),
        colors=torch.cat([torch.eye(3)[:1].expand(4, 3), torch.eye(3)[2:].expand(4, 3)]),
    )
    drawn = render_mesh(mesh, front(1.0, 16, focal=16), background=WHITE, supersample=1)
    assert torch.allclose(drawn.rgb[0, 8, 5], torch.eye(3)[0])
    assert torch.allclose(drawn.rgb[0, 8, 10], torch.eye(3)[2])
    assert torch.allclose(drawn.depth[0, 8, [5, 10]], torch.tensor([1.0, 1.5]))
    alone = render_mesh(both, front(1.0, 16, focal=16), background=WHITE, supersample=1)
    assert torch.equal(alone.alpha[0, 8, [5, 10]], torch.tensor([1.0, 0.0]))


def test_both_sides_are_drawn_and_normals_turn():
    mesh = quad()
    seen = orbit(torch.tensor([0.0, 180.0]), torch.zeros(2), radius=1.0, fov=40.0, width=8, height=8)
    drawn = render_mesh(mesh, seen)
    assert (drawn.alpha == 1).all()
    assert torch.allclose(drawn.normal[:, 4, 4], torch.tensor([[0.0, 0, 1], [0, 0, -1]]))


def test_a_camera_inside_sees_the_walls():
    drawn = render_mesh(cube(2.0), orbit(torch.zeros(1), torch.zeros(1), radius=1e-6, fov=40.0, width=8, height=8))
    assert (drawn.alpha == 1).all()
    assert torch.allclose(drawn.depth, torch.tensor(1.0), atol=1e-5)
    assert torch.allclose(drawn.normal, torch.tensor([0.0, 0, 1]), atol=1e-6)


def test_background_for_each_view_and_nothing_to_see():
    empty = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))
    seen = orbit(torch.tensor([0.0, 90.0]), torch.zeros(2), radius=2.0, fov=40.0, width=6, height=4)
    drawn = render_mesh(empty, seen, background=torch.tensor([[1.0, 0, 0], [0, 1, 0]]))
    assert drawn.rgb.shape == (2, 4, 6, 3)
    assert torch.equal(drawn.rgb[:, 2, 3], torch.eye(3)[:2])
    assert not drawn.alpha.any()
    assert not drawn.depth.any()


def test_faces_without_area_are_not_seen():
    mesh = quad()
    flat = torch.tensor([[0, 0, 1], [2, 2, 2], [0, 1, 1]])
    points = Mesh(mesh.vertices, flat)
    camera = front(1.0, 16, focal=16)
    assert not render_mesh(points, camera).alpha.any()
    mixed = replace(mesh, faces=torch.cat([flat, mesh.faces]))
    for name in ("rgb", "alpha", "depth", "normal"):
        assert torch.equal(getattr(render_mesh(mixed, camera), name), getattr(render_mesh(mesh, camera), name))
    assert not render_mesh(replace(mesh, vertices=mesh.vertices * 0), camera).alpha.any()


@pytest.mark.parametrize("scale", [1e-4, 1e5])
def test_size_of_the_mesh_does_not_matter(scale):
    mesh = cube()
    camera = orbit(torch.tensor([40.0]), torch.tensor([30.0]), radius=2.0, fov=40.0, width=24, height=24)
    far = replace(camera, world_to_camera=camera.world_to_camera.clone())
    far.world_to_camera[..., :3, 3] *= scale
    expected, drawn = render_mesh(mesh, camera), render_mesh(replace(mesh, vertices=mesh.vertices * scale), far)
    assert (expected.alpha - drawn.alpha).abs().max() <= 0.25
    assert (expected.alpha != drawn.alpha).float().mean() < 0.01
    assert torch.allclose(drawn.depth, expected.depth * scale, rtol=1e-2)


def test_broken_arguments_are_refused():
    camera = front(2.0, 8)
    with pytest.raises(ValueError, match="vertices 0 to 9; there are 8"):
        render_mesh(replace(cube(), faces=torch.tensor([[0, 1, 9]])), camera)
    with pytest.raises(ValueError, match="not finite"):
        render_mesh(replace(cube(), vertices=cube().vertices * float("nan")), camera)
    with pytest.raises(ValueError, match="supersample is 0"):
        render_mesh(cube(), camera, supersample=0)
    with pytest.raises(ValueError, match="flat list of views"):
        render_mesh(cube(), Cameras(camera.world_to_camera[None], camera.intrinsics[None], 8, 8))


def test_without_embree_the_remedy_is_named(monkeypatch):
    real = importlib.import_module

    def missing(name, *args):
        if name.startswith("embreex"):
            raise ImportError("no such package")
        return real(name, *args)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingDependency, match=r"drawing meshes needs .* pip install -e '\.\[mesh\]' in the checkout"):
        render_mesh(cube(), front(2.0, 8))
