"""Views through bytes and back."""

import pytest
import torch

from gen3d.errors import BadInput
from gen3d.pipeline.objects.encoding import (
    FAR,
    NEAR,
    decode_depth,
    decode_normal,
    decode_views,
    encode_depth,
    encode_normal,
    encode_views,
)
from gen3d.pipeline.objects.views import ObjectViews, object_cameras


@pytest.fixture
def views():
    """Three smooth pictures of 16 pixels with a hole, a soft edge and values of 8 bits."""
    cameras = object_cameras([0.0, 90.0, 180.0], [0.0, 20.0, 40.0], 16)
    ramp = torch.linspace(0, 255, 16).round() / 255
    alpha = torch.ones(3, 16, 16)
    alpha[:, :4], alpha[:, 4] = 0, 64 / 255
    rgb = torch.stack([ramp[None].expand(16, 16), ramp[:, None].expand(16, 16), torch.full((16, 16), 0.2)], -1).expand(3, 16, 16, 3)
    generator = torch.Generator().manual_seed(0)
    normal = torch.nn.functional.normalize(torch.randn(3, 16, 16, 3, generator=generator), dim=-1)
    covered = alpha > 0
    depth = (NEAR + ramp * (FAR - NEAR)).expand(3, 16, 16)
    return ObjectViews(cameras, rgb * covered[..., None], alpha, depth * covered, normal * covered[..., None])


def test_colors_and_alpha_keep_every_bit(views):
    found = decode_views(encode_views(views), views.cameras, "x")
    assert torch.equal(found.rgb, views.rgb)
    assert torch.equal(found.alpha, views.alpha)


def test_depth_and_normals_are_close(views):
    found = decode_views(encode_views(views), views.cameras, "x")
    covered = views.alpha > 0
    assert (found.depth - views.depth).abs().max() <= 0.5 / 254 + 1e-6
    assert torch.rad2deg(torch.acos((found.normal * views.normal).sum(-1)[covered].clamp(-1, 1))).max() < 1
    assert not found.depth[~covered].any()
    assert not found.normal[~covered].any()


def test_some_views_in_any_order(views):
    files = encode_views(views)
    whole, some = (decode_views(files, views.cameras, "x", chosen) for chosen in (None, [2, 0]))
    for name in ("rgb", "alpha", "depth", "normal"):
        assert torch.equal(getattr(some, name), getattr(whole, name)[[2, 0]])
    assert torch.equal(some.cameras.world_to_camera, views.cameras.world_to_camera[[2, 0]])


def test_lossy_colors_leave_alpha_alone(views):
    files = encode_views(views, geometry=False, quality=85)
    found = decode_views(files, views.cameras, "x")
    assert len(files) == 1
    assert found.depth is None
    assert found.normal is None
    assert torch.equal(found.alpha, views.alpha)
    assert not found.rgb[found.alpha == 0].any()
    error = (found.over(torch.ones(3)) - views.over(torch.ones(3))).square().mean()
    assert -10 * torch.log10(error) > 30


def test_opaque_pictures(views):
    full = ObjectViews(views.cameras, views.rgb, torch.ones(3, 16, 16))
    assert (decode_views(encode_views(full, geometry=False), views.cameras, "x").alpha == 1).all()


def test_normals_along_the_axes_are_exact():
    axes = torch.cat([torch.eye(3), -torch.eye(3)])
    assert torch.equal(decode_normal(encode_normal(axes)), axes)


def test_normals_of_all_directions():
    normals = torch.nn.functional.normalize(torch.randn(20_000, 3, generator=torch.Generator().manual_seed(1)), dim=-1)
    found = decode_normal(encode_normal(normals))
    assert torch.rad2deg(torch.linalg.cross(found, normals).norm(dim=-1)).max() < 1
    assert torch.allclose(found.norm(dim=-1), torch.ones(20_000))


def test_depths_of_the_whole_range():
    depth = torch.tensor([0.0, NEAR, FAR, 1.25])
    assert torch.equal(encode_depth(depth), torch.tensor([0, 1, 255, 128], dtype=torch.uint8))
    assert torch.allclose(decode_depth(encode_depth(depth)), depth)


def test_damage_is_told(views):
    files = encode_views(views)
    with pytest.raises(BadInput, match=r"chair is (a damaged|not a) picture"):
        decode_views([files[0][:40], files[1]], views.cameras, "chair")
    with pytest.raises(BadInput, match="chair has pictures of"):
        decode_views(files, views.cameras.select([0]), "chair")
    with pytest.raises(ValueError, match="geometry=False"):
        encode_views(ObjectViews(views.cameras, views.rgb, views.alpha))
