from dataclasses import replace

import pytest
import torch

from gen3d.pipeline.fitting.fit import FitJob, fit
from gen3d.pipeline.fitting.initial import initial_gaussians
from gen3d.pipeline.fitting.machine import Machine
from gen3d.pipeline.fitting.module import GaussianFitting
from gen3d.pipeline.fitting.refinement import CameraCorrections, Exposures, rigid_motion
from gen3d.pipeline.fitting.schedule import Schedule
from gen3d.pipeline.fitting.settings import DensifySettings, FittingSettings, RateSettings
from gen3d.pipeline.fitting.views import Photo
from gen3d.pipeline.progress import Silent
from gen3d.renderers.cameras import orbit
from gen3d.renderers.projection import world_to_camera

SETTINGS = FittingSettings(densify=DensifySettings(cap=200, every=10))
STILL = RateSettings(**dict.fromkeys(("means", "scales", "quats", "opacities", "sh0", "sh_rest"), 0.0))


def fitted(scene):
    initial = initial_gaussians(scene, count=100, cap=200, sh_degree=2, seed=0)
    return fit(FitJob(initial, [Photo.from_view(view) for view in scene.train], SETTINGS, 300, scene.extent, 0, Machine()), Silent())


def explain(right, views, scene, steps, **options):
    """What is learned of the photos when the splats are right and may not change."""
    settings = replace(SETTINGS, rates=STILL, views_per_step=1, half_resolution=0.0, **options)
    photos = [Photo.from_view(view) for view in views]
    module = GaussianFitting(right, photos, Schedule(settings, steps, right.count), extent=scene.extent, seed=0)
    optimizer = module.configure_optimizers()
    for step in range(steps):
        module.backward_of_step(step)
        optimizer.step()
        optimizer.zero_grad()
    return module


def pixels(splats, cameras):
    """Where each camera sees the centres `[v, n, 2]`."""
    points = torch.stack([world_to_camera(splats.means, camera) for camera in cameras])
    return points[..., :2] / points[..., 2:] * cameras[0].intrinsics[0, 0, 0]


def dimmed(views, factors):
    return tuple(replace(view, image=(view.image * factor).byte()) for view, factor in zip(views, factors, strict=True))


def moved(scene, distance):
    """The scene far from the world's origin."""
    shift = torch.eye(4, dtype=torch.float64)
    shift[:3, 3] = distance
    return replace(scene, train=tuple(replace(v, camera=v.camera.to(torch.float64).moved(shift).to(torch.float32)) for v in scene.train))


def test_rigid_motion_is_a_rotation_about_the_axis():
    centre = torch.tensor([5.0, 0.0, 0.0])
    motion = rigid_motion(torch.tensor([0.0, 0.0, torch.pi / 2]), torch.tensor([1.0, 2.0, 3.0]), centre)
    moved = motion @ torch.tensor([6.0, 0.0, 0.0, 1.0])
    assert torch.allclose(moved, torch.tensor([6.0, 3.0, 3.0, 1.0]), atol=1e-6)


def test_gradients_exist_at_the_identity():
    motion = torch.zeros(6, requires_grad=True)
    rigid_motion(motion[:3], motion[3:], torch.ones(3))[:3].sum().backward()
    assert motion.grad.isfinite().all()


def test_corrections_start_as_the_identity():
    camera = orbit(torch.tensor([30.0]), torch.tensor([10.0]), radius=2.0, fov=50.0, width=8, height=8)
    assert torch.equal(CameraCorrections([camera] * 3, extent=2.0)(camera, 1).world_to_camera, camera.world_to_camera)


def test_exposures_keep_the_mean():
    exposures = Exposures(2)
    exposures.log_gains.data[:] = torch.tensor([[0.5], [0.1]])
    image = torch.full((1, 2, 2, 3), 0.5)
    brighter, darker = (exposures(image, torch.ones(1, 2, 2), index) for index in range(2))
    assert torch.allclose(brighter * darker, image * image)
    assert (brighter > darker).all()


def test_exposures_leave_uncovered_pixels_alone():
    exposures = Exposures(2)
    exposures.offsets.data[0] = 0.2
    seen = exposures(torch.zeros(2, 3), torch.tensor([0.0, 1.0]), 0)
    assert torch.allclose(seen, torch.tensor([[0.0], [0.1]]).expand(2, 3))


@pytest.mark.parametrize("name", ["scene", "cut_out"])
def test_exposures_are_found(request, name):
    scene = request.getfixturevalue(name)
    count = len(scene.train)
    right = fitted(replace(scene, train=dimmed(scene.train, [0.8] * count)))
    factors = torch.linspace(-0.2, 0.2, count).exp()
    exposures = explain(right, dimmed(scene.train, 0.8 * factors), scene, 400, exposure=True).exposures
    grey = torch.full((1, 3), 0.4)
    found = torch.stack([exposures(grey, torch.ones(1), index).mean() for index in range(count)]) / 0.4
    assert (found / factors - 1).abs().max() < 0.05


@pytest.mark.parametrize("distance", [0.0, 100.0])
def test_camera_corrections_find_the_way_back(scene, distance):
    right = fitted(scene)
    scene, right = moved(scene, distance), replace(right, means=right.means + distance)
    shifts = 0.03 * torch.randn(len(scene.train), 3, generator=torch.Generator().manual_seed(3))
    shifts -= shifts.mean(0)  # a motion of all cameras together is not theirs to find
    wrong = []
    for view, shift in zip(scene.train, shifts, strict=True):
        pose = view.camera.world_to_camera.clone()
        pose[:, :3, 3] += pose[:, :3, :3] @ shift
        wrong.append(replace(view, camera=replace(view.camera, world_to_camera=pose)))
    module = explain(right, wrong, scene, 1200, refine_cameras=True)
    truth = pixels(right, [view.camera for view in scene.train])
    before = (pixels(right, [view.camera for view in wrong]) - truth).norm(dim=-1).mean()
    after = (pixels(right, [module.cameras(view.camera, index) for index, view in enumerate(wrong)]) - truth).norm(dim=-1).mean()
    assert after < 0.4 * before
