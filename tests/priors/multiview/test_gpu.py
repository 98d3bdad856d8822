"""Multiview networks on a GPU: what the CPU computes, and a step of training through gsplat."""

import pytest
import torch
from scenes import TINY, some_views

from gen3d.priors.multiview.network import MultiviewNetwork
from gen3d.priors.multiview.views import draw, to_pictures

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.fixture
def network():
    torch.manual_seed(0)
    made = MultiviewNetwork(TINY)
    torch.nn.init.normal_(made.unet.conv_out.weight, std=0.1)
    return made


def moved(views):
    return type(views)(*(getattr(views, name).to("cuda") for name in ("pictures", "alpha", "given", "times", "cameras")))


def test_splats_and_renders_are_those_of_the_cpu(network):
    views = some_views(2, 4)
    with torch.no_grad():
        here = network(views)
        there = network.to("cuda")(moved(views))
        assert torch.allclose(here.means, there.means.cpu(), atol=1e-3)
        seen = [to_pictures(draw(splats, each.cameras)).cpu() for splats, each in ((here, views), (there, moved(views)))]
    assert torch.allclose(*seen, atol=2e-2)


def test_gradients_come_back_through_gsplat(network):
    pytest.importorskip("gsplat")
    network.to("cuda")
    views = moved(some_views(2, 4))
    (to_pictures(draw(network(views), views.cameras)) - views.pictures).square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())
    assert float(network.unet.conv_in.weight.grad.abs().max()) > 0
