"""Heads: where splats of every preset begin and how far they can go."""

import pytest
import torch
from scenes import ring, some_views

from gen3d.priors.multiview.heads import PRESETS, RADIUS, to_gaussians
from gen3d.priors.multiview.network import cells_of
from gen3d.priors.multiview.rays import pixel_rays, ray_channels
from gen3d.priors.multiview.settings import HEADS

VIEWS = some_views(2, 3)
CELLS = cells_of(VIEWS, 2)
COUNT = CELLS.extent.shape[1]


def drawn(name, raw):
    return to_gaussians(raw, CELLS, PRESETS[name])


def test_settings_know_the_presets():
    assert set(HEADS) == set(PRESETS)


@pytest.mark.parametrize("name", HEADS)
def test_splats_begin_faint_and_small_inside_the_object(name):
    splats = drawn(name, torch.zeros(2, COUNT, 4, 14))
    assert splats.batch_shape == (2,)
    assert splats.count == 4 * COUNT
    assert float(splats.opacities.mean()) <= 0.5
    assert 0.0005 < float(splats.scales.mean()) < 0.15
    inside = splats.means.norm(dim=-1) < 1.5 * RADIUS
    assert float(inside.float().mean()) > 0.5


@pytest.mark.parametrize("name", HEADS)
def test_no_number_is_too_large(name):
    raw = 30 * torch.randn(2, COUNT, 4, 14, generator=torch.Generator().manual_seed(0))
    raw.requires_grad_()
    splats = drawn(name, raw)
    for part in (splats.means, splats.scales, splats.quats, splats.opacities, splats.sh):
        assert part.isfinite().all()
    assert (splats.scales > 0).all()
    assert torch.allclose(splats.quats.norm(dim=-1), torch.ones(()), atol=1e-5)
    (splats.means.sum() + splats.scales.log().sum() + splats.opacities.sum() + splats.sh.sum() + splats.quats.sum()).backward()
    assert raw.grad.isfinite().all()


def test_layers_lie_behind_each_other_from_one_side_of_the_sphere_to_the_other():
    means = drawn("layers", torch.zeros(2, COUNT, 7, 14)).means.reshape(2, COUNT, 7, 3)
    along = ((means - CELLS.origins[:, :, None]) * CELLS.directions[:, :, None]).sum(-1)
    assert (along.diff(dim=-1) > 0).all()
    across = (means - CELLS.origins[:, :, None]) - along[..., None] * CELLS.directions[:, :, None]
    assert across.abs().max() < 1e-5
    middle = means[:, :, 3]
    assert torch.allclose((middle * CELLS.directions).sum(-1), torch.zeros(()), atol=1e-5)
    assert float((means[:, :, 0] - means[:, :, 6]).norm(dim=-1).mean()) == pytest.approx(1.5 * RADIUS, rel=0.01)


def test_layers_move_aside_at_right_angles_to_the_ray():
    raw = torch.zeros(2, COUNT, 1, 14)
    raw[..., 1], raw[..., 2] = 5.0, -3.0
    moved = drawn("layers", raw).means - drawn("layers", torch.zeros(2, COUNT, 1, 14)).means
    assert (moved * CELLS.directions).sum(-1).abs().max() < 1e-5
    assert moved.norm(dim=-1).min() > 0.1


def test_layers_begin_with_the_colours_of_given_views_and_grey_in_others():
    colors = drawn("layers", torch.zeros(2, COUNT, 1, 14)).sh[:, :, 0] * 0.28209479177387814 + 0.5
    per_view = COUNT // 3
    assert torch.allclose(colors[:, :per_view], CELLS.colors[:, :per_view].clamp(0.02, 0.98), atol=1e-4)
    assert torch.allclose(colors[:, per_view:], torch.tensor(0.5), atol=1e-4)


def test_rays_go_through_pixels_and_tell_the_closest_point():
    cameras = ring(1, 4)
    origins, directions = pixel_rays(cameras)
    places = origins + 0.7 * directions
    seen = (
        torch.einsum("bvij,bvhwj->bvhwi", cameras.world_to_camera[..., :3, :3], places)
        + cameras.world_to_camera[..., :3, 3][:, :, None, None]
    )
    pixels = torch.einsum("bvij,bvhwj->bvhwi", cameras.intrinsics, seen)
    pixels = pixels[..., :2] / pixels[..., 2:]
    rows, columns = torch.meshgrid(torch.arange(16) + 0.5, torch.arange(16) + 0.5, indexing="ij")
    assert (pixels - torch.stack([columns, rows], -1)).abs().max() < 1e-3
    channels = ray_channels(cameras)
    assert channels.shape == (1, 4, 6, 16, 16)
    assert (channels[:, :, :3] * channels[:, :, 3:]).sum(2).abs().max() < 1e-5
    coarse = pixel_rays(cameras, 2)[1]
    assert coarse.shape == (1, 4, 8, 8, 3)
    assert torch.allclose(coarse[0, 0, 0, 0], torch.nn.functional.normalize(directions[0, 0, :2, :2].mean((0, 1)), dim=0), atol=1e-3)
