import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gen3d.renderers.frames import (
    WORLD_TO_FRAME,
    WORLD_TO_MESH_AXES,
    frame_to_world,
    move_gaussians,
    rigid,
    turn_mesh,
    world_to_axes,
    world_to_frame,
)
from gen3d.renderers.mesh import Mesh, vertex_normals
from gen3d.renderers.quaternions import quaternion_to_matrix
from gen3d.renderers.rendering import CHANNELS, RasterSettings, rasterize

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("frame", WORLD_TO_FRAME)
def test_every_frame_is_a_rotation_and_its_inverse_leads_back(frame, make_splats):
    matrix = world_to_frame(frame)
    identity = torch.eye(3, dtype=torch.float64)
    assert torch.equal(frame_to_world(frame) @ matrix, identity)
    assert torch.equal(matrix @ matrix.T, identity)
    assert torch.linalg.det(matrix) == 1
    splats = make_splats(degree=3)
    back = move_gaussians(move_gaussians(splats, rigid(matrix)), rigid(frame_to_world(frame)))
    for name in ("means", "scales", "opacities", "sh", "covariances"):
        torch.testing.assert_close(getattr(back, name), getattr(splats, name), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    ("frame", "up", "front"),
    [
        ("gltf", (0, 1, 0), (0, 0, 1)),
        ("ply", (0, -1, 0), (0, 0, 1)),
        ("ydown", (0, -1, 0), (0, 0, -1)),
        ("zup", (0, 0, 1), (0, -1, 0)),
    ],
)
def test_where_up_and_front_go(frame, up, front):
    matrix = world_to_frame(frame)
    assert tuple(matrix[:, 1].tolist()) == up
    assert tuple(matrix[:, 2].tolist()) == front


def test_unknown_frame():
    with pytest.raises(ValueError, match="the frame 'left' is not known; choose one of gltf, ply, ydown, zup"):
        world_to_frame("left")
    with pytest.raises(ValueError, match="the axes 'ydown' are not known; choose one of gltf, zup, ply, unity"):
        world_to_axes("ydown")


@pytest.mark.parametrize(
    ("axes", "right", "up", "front"),
    [
        ("gltf", (1, 0, 0), (0, 1, 0), (0, 0, 1)),
        ("ply", (-1, 0, 0), (0, -1, 0), (0, 0, 1)),
        ("zup", (1, 0, 0), (0, 0, 1), (0, -1, 0)),
        ("unity", (-1, 0, 0), (0, 1, 0), (0, 0, 1)),
    ],
)
def test_where_the_axes_of_meshes_go(axes, right, up, front):
    assert [tuple(column) for column in world_to_axes(axes).T.tolist()] == [right, up, front]


@pytest.mark.parametrize("axes", WORLD_TO_MESH_AXES)
def test_meshes_turn_with_their_outside_and_back(axes):
    generator = torch.Generator().manual_seed(1)
    mesh = Mesh(torch.randn(9, 3, generator=generator), torch.arange(9).reshape(3, 3))
    turn = world_to_axes(axes)
    turned = turn_mesh(mesh, turn)
    torch.testing.assert_close(turned.vertices, mesh.vertices @ turn.float().T)
    torch.testing.assert_close(vertex_normals(turned), vertex_normals(mesh) @ turn.float().T)
    back = turn_mesh(turned, turn.T)
    assert torch.equal(back.vertices, mesh.vertices)
    assert torch.equal(back.faces, mesh.faces)


def random_similarity(seed):
    generator = torch.Generator().manual_seed(seed)
    quat, translation = (torch.randn(size, generator=generator, dtype=torch.float64) for size in (4, 3))
    return rigid(quaternion_to_matrix(quat), translation, float(torch.rand(1, generator=generator)) * 3 + 0.2)


@given(seed=st.integers(0, 2**20), degree=st.integers(0, 3), antialias=st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_moved_world_seen_by_moved_cameras_looks_the_same(make_splats, make_cameras, seed, degree, antialias):
    splats, cameras, transform = make_splats(degree=degree, seed=seed), make_cameras(2), random_similarity(seed)
    still, moving = (
        rasterize(s, c, channels=CHANNELS, settings=RasterSettings(antialias=antialias), backend="reference")
        for s, c in ((splats, cameras), (move_gaussians(splats, transform), cameras.moved(transform)))
    )
    scale = torch.linalg.det(transform[:3, :3]).pow(1 / 3)
    assert torch.equal(moving.radii, still.radii)
    for name in ("rgb", "alpha"):
        torch.testing.assert_close(getattr(moving, name), getattr(still, name), atol=1e-9, rtol=0)
    for name in ("depth", "median_depth"):
        torch.testing.assert_close(getattr(moving, name), getattr(still, name) * scale, atol=1e-8, rtol=0)
    torch.testing.assert_close(moving.normal, still.normal @ transform[:3, :3].T / scale, atol=1e-9, rtol=0)


def test_points_move_with_the_matrix(make_splats):
    splats, transform = make_splats(), random_similarity(3)
    moved = move_gaussians(splats, transform)
    torch.testing.assert_close(moved.means, splats.means @ transform[:3, :3].T + transform[:3, 3])
    linear = transform[:3, :3]
    torch.testing.assert_close(moved.covariances, linear @ splats.covariances @ linear.T)


def test_batches_and_float32_move_too(make_splats):
    transform = random_similarity(5)
    many = make_splats(batch=(2, 3), degree=2, dtype=torch.float32)
    moved = move_gaussians(many, transform)
    assert moved.means.dtype == moved.sh.dtype == torch.float32
    assert moved.batch_shape == (2, 3)
    torch.testing.assert_close(moved.means.double(), move_gaussians(many.to(torch.float64), transform).means, atol=1e-5, rtol=1e-5)
