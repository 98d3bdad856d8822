import torch
from torch.nn import functional

from gen3d.pipeline.fitting.initial import found_points
from gen3d.pipeline.fitting.sweep import sweep_points
from gen3d.pipeline.scenes.scene import Scene, View
from gen3d.renderers.cameras import Cameras, look_at, pinhole

WIDTH, HEIGHT = 96, 72


def wall_scene(texture):
    """Five photos, by ray casting, of a textured wall in the plane z = 0."""
    views = []
    for index, x in enumerate((-0.8, -0.4, 0.0, 0.4, 0.8)):
        pose = look_at(torch.tensor([[x, 0.2, 2.0]]), torch.tensor([[0.0, 0.0, 0.0]]))
        camera = Cameras(pose, pinhole(90.0, WIDTH, HEIGHT)[None], WIDTH, HEIGHT)
        rows, columns = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
        rays = torch.stack([columns, rows, torch.ones_like(rows)], -1) @ torch.linalg.inv(camera.intrinsics[0]).mT @ pose[0, :3, :3]
        eye = camera.positions[0]
        hits = eye - rays * (eye[2] / rays[..., 2:])
        image = functional.grid_sample(texture, hits[None, ..., :2] / 2, align_corners=False, padding_mode="reflection")
        views.append(View(f"{index}.png", (image[0].permute(1, 2, 0) * 255).round().byte(), None, None, camera))
    return Scene(tuple(views), (), None, torch.eye(4, dtype=torch.float64))


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
