"""Rendered views: spread, naming, straight colour."""

import pytest
import torch

from gen3d.pipeline.objects.rendering import object_scene, render_object, sphere_cameras
from gen3d.renderers.cameras import orbit
from gen3d.renderers.mesh import Mesh

pytest.importorskip("embreex")


def plate():
    """A red square at the origin that faces +Z."""
    vertices = torch.tensor([[-0.3, -0.3, 0], [0.3, -0.3, 0], [0.3, 0.3, 0], [-0.3, 0.3, 0]])
    return Mesh(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), colors=torch.tensor([1.0, 0.25, 0.0]).expand(4, 3))


def test_views_are_spread_over_the_sphere():
    cameras = sphere_cameras(40, radius=2.0, fov=40.0, size=64)
    positions = cameras.positions
    assert cameras.shape == (40,)
    assert torch.allclose(positions.norm(dim=-1), torch.tensor(2.0), atol=1e-5)
    assert torch.allclose(cameras.forward, -positions / 2, atol=1e-5)
    assert positions.mean(0).norm() < 0.1
    # Even: the nearest neighbour of every view is about as far as on a hexagonal grid, sqrt(8π / (√3 n)) radians.
    angles = torch.acos((positions @ positions.mT / 4).clamp(-1, 1) - 2 * torch.eye(40)).topk(1, largest=False).values
    ideal = (8 * torch.pi / (3**0.5 * 40)) ** 0.5
    assert (angles > 0.7 * ideal).all()
    assert (angles < 1.1 * ideal).all()


def test_views_are_where_they_always_were():
    index = torch.arange(30, dtype=torch.float64)
    elevations = torch.rad2deg(torch.asin(1 - (2 * index + 1) / 30))
    azimuths = 25 + 180 * (3 - 5**0.5) * index
    expected = orbit(azimuths, elevations, radius=2.0, fov=40.0, width=8, height=8).to(torch.float32)
    found = sphere_cameras(30, radius=2.0, fov=40.0, size=8, turn=25.0)
    assert torch.allclose(found.world_to_camera, expected.world_to_camera, atol=1e-6)


def test_a_turn_shows_other_sides():
    first, second = (sphere_cameras(20, radius=2.0, fov=40.0, size=8, turn=turn).positions for turn in (0.0, 90.0))
    assert torch.allclose(second[:, 1], first[:, 1], atol=1e-6)
    assert torch.allclose(second[:, 0], first[:, 2], atol=1e-5)
    with pytest.raises(ValueError, match="0 views"):
        sphere_cameras(0, radius=2.0, fov=40.0, size=8)


def test_color_is_straight_where_alpha_is_partial():
    cameras = sphere_cameras(6, radius=2.0, fov=40.0, size=33)
    views = render_object(plate(), cameras, prefix="train")
    assert [view.name for view in views[:2]] == ["train_000.png", "train_001.png"]
    partial = 0
    for view, camera in zip(views, cameras.positions, strict=True):
        assert torch.allclose(view.camera.positions[0], camera)
        assert view.image.dtype == view.alpha.dtype == torch.uint8
        covered = view.alpha > 0
        partial += int((covered & (view.alpha < 255)).sum())
        assert (view.image[covered].int() - torch.tensor([255, 64, 0])).abs().max() <= 1
        assert not view.image[~covered].any()
    assert partial > 20


def test_a_scene_of_an_object():
    train, test = sphere_cameras(5, radius=2.0, fov=40.0, size=16), sphere_cameras(3, radius=2.0, fov=40.0, size=16, turn=50.0)
    scene = object_scene(plate(), train, test, supersample=2)
    assert len(scene.train) == 5
    assert [view.name for view in scene.test] == ["test_000.png", "test_001.png", "test_002.png"]
    assert scene.points is None
    assert torch.equal(scene.world_from_source, torch.eye(4, dtype=torch.float64))
    assert {view.name for view in scene.views} == {*(f"train_00{i}.png" for i in range(5)), *(f"test_00{i}.png" for i in range(3))}
