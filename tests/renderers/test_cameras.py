import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from gen3d.renderers import cameras as module
from gen3d.renderers.cameras import Cameras, colmap_to_opencv, look_at, opencv_to_opengl, opengl_to_opencv, orbit, pinhole, rigid_inverse

seeds = st.integers(0, 2**20)


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_poses(seed, *shape):
    return look_at(3 * normal(seed, *shape, 3), normal(seed + 1, *shape, 3))


def to_pixels(cameras, points):
    """Pixels of world points `[3]` in every view."""
    inside = cameras.world_to_camera[..., :3, :3] @ points + cameras.world_to_camera[..., :3, 3]
    seen = (cameras.intrinsics @ inside[..., None])[..., 0]
    return seen[..., :2] / seen[..., 2:]


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_look_at_axioms(seed):
    eyes, targets = 3 * normal(seed, 4, 3), normal(seed + 1, 4, 3)
    poses = look_at(eyes, targets)
    rotation = poses[:, :3, :3]
    identity = torch.eye(3, dtype=torch.float64).expand(4, 3, 3)
    torch.testing.assert_close(rotation @ rotation.mT, identity)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(4, dtype=torch.float64))
    cameras = Cameras(poses, pinhole(50, 40, 30).double().expand(4, 3, 3), 40, 30)
    torch.testing.assert_close(cameras.positions, eyes)
    torch.testing.assert_close(cameras.forward, torch.nn.functional.normalize(targets - eyes, dim=-1))
    middle = torch.stack([to_pixels(cameras.select([i]), targets[i])[0] for i in range(4)])
    torch.testing.assert_close(middle, torch.tensor([20.0, 15.0], dtype=torch.float64).expand(4, 2))
    raised = torch.stack([to_pixels(cameras.select([i]), targets[i] + torch.tensor([0, 1e-3, 0]))[0] for i in range(4)])
    assert (raised[:, 1] < 15).all()  # up in the world is up in the picture: smaller y
    torch.testing.assert_close(raised[:, 0], middle[:, 0])


