"""Looking for training objects, and recolouring them."""

import pytest
import torch

from gen3d.pipeline.evaluation.gallery import (
    FLAT,
    features,
    gallery_of,
    keys_of,
    mean_answer,
    nearest,
    pixels,
    recoloured,
    reduced,
    silhouettes,
)
from gen3d.pipeline.evaluation.objects_protocol import Predicted, chosen
from gen3d.pipeline.objects.views import ObjectViews, object_cameras
from gen3d.pipeline.progress import Silent
from gen3d.priors.perceptual import Lpips


def one(rgb, alpha):
    """A picture of any size as views of one object."""
    return ObjectViews(object_cameras([0.0], [0.0], rgb.shape[1]), rgb, alpha)


def test_a_gallery_knows_fronts_and_means(make_set, blob, protocol):
    light, dark = blob(color=(1.0, 1.0, 1.0)), blob(color=(0.0, 0.2, 0.0), width=3.0)
    gallery = gallery_of(make_set("train", {"a": light, "b": dark}), protocol, Silent())
    assert torch.allclose(gallery.fronts.alpha, torch.stack([light.alpha[0], dark.alpha[0]]))
    white = torch.ones(3)
    assert torch.allclose(gallery.mean.rgb, (light.over(white) + dark.over(white)) / 2, atol=1e-6)
    assert torch.allclose(gallery.mean.alpha, (light.alpha + dark.alpha) / 2)


def test_large_pictures_are_reduced_by_area():
    rgb, alpha = torch.zeros(1, 128, 128, 3), torch.zeros(1, 128, 128)
    rgb[0, 0, 0], alpha[0, 0, 0] = torch.tensor([0.8, 0.4, 0.2]), 1.0
    small = reduced(one(rgb, alpha))
    assert small.alpha.shape == (1, 64, 64)
    assert float(small.alpha[0, 0, 0]) == 0.25
    assert torch.allclose(small.rgb[0, 0, 0], torch.tensor([0.8, 0.4, 0.2]))
    assert (small.cameras.width, float(small.alpha.sum())) == (64, 0.25)


def test_the_nearest_come_in_order():
    keys = keys_of(torch.tensor([[3.0, 0.0], [1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]))
    assert nearest(torch.tensor([2.5, 0.0]), keys, 2) == [0, 1]
    assert nearest(torch.zeros(2), keys, 3) == [1, 2, 0]  # equal ones in the order of their numbers
    assert nearest(torch.zeros(2), keys, 3, torch.tensor([True, False, False, True])) == [0, 3]


def test_pixels_see_colours_and_silhouettes_do_not(blob):
    red, blue = (chosen(blob(color=color), [0]) for color in ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0)))
    assert torch.equal(silhouettes(red), silhouettes(blue))
    area = float(red.alpha.sum())
    assert float((pixels(red) - pixels(blue)).square().sum()) == pytest.approx(2 * area)


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_squared_distance_of_features_is_lpips(net):
    torch.manual_seed(0)
    network, rgb = Lpips(net).requires_grad_(False), torch.rand(2, 40, 40, 3)
    first, second = (one(each[None], torch.ones(1, 40, 40)) for each in rgb)
    describe = features(network)
    distance = float((describe(first) - describe(second)).square().sum())
    assert distance == pytest.approx(float(network(rgb[:1], rgb[1:])), rel=1e-4)


def test_recolouring_gives_mean_and_deviation():
    generator = torch.Generator().manual_seed(0)
    alpha = (torch.rand(1, 16, 16, generator=generator) > 0.4).float()
    reference = one(torch.rand(1, 16, 16, 3, generator=generator), alpha)
    given = one(0.4 + 0.2 * torch.rand(1, 16, 16, 3, generator=generator), alpha.flip(1))
    found = recoloured(reference, reference, given)
    inside = found.rgb[alpha > 0]
    wanted = given.rgb[given.alpha > 0]
    assert torch.allclose(inside.mean(0), wanted.mean(0), atol=1e-5)
    assert torch.allclose(inside.std(0, correction=0), wanted.std(0, correction=0), atol=FLAT)
    assert torch.equal(found.alpha, reference.alpha)


def test_recolouring_never_raises_contrast():
    alpha = torch.ones(1, 16, 16)
    flat = one(0.5 + 0.1 * torch.rand(1, 16, 16, 3), alpha)
    found = recoloured(flat, flat, one((torch.rand(1, 16, 16, 3) > 0.5).float(), alpha))
    assert torch.allclose(found.rgb.std(dim=(1, 2)), flat.rgb.std(dim=(1, 2)), atol=1e-5)


def test_an_object_that_is_not_seen_is_white():
    hidden = one(torch.zeros(1, 16, 16, 3), torch.zeros(1, 16, 16))
    found = recoloured(one(torch.full((1, 16, 16, 3), 0.3), torch.ones(1, 16, 16)), hidden, hidden)
    assert found.rgb.isfinite().all()


def test_means_of_answers():
    answers = [Predicted(torch.full((2, 4, 4, 3), value), torch.full((2, 4, 4), value)) for value in (0.25, 0.75)]
    mean = mean_answer(answers)
    assert torch.equal(mean.rgb, torch.full((2, 4, 4, 3), 0.5))
    assert torch.equal(mean.alpha, torch.full((2, 4, 4), 0.5))
