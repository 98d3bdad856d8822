import math

import pytest
import torch

from gen3d.pipeline.paths import around_scene, focus_point, robust_box, turntable
from gen3d.renderers.cameras import Cameras, look_at, orbit, pinhole
from gen3d.renderers.gaussians import Gaussians


def cloud(means: torch.Tensor, opacities: torch.Tensor | None = None) -> Gaussians:
    n = len(means)
    quats = torch.tensor([1.0, 0, 0, 0]).expand(n, 4)
    return Gaussians(means, torch.full((n, 3), 0.01), quats, torch.ones(n) if opacities is None else opacities, torch.zeros(n, 1, 3))


def box(count: int = 2000) -> torch.Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0, 0.5]) + 3


def project(points: torch.Tensor, cameras: Cameras) -> torch.Tensor:
    """Pixels `[v, n, 2]`."""
    seen = points @ cameras.world_to_camera[:, :3, :3].mT + cameras.world_to_camera[:, None, :3, 3]
    pixels = seen @ cameras.intrinsics.mT
    return pixels[..., :2] / pixels[..., 2:]


def test_floaters_and_haze_do_not_move_the_box():
    floaters = torch.full((20, 3), 1e4)
    haze = torch.full((1500, 3), -50.0)
    opacities = torch.cat([torch.ones(2020), torch.full((1500,), 0.05)])
    lower, upper = robust_box(cloud(torch.cat([box(), floaters, haze]), opacities))
    torch.testing.assert_close(lower, torch.tensor([3.0, 3.0, 3.0]), atol=0.1, rtol=0)
    torch.testing.assert_close(upper, torch.tensor([4.0, 5.0, 3.5]), atol=0.1, rtol=0)


def test_haze_alone_still_has_a_box():
    lower, upper = robust_box(cloud(box(), torch.full((2000,), 0.01)))
    assert (upper > lower).all()


@pytest.mark.parametrize(("width", "height"), [(64, 64), (120, 40), (40, 120)])
def test_turntable_shows_the_whole_object(width, height):
    points = box()
    cameras = turntable(robust_box(cloud(points)), 8, width=width, height=height, elevation=20)
    assert (cameras.width, cameras.height, tuple(cameras.shape)) == (width, height, (8,))
    pixels = project(points, cameras)
    assert (pixels > -1).all()
    assert (pixels < torch.tensor([width + 1, height + 1])).all()
    covered = (pixels.amax((0, 1)) - pixels.amin((0, 1))) / torch.tensor([width, height])
    assert covered.max() > 0.75


def test_turntable_starts_at_the_front_and_closes():
    cameras = turntable(robust_box(cloud(box())), 4, elevation=0)
    offsets = cameras.positions - torch.tensor([3.5, 4.0, 3.25])
    directions = torch.nn.functional.normalize(offsets, dim=-1)
    wanted = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 0, -1], [-1, 0, 0]])
    torch.testing.assert_close(directions, wanted, atol=0.05, rtol=0)


def test_one_splat_has_a_turntable():
    cameras = turntable(robust_box(cloud(torch.ones(1, 3))), 3)
    assert cameras.world_to_camera.isfinite().all()
    with pytest.raises(ValueError, match="0 views is empty"):
        turntable(robust_box(cloud(torch.ones(1, 3))), 0)


def ring(azimuths: torch.Tensor, target=(1.0, 2.0, 3.0), radius=4.0, elevation=25.0) -> Cameras:
    return orbit(azimuths, torch.full_like(azimuths, elevation), radius=radius, fov=50, width=32, height=24, target=target)


def test_focus_is_where_the_axes_meet():
    focus = focus_point(ring(torch.linspace(0, 120, 7)))
    torch.testing.assert_close(focus, torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), atol=2e-3, rtol=0)


def test_focus_of_parallel_axes_lies_ahead():
    eyes = torch.tensor([[x, y, 0.0] for x in (-1.0, 0.0, 1.0) for y in (-1.0, 1.0)])
    poses = look_at(eyes, eyes + torch.tensor([0.0, 0.0, 1.0]))
    cameras = Cameras(poses, pinhole(30, 32, 32).expand(6, 3, 3), 32, 32)
    focus = focus_point(cameras)
    assert focus[2] > 1
    assert focus[:2].abs().max() < 1e-6
    path = around_scene(cameras, 10)
    assert (path.forward[:, 2] > 0.5).all()
    assert (path.positions[:, 2].abs() < 1.5).all()


def test_photos_all_around_give_a_full_turn():
    path = around_scene(ring(torch.arange(0, 360, 30.0)), 24)
    offsets = path.positions - torch.tensor([1.0, 2.0, 3.0])
    azimuths = torch.rad2deg(torch.atan2(offsets[:, 0], offsets[:, 2])) % 360
    assert torch.diff(azimuths.sort().values).max() < 16
    torch.testing.assert_close(offsets.norm(dim=-1), torch.full((24,), 4.0), atol=2e-2, rtol=0)
    torch.testing.assert_close(-offsets / 4, path.forward, atol=1e-2, rtol=0)


def test_photos_from_one_side_give_a_swing_that_closes():
    photos = ring(torch.linspace(-20, 130, 12))
    path = around_scene(photos, 40)
    offsets = path.positions - torch.tensor([1.0, 2.0, 3.0])
    azimuths = torch.rad2deg(torch.atan2(offsets[:, 0], offsets[:, 2]))
    assert azimuths.min() == pytest.approx(-20, abs=0.5)
    assert azimuths.max() == pytest.approx(130, abs=0.5)
    steps = (path.positions - path.positions.roll(1, 0)).norm(dim=-1)
    assert steps.max() < 2 * math.pi * 4 * 150 / 360 / 10


def test_cameras_in_a_room_keep_looking_outwards():
    inside = ring(torch.arange(0, 360, 20.0), radius=0.5, elevation=0.0)
    outwards = Cameras(
        look_at(inside.positions, 2 * inside.positions - torch.tensor([1.0, 2.0, 3.0])), inside.intrinsics, inside.width, inside.height
    )
    path = around_scene(outwards, 12)
    offsets = path.positions - torch.tensor([1.0, 2.0, 3.0])
    assert ((offsets * path.forward).sum(-1) > 0.4).all()


@pytest.mark.parametrize("count", [1, 2])
def test_few_photos_still_give_a_path(count):
    path = around_scene(ring(torch.tensor([10.0, 40.0])[:count]), 6)
    assert path.world_to_camera.isfinite().all()
    assert path.shape == (6,)


def test_no_photos_are_refused():
    with pytest.raises(ValueError, match="make no path"):
        around_scene(ring(torch.zeros(0)), 6)
