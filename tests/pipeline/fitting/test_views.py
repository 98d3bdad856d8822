from dataclasses import replace

import torch

from gen3d.pipeline.fitting.views import Photo
from gen3d.renderers.cameras import Cameras, pinhole


def make_photo(width=70, height=66, alpha=None, mask=None):
    image = torch.arange(height * width * 3).view(height, width, 3).remainder(256).byte()
    camera = Cameras(torch.eye(4)[None], pinhole(100.0, width, height)[None], width, height)
    return Photo(image, alpha, mask, camera)


def test_half_size_is_the_mean_of_four():
    photo = make_photo()
    small = photo.halved()
    assert small.image.shape == (33, 35, 3)
    four = photo.image[2:4, 4:6].float().mean((0, 1)).round().byte()
    assert torch.equal(small.image[1, 2], four)


def test_half_size_keeps_where_points_fall():
    photo = make_photo(71, 67)
    small = photo.halved()
    assert torch.allclose(small.camera.intrinsics[0, :2] * 2, photo.camera.intrinsics[0, :2])
    assert (small.camera.width, small.camera.height) == (35, 33)


def test_small_photos_stay():
    photo = make_photo(63, 200)
    assert photo.halved() is photo


def test_transparent_colours_do_not_bleed():
    alpha = torch.zeros(66, 70, dtype=torch.uint8)
    alpha[:, ::2] = 255
    photo = make_photo(alpha=alpha)
    photo = replace(photo, image=torch.where(alpha[..., None] > 0, 200, 10).byte().expand(66, 70, 3))
    small = photo.halved()
    assert (small.image == 200).all()
    assert (small.alpha == 128).all()


def test_a_pixel_counts_only_when_all_its_parents_do():
    mask = torch.full((66, 70), 255, dtype=torch.uint8)
    mask[0, 0] = 0
    small = make_photo(mask=mask).halved()
    assert small.mask[0, 0] == 0
    assert (small.mask.flatten()[1:] == 255).all()
    assert small.weights().max() == 1


def test_targets_are_composited():
    alpha = torch.zeros(66, 70, dtype=torch.uint8)
    target = make_photo(alpha=alpha).target(torch.tensor([0.1, 0.2, 0.3]))
    assert target.shape == (1, 66, 70, 3)
    assert torch.allclose(target[0, 5, 5], torch.tensor([0.1, 0.2, 0.3]))
    assert torch.allclose(make_photo().target(torch.ones(3))[0] * 255, make_photo().image.float())
