"""The network: views share attention, any partition is taken, and one view of it is a plain U-Net."""

from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DConditionModel
from scenes import TINY, ring, some_views

from gen3d.errors import UsageError
from gen3d.priors.multiview.attention import MultiviewProcessor
from gen3d.priors.multiview.denoiser import SplatDenoiser
from gen3d.priors.multiview.network import MultiviewNetwork
from gen3d.priors.multiview.settings import MultiviewSettings
from gen3d.priors.multiview.views import draw, to_pictures
from gen3d.priors.samplers.driver import sample
from gen3d.priors.samplers.grids import angular, karras
from gen3d.priors.samplers.paths import EDM, Cosine
from gen3d.priors.samplers.solvers.exponential import DPMSolver

STABLE = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 16,
    "attention_head_dim": 4,
    "norm_num_groups": 16,
}


def network(seed=0, settings=TINY):
    """A network whose last layer is not zero, so that something comes out of it."""
    torch.manual_seed(seed)
    made = MultiviewNetwork(settings)
    torch.nn.init.normal_(made.unet.conv_out.weight, std=0.1)
    return made.eval()


def test_one_view_is_the_plain_network():
    torch.manual_seed(0)
    unet = UNet2DConditionModel(**STABLE).eval()
    x, times, tokens = torch.randn(3, 4, 8, 8), torch.tensor([3.0, 500.0, 999.0]), torch.randn(3, 5, 16)
    with torch.no_grad():
        plain = unet(x, times, tokens).sample
        unet.set_attn_processor(MultiviewProcessor())
        assert torch.allclose(unet(x, times, tokens).sample, plain, atol=1e-5)
        alone = unet(x, times, tokens, cross_attention_kwargs={"views": 1}).sample
        together = unet(x, times, tokens, cross_attention_kwargs={"views": 3}).sample
    assert torch.allclose(alone, plain, atol=1e-5)
    assert not torch.allclose(together, plain, atol=1e-3)


def test_views_in_another_order_are_splats_in_another_order():
    net, views = network(), some_views(2, 3, given=2)
    order = torch.tensor([2, 0, 1])
    turned = replace(
        views,
        pictures=views.pictures[:, order],
        alpha=views.alpha[:, order],
        given=views.given[:, order],
        times=views.times[:, order],
        cameras=views.cameras.select(order),
    )
    with torch.no_grad():
        plain, other = (net(each).means.unflatten(1, (3, -1)) for each in (views, turned))
    assert torch.allclose(plain[:, order], other, atol=1e-5)


def test_objects_of_a_batch_do_not_see_each_other_and_views_do():
    net, views = network(), some_views(2, 2)
    changed = replace(views, pictures=torch.cat([views.pictures[:1], views.pictures[1:].flip(1)]))
    with torch.no_grad():
        plain, other = net(views), net(changed)
    assert torch.allclose(plain.means[0], other.means[0], atol=1e-6)
    hidden = views.pictures.clone()
    hidden[:, 1] = 0.3
    with torch.no_grad():
        moved = net(replace(views, pictures=hidden)).means.unflatten(1, (2, -1))
    assert not torch.allclose(moved[:, 0], plain.means.unflatten(1, (2, -1))[:, 0], atol=1e-6)


def test_what_is_not_given_has_no_opacity_and_its_own_time():
    net, views = network(), some_views(1, 2)
    with torch.no_grad():
        plain = net(views)
        other = views.alpha.clone()
        other[:, 1] = 1 - other[:, 1]
        assert torch.equal(net(replace(views, alpha=other)).means, plain.means)
        times = views.times.clone()
        times[:, 0] = 0.1  # of the given view, which has none
        assert torch.equal(net(replace(views, times=times)).means, plain.means)
        assert not torch.equal(net(replace(views, times=views.times / 2)).means, plain.means)


def test_a_condition_is_read_and_its_absence_learned():
    net, views = network(), some_views(1, 2, given=0)
    tokens = torch.randn(1, 3, TINY.text)
    with torch.no_grad():
        assert not torch.equal(net(views, tokens).means, net(views).means)
    net(views).means.sum().backward()
    assert net.absent.grad is not None


@pytest.mark.parametrize("given", [0, 1, 3, 4])
def test_given_views_come_out_as_they_are(given):
    views = some_views(2, 4, given=given)
    denoiser = SplatDenoiser(network(), views.cameras, views.given, views.pictures, views.alpha)
    grid = angular(Cosine(), 3)  # the last step of this solver leads to what is predicted
    with torch.no_grad():
        result = sample(denoiser, DPMSolver(2), grid, torch.randn_like(views.pictures))
    assert torch.allclose(result.x[:, :given], views.pictures[:, :given], atol=1e-5)
    splats = result.prediction.aux
    assert splats.count == 4 * 64 * TINY.layers
    assert torch.allclose(result.x[:, given:], to_pictures(draw(splats, views.cameras))[:, given:], atol=1e-5)


def test_every_path_gives_the_same():
    views = some_views(1, 3)
    denoiser = SplatDenoiser(network(), views.cameras, views.given, views.pictures, views.alpha)
    noise = torch.randn(1, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        results = []
        for path in (Cosine(), EDM()):
            grid = karras(path, 4, sb_max=10.0, sb_min=0.1)
            results.append(sample(denoiser, DPMSolver(2), grid, noise * grid.coefs[0].spread).x)
    assert torch.allclose(*results, atol=1e-3)


def test_splats_learn_what_they_are_shown():
    """A few steps on one object bring its views closer."""
    net, views = network(), some_views(1, 1, size=16)
    cameras, wanted = ring(1, 3), torch.full((1, 3, 3, 16, 16), -0.5)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        loss = (to_pictures(draw(net(views), cameras)) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_settings_that_do_not_fit_are_told():
    with pytest.raises(UsageError, match="do not halve 2 times"):
        MultiviewSettings(size=20)
    with pytest.raises(UsageError, match="groups or 4 heads do not divide"):
        MultiviewSettings(channels=(30, 60, 120))
    for channels in ((), (64, 0), (1e3,), "wide"):
        with pytest.raises(UsageError, match="give one width for each level, from 1 to 8192"):
            MultiviewSettings(channels=channels)
    assert MultiviewSettings(channels=64).channels == (64,)
