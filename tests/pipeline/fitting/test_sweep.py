from dataclasses import replace

import torch
from torch.nn import functional

from gen3d.pipeline.fitting import sweep
from gen3d.pipeline.fitting.initial import found_points
from gen3d.pipeline.fitting.sweep import project, sweep_points
from gen3d.pipeline.scenes.scene import Scene, View
from gen3d.renderers.cameras import Cameras, look_at, orbit, pinhole

WIDTH, HEIGHT = 96, 72


def rays_of(camera):
    """World directions through the pixels, [h, w, 3]."""
    rows, columns = torch.meshgrid(torch.arange(camera.height) + 0.5, torch.arange(camera.width) + 0.5, indexing="ij")
    pixels = torch.stack([columns, rows, torch.ones_like(rows)], -1)
    return pixels @ torch.linalg.inv(camera.intrinsics[0]).mT @ camera.world_to_camera[0, :3, :3]


def wall_scene(texture):
    """Five photos, by ray casting, of a textured wall in the plane z = 0."""
    views = []
    for index, x in enumerate((-0.8, -0.4, 0.0, 0.4, 0.8)):
        pose = look_at(torch.tensor([[x, 0.2, 2.0]]), torch.tensor([[0.0, 0.0, 0.0]]))
        camera = Cameras(pose, pinhole(90.0, WIDTH, HEIGHT)[None], WIDTH, HEIGHT)
        eye, rays = camera.positions[0], rays_of(camera)
        hits = eye - rays * (eye[2] / rays[..., 2:])
        image = functional.grid_sample(texture, hits[None, ..., :2] / 2, align_corners=False, padding_mode="reflection")
        views.append(View(f"{index}.png", (image[0].permute(1, 2, 0) * 255).round().byte(), None, None, camera))
    return Scene(tuple(views), (), None, torch.eye(4, dtype=torch.float64))


def ball_photos(count):
    """A ring of photos, by ray casting, of a textured ball of radius one half."""
    texture = torch.rand(1, 3, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    cameras = orbit(torch.arange(count) * 360 / count, torch.zeros(count), radius=2.0, fov=32.0, width=40, height=40)
    photos = []
    for index in range(count):
        camera = cameras.select([index])
        eye, rays = camera.positions[0], functional.normalize(rays_of(camera), dim=-1)
        nearest = -(rays @ eye)
        inner = 0.25 - (eye @ eye - nearest**2)
        hits = eye + rays * (nearest - inner.clamp_min(0).sqrt())[..., None]
        color = functional.grid_sample(texture, 2 * hits[None, None], align_corners=False)[0, :, 0].permute(1, 2, 0)
        photos.append(View(f"{index}.png", (color * (inner > 0)[..., None] * 255).round().byte(), None, None, camera))
    return photos


def test_points_lie_on_the_wall_and_have_its_colours():
    texture = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    scene = wall_scene(texture)
    cloud = sweep_points(scene.train, torch.zeros(3), count=2000, seed=0)
    assert len(cloud.points) == 2000
    assert cloud.points[:, 2].abs().median() < 0.02
    assert (cloud.points[:, 2].abs() < 0.1).float().mean() > 0.9
    there = functional.grid_sample(texture, cloud.points[None, None, :, :2] / 2, align_corners=False, padding_mode="reflection")
    assert (there[0, :, 0].mT - cloud.colors).abs().mean() < 0.1
    assert torch.equal(cloud.points, sweep_points(scene.train, torch.zeros(3), count=2000, seed=0).points)


def test_a_wall_without_texture_gives_no_points_and_the_guess_takes_over():
    scene = wall_scene(torch.full((1, 3, 48, 48), 0.5))
    assert len(sweep_points(scene.train, torch.zeros(3), count=500, seed=0).points) == 0
    assert len(found_points(scene, count=500, seed=0).points) == 500


def test_many_photos_confirm_each_other_though_few_are_swept():
    cloud = sweep_points(ball_photos(100), torch.zeros(3), count=100_000, seed=0)
    assert len(cloud.points) > 5000
    assert (cloud.points.norm(dim=-1) - 0.5).abs().median() < 0.03


def test_masked_pixels_give_no_points(monkeypatch):
    monkeypatch.setattr(sweep, "SIDE", WIDTH // 2)
    mask = torch.full((HEIGHT, WIDTH), 255, dtype=torch.uint8)
    mask[: HEIGHT // 2] = 0
    texture = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    views = [replace(view, mask=mask) for view in wall_scene(texture).train]
    points = sweep_points(views, torch.zeros(3), count=2000, seed=0).points
    assert len(points) > 200
    shown = torch.zeros(len(points), dtype=torch.bool)
    for view in views:
        visible, row, column = project(points, view.camera)
        shown |= visible & (mask[row, column] > 0)
    assert shown.all()
