"""Rays of pixels."""

import torch
from scenes import ring

from gen3d.priors.multiview.rays import pixel_rays, ray_channels


def test_half_precision_does_not_reach_rays():
    cameras = ring(1, 4)
    plain = (*pixel_rays(cameras, 2), ray_channels(cameras))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = (*pixel_rays(cameras, 2), ray_channels(cameras))
    assert all(torch.equal(one, other) for one, other in zip(plain, again, strict=True))


def test_rays_leave_from_the_camera_through_their_pixels():
    cameras = ring(1, 4)
    origins, directions = pixel_rays(cameras)
    assert torch.allclose(directions.norm(dim=-1), torch.ones(()), atol=1e-5)
    points = origins + 1.1 * directions
    seen = points @ cameras.world_to_camera[..., None, :3, :3].mT + cameras.world_to_camera[..., None, None, :3, 3]
    pixels = seen @ cameras.intrinsics[..., None, :, :].mT
    pixels = pixels[..., :2] / pixels[..., 2:]
    assert torch.allclose(pixels[0, 2, 5, 9], torch.tensor([9.5, 5.5]), atol=1e-3)
