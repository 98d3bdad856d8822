import torch

from gen3d.pipeline.fitting.refinement import CameraCorrections, Exposures, rigid_motion
from gen3d.renderers.cameras import orbit


def test_rigid_motion_is_a_rotation_about_the_axis():
    motion = rigid_motion(torch.tensor([0.0, 0.0, torch.pi / 2]), torch.tensor([1.0, 2.0, 3.0]))
    moved = motion @ torch.tensor([1.0, 0.0, 0.0, 1.0])
    assert torch.allclose(moved, torch.tensor([1.0, 3.0, 3.0, 1.0]), atol=1e-6)


def test_gradients_exist_at_the_identity():
    motion = torch.zeros(6, requires_grad=True)
    rigid_motion(motion[:3], motion[3:])[:3].sum().backward()
    assert motion.grad.isfinite().all()


def test_corrections_start_as_the_identity():
    camera = orbit(torch.tensor([30.0]), torch.tensor([10.0]), radius=2.0, fov=50.0, width=8, height=8)
    assert torch.equal(CameraCorrections(3, extent=2.0)(camera, 1).world_to_camera, camera.world_to_camera)


def test_exposures_keep_the_mean():
    exposures = Exposures(2)
    exposures.log_gains.data[:] = torch.tensor([[0.5], [0.1]])
    image = torch.full((1, 2, 2, 3), 0.5)
    brighter, darker = exposures(image, 0), exposures(image, 1)
    assert torch.allclose(brighter * darker, image * image)
    assert (brighter > darker).all()