@pytest.mark.parametrize("height", [-2.0, 2.0])
def test_look_at_along_up_takes_right_from_x(height):
    pose = look_at(torch.tensor([0.0, height, 0.0]), torch.zeros(3))
    torch.testing.assert_close(pose[0, :3], torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(torch.linalg.det(pose), torch.tensor(1.0))


def test_orbit_starts_at_the_front_and_turns_towards_x():
    azimuths = torch.tensor([0.0, 90.0, 180.0, 0.0])
    elevations = torch.tensor([0.0, 0.0, 0.0, 90.0])
    cameras = orbit(azimuths, elevations, radius=2, fov=60, width=80, height=40, target=(1.0, 2.0, 3.0))
    offsets = torch.tensor([[0.0, 0, 2], [2, 0, 0], [0, 0, -2], [0, 2, 0]])
    torch.testing.assert_close(cameras.positions, offsets + torch.tensor([1.0, 2.0, 3.0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(cameras.forward, -offsets / 2, atol=1e-6, rtol=0)
    right = torch.tensor([1.0 + math.tan(math.radians(30)) * 2, 2.0, 3.0])  # at the edge of the field of view, seen from the front
    torch.testing.assert_close(to_pixels(cameras.select([0]), right)[0], torch.tensor([80.0, 20.0]))


@pytest.mark.parametrize("fov", [0, 180, -10])
def test_orbit_refuses_impossible_fields_of_view(fov):
    with pytest.raises(ValueError, match=rf"the field of view is {fov} degrees; it must lie between 0 and 180"):
        orbit(torch.zeros(1), torch.zeros(1), radius=1, fov=fov, width=4, height=4)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_conversions_lead_back(seed):
    poses = random_poses(seed, 2, 3)
    close = torch.testing.assert_close
    close(rigid_inverse(poses), torch.linalg.inv(poses))
    close(rigid_inverse(rigid_inverse(poses)), poses)
    close(opengl_to_opencv(opencv_to_opengl(poses)), poses)
    quats = torch.as_tensor(Rotation.from_matrix(poses[..., :3, :3].reshape(-1, 3, 3).numpy()).as_quat(scalar_first=True))
    close(colmap_to_opencv(quats.reshape(2, 3, 4), poses[..., :3, 3]), poses)


def test_a_blender_camera_at_rest_looks_down_its_negative_z():
    # transform_matrix of a camera at (0, 0, 5) without rotation: it looks along -Z, up is +Y.
    matrix = torch.eye(4)
    matrix[2, 3] = 5
    pose = opengl_to_opencv(matrix[None])
    cameras = Cameras(pose, pinhole(10, 8, 8)[None], 8, 8)
    torch.testing.assert_close(cameras.positions, torch.tensor([[0.0, 0.0, 5.0]]))
    torch.testing.assert_close(cameras.forward, torch.tensor([[0.0, 0.0, -1.0]]))
    torch.testing.assert_close(to_pixels(cameras, torch.tensor([1.0, 0.0, 0.0])), torch.tensor([[6.0, 4.0]]))  # right
    torch.testing.assert_close(to_pixels(cameras, torch.tensor([0.0, 1.0, 0.0])), torch.tensor([[4.0, 2.0]]))  # up
    torch.testing.assert_close(pose[0], look_at(torch.tensor([0.0, 0.0, 5.0]), torch.zeros(3)))


def test_a_colmap_image_line():
    # QW QX QY QZ = a quarter turn about y: world x becomes camera -z, world z becomes camera x.
    pose = colmap_to_opencv(torch.tensor([0.5**0.5, 0.0, 0.5**0.5, 0.0]), torch.tensor([1.0, 2.0, 3.0]))
    expected = torch.tensor([[0.0, 0, 1, 1], [0, 1, 0, 2], [-1, 0, 0, 3], [0, 0, 0, 1]])
    torch.testing.assert_close(pose, expected, atol=1e-6, rtol=0)


@given(seeds, st.integers(1, 300), st.integers(1, 300))
@settings(max_examples=20, deadline=None)
def test_resizing_keeps_the_rays(seed, width, height):
    cameras = Cameras(random_poses(seed, 2), pinhole(55, 64, 48).double().expand(2, 3, 3) + 0.3, 64, 48)
    resized = cameras.resized(width, height)
    assert (resized.width, resized.height) == (width, height)
    point = normal(seed, 3) + 5 * cameras.forward[0] + cameras.positions[0]
    one = to_pixels(cameras, point) / torch.tensor([64, 48])
    torch.testing.assert_close(to_pixels(resized, point) / torch.tensor([width, height]), one)
    torch.testing.assert_close(resized.resized(64, 48).intrinsics, cameras.intrinsics)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_moved_cameras_see_moved_points_at_the_same_pixels(seed):
    cameras = Cameras(random_poses(seed, 3), pinhole(55, 64, 48).double().expand(3, 3, 3), 64, 48)
    transform = torch.eye(4, dtype=torch.float64)
    transform[:3, :3] = 2.5 * random_poses(seed + 2)[:3, :3]
    transform[:3, 3] = normal(seed, 3)
    moved = cameras.moved(transform)
    point = normal(seed + 3, 3)
    torch.testing.assert_close(to_pixels(moved, transform[:3, :3] @ point + transform[:3, 3]), to_pixels(cameras, point))
    rotation = moved.world_to_camera[:, :3, :3]
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64).expand(3, 3, 3))
    torch.testing.assert_close(moved.world_to_camera[:, 3], torch.tensor([0.0, 0, 0, 1]).double().expand(3, 4))
    positions = cameras.positions @ transform[:3, :3].T + transform[:3, 3]
    torch.testing.assert_close(moved.positions, positions)


def test_selection_keeps_the_view_axis(make_cameras):
    cameras = make_cameras(4)
    assert cameras.select([2]).shape == (1,)
    assert cameras.select(slice(1, 3)).shape == (2,)
    mask = torch.tensor([True, False, False, True])
    assert torch.equal(cameras.select(mask).world_to_camera, cameras.world_to_camera[[0, 3]])
    assert torch.equal(cameras.select(torch.tensor([3, 3])).intrinsics, cameras.intrinsics[[3, 3]])


def test_casts(make_cameras):
    cast = make_cameras().to(torch.float32)
    assert cast.world_to_camera.dtype == cast.intrinsics.dtype == torch.float32


@pytest.mark.parametrize(
    ("pose", "matrix", "size", "message"),
    [
        ((4, 4), (3, 3), (4, 4), r"world_to_camera has shape \(4, 4\); it must be"),
        ((2, 3, 4), (2, 3, 3), (4, 4), r"world_to_camera has shape \(2, 3, 4\)"),
        ((2, 4, 4), (1, 3, 3), (4, 4), r"intrinsics has shape \(1, 3, 3\); .* asks for \(2, 3, 3\)"),
        ((1, 4, 4), (1, 3, 3), (0, 4), r"the image size is 0x4; both sides must be at least 1 pixel"),
    ],
)
def test_wrong_shapes_are_explained(pose, matrix, size, message):
    with pytest.raises(ValueError, match=message):
        module.Cameras(torch.zeros(pose), torch.zeros(matrix), *size)
