"""Splats from given views, in one step and by sampling."""

from dataclasses import replace

import pytest
import torch
from scenes import TINY, ring, some_views

from gen3d.priors.multiview.denoiser import PATH, SplatDenoiser, ViewGuidance
from gen3d.priors.multiview.generate import generate, reconstruct
from gen3d.priors.multiview.network import MultiviewNetwork
from gen3d.priors.multiview.pretrained import Model
from gen3d.priors.multiview.views import GivenViews, around, beside
from gen3d.priors.samplers.driver import per_sample
from gen3d.priors.samplers.guidance import CFG
from gen3d.priors.samplers.solvers.exponential import DDIM


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    made = MultiviewNetwork(TINY)
    torch.nn.init.normal_(made.unet.conv_out.weight, std=0.3)
    return Model(made.eval())


def given(objects, views):
    some = some_views(objects, max(views, 1), given=views)
    cameras = replace(some.cameras, world_to_camera=some.cameras.world_to_camera[:, :views], intrinsics=some.cameras.intrinsics[:, :views])
    return GivenViews(some.pictures[:, :views], some.alpha[:, :views], cameras)


def missing(objects, count=3):
    return around(ring(objects, 1), count, elevation=20.0, distance=1.25, fov=49.1)


def test_missing_views_stand_evenly_around():
    both, whole = beside(ring(1, 1), missing(1)), ring(1, 4)
    assert torch.allclose(both.world_to_camera, whole.world_to_camera, atol=1e-5)
    assert torch.allclose(both.intrinsics, whole.intrinsics)


def test_one_step_has_splats_of_the_given_views_only(network):
    with torch.no_grad():
        assert reconstruct(network, given(2, 1)).count == 64 * TINY.layers
        assert reconstruct(network, given(2, 3)).count == 3 * 64 * TINY.layers


@pytest.mark.parametrize("views", [0, 1, 2])
def test_sampling_takes_any_number_of_given_views(network, views):
    with torch.no_grad():
        result = generate(network, given(2, views), missing(2), per_sample([1, 2]), steps=3)
    assert result.evaluations == 3
    assert result.x.shape == (2, views + 3, 3, 16, 16)
    assert result.prediction.aux.count == (views + 3) * 64 * TINY.layers


def test_guidance_leads_away_from_what_is_made_without_the_given_views(network):
    views, c = some_views(1, 4, given=1), PATH(0.6)
    x = torch.randn(views.pictures.shape, generator=torch.Generator().manual_seed(0))
    denoiser = SplatDenoiser(network.network, views.cameras, views.given, views.pictures, views.alpha)
    with torch.no_grad():
        told, untold = denoiser(x, c), replace(denoiser, given=torch.zeros_like(views.given))(x, c)
        guided, plain = (ViewGuidance(denoiser, scale)(x, c) for scale in (2.5, 1.0))
    assert not torch.allclose(told.x0[:, 1:], untold.x0[:, 1:], atol=1e-3)
    assert torch.equal(plain.x0, told.x0)
    assert torch.equal(guided.x0[:, 0], views.pictures[:, 0])
    assert torch.allclose(guided.x0[:, 1:], untold.x0[:, 1:] + 2.5 * (told.x0 - untold.x0)[:, 1:], atol=1e-5)
    assert torch.allclose(c.alpha * guided.x0 + c.sigma * guided.eps, x, atol=1e-4)
    assert torch.equal(guided.aux.means, told.aux.means)


def test_seeds_make_a_difference_and_batches_none(network):
    with torch.no_grad():
        both = generate(network, given(2, 1), missing(2), per_sample([1, 2]), steps=2).prediction.aux.means
        same = replace(given(2, 1), pictures=given(2, 1).pictures[:1], alpha=given(2, 1).alpha[:1], cameras=ring(1, 1))
        alone = generate(network, same, missing(1), per_sample([1]), steps=2).prediction.aux.means
        other = generate(network, same, missing(1), per_sample([3]), steps=2).prediction.aux.means
    assert torch.allclose(both[:1], alone, atol=1e-4)
    assert not torch.allclose(alone, other, atol=1e-3)


def test_guidance_and_solvers_are_those_of_the_samplers(network):
    tokens = torch.randn(1, 2, TINY.text, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = generate(network, given(1, 1), missing(1), per_sample([1]), tokens, steps=2, solver=DDIM())
        guided = generate(network, given(1, 1), missing(1), per_sample([1]), tokens, steps=2, solver=DDIM(), guided=lambda d: CFG(d, 3.0))
    assert plain.evaluations == guided.evaluations == 2
    assert not torch.equal(plain.x, guided.x)
