"""Fields of distances, and the networks that make them and what follows from them."""

from dataclasses import replace

import pytest
import torch
from nets import TINY, awake, told

from gen3d.errors import BadInput, UsageError
from gen3d.priors.multiview.weights import load_network as load_multiview
from gen3d.priors.told import Told
from gen3d.priors.volume.blocks import Attention, Convolution, folded, unfolded
from gen3d.priors.volume.field import FARTHEST, distance_field
from gen3d.priors.volume.network import VolumeNetwork
from gen3d.priors.volume.settings import VolumeNetworkSettings
from gen3d.priors.volume.volume import OFFSET, OPACITY, GaussianVolume, nodes
from gen3d.priors.volume.weights import load_network, save_network


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("cells", [2, 3, 4])
def test_gradients_in_half_precision_are_those_in_full_on_few_cells(cells, stride):
    torch.manual_seed(0)
    layer, x, found = Convolution(16, 16, 3, stride=stride, padding=1), torch.randn(2, 16, *[cells] * 3), []
    for half in (False, True):
        left = [torch.full((16 * 16 * 27 * parts // 4,), torch.nan, dtype=torch.bfloat16) for parts in (1, 2, 3, 4)]
        del left  # memory that is used again is no zeros
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            y = layer(x)
        found.append(torch.autograd.grad(y.float().square().sum(), layer.weight)[0])
    assert (found[0] - found[1]).abs().max() < 0.05 * found[0].abs().max()


def test_words_are_attended_to_as_the_fused_kernel_would():
    torch.manual_seed(0)
    layer, mask = Attention(16, 8, 12, 4), torch.tensor([[1, 1, 0], [1, 0, 0]]).bool()[:, None, None]
    query, keys, values = torch.randn(2, 27, 16), torch.randn(2, 3, 16), torch.randn(2, 3, 16)
    split = [each.unflatten(-1, (2, 8)).transpose(1, 2) for each in (query, keys, values)]
    fused = torch.nn.functional.scaled_dot_product_attention(*split, attn_mask=mask)
    assert torch.allclose(layer._told(query, keys, values, mask), fused.transpose(1, 2).flatten(2), atol=1e-6)


def test_distances_are_those_to_the_nearest_splat():
    values = torch.zeros(14, 5, 5, 5)
    values[OPACITY] = -7.0
    values[OPACITY, 2, 2, 2] = 1.0
    values[OFFSET, 2, 2, 2] = torch.tensor([0.1, 0.0, 0.0])
    field = distance_field(GaussianVolume(values))
    away = (nodes(5) - torch.tensor([0.1, 0.0, 0.0])).norm(dim=-1).reshape(5, 5, 5).clamp(max=FARTHEST)
    assert torch.allclose(field[0], 2 * away / FARTHEST - 1)
    assert field[0, 2, 2, 2] == pytest.approx(1 / 3, abs=1e-5)
    assert (distance_field(GaussianVolume(torch.full((14, 5, 5, 5), -7.0))) == 1).all()


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_folding_is_undone(patch):
    x = torch.randn(2, 3, 8, 8, 8)
    cells = folded(x, patch)
    assert cells.shape == (2, 3 * patch**3, 8 // patch, 8 // patch, 8 // patch)
    assert torch.equal(unfolded(cells, patch), x)
    moved = folded(x.roll(patch, 3), patch)
    assert torch.equal(moved, cells.roll(1, 3))  # a cell's nodes are neighbours


@pytest.mark.parametrize("shape", [{}, {"patch": 1, "depth": 2}, {"channels": (16,), "attention": 0}])
def test_networks_begin_silent_and_reach_every_weight(shape):
    net = VolumeNetwork(replace(TINY, **shape), 1, 13)
    x, times = torch.randn(2, 1, 8, 8, 8), torch.tensor([0.2, 0.9])
    assert net(x, times, told(2)).shape == (2, 13, 8, 8, 8)
    assert not net(x, times, told(2)).any()
    awake(net)(x, times, told(2)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert {name for name, parameter in net.named_parameters() if not parameter.grad.any()} <= {"absent"}


def test_times_words_and_neighbours_count():
    net = awake(VolumeNetwork(TINY, 1, 2))
    x, times = torch.randn(1, 1, 8, 8, 8), torch.tensor([0.5])
    with torch.no_grad():
        plain = net(x, times, told(1))
        assert not torch.allclose(plain, net(x, times + 0.3, told(1)))
        assert not torch.allclose(plain, net(x, times, told(1, seed=1)))
        assert not torch.allclose(plain, net(x, times))
        far = x.clone()
        far[0, 0, 0, 0, 0] += 3
        assert float((net(far, times, told(1)) - plain)[0, :, 7, 7, 7].abs().max()) > 1e-4
        hidden = replace(told(2), tokens=torch.where(told(2).mask[..., None], told(2).tokens, 9.0))
        many = x.expand(2, -1, -1, -1, -1)
        both = net(many, times.expand(2), hidden)
        assert torch.allclose(both, net(many, times.expand(2), told(2)), atol=1e-5)  # what is masked is not read
        second = Told(told(2).tokens[1:, :3], told(2).mask[1:, :3], told(2).pooled[1:])
        assert torch.allclose(both[1:], net(x, times, second), atol=1e-4)
    with pytest.raises(ValueError, match="the network has times and none are given"):
        net(x)
    assert awake(VolumeNetwork(TINY, 1, 2, "none"))(x, None, told(1)).shape == (1, 2, 8, 8, 8)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 10, "channels": (16, 32, 32)}, "do not halve 2 times"),
        ({"attention": 3}, "attention is 3"),
        ({"channels": ()}, "give one width for each level"),
        ({"head": 7}, "which heads must divide"),
    ],
)
def test_shapes_that_cannot_be_are_told(change, words):
    with pytest.raises(UsageError, match=words):
        replace(TINY, **change)


def test_without_attention_heads_divide_nothing():
    assert replace(TINY, attention=0, head=7).attention == 0


def test_the_sizes_are_known():
    nano = VolumeNetwork(VolumeNetworkSettings(), 1, 13)
    assert 3e6 < sum(parameter.numel() for parameter in nano.parameters()) < 6e6


@pytest.mark.parametrize("kind", ["x0", "none"])
def test_a_network_comes_back(tmp_path, kind):
    net = awake(VolumeNetwork(TINY, 2, 13, kind))
    net.mean.uniform_()
    save_network(net, tmp_path / "net.safetensors", bits=16)
    again = load_network(tmp_path / "net.safetensors")
    assert (again.settings, again.inputs, again.outputs, again.kind) == (TINY, 2, 13, kind)
    x, times = torch.randn(2, 2, 8, 8, 8), torch.tensor([0.1, 0.7])
    with torch.no_grad():
        assert torch.allclose(again(x, times, told(2)), net(x, times, told(2)), atol=0.02)
    assert torch.allclose(again.statistics.mean, net.mean, atol=1e-3)
    save_network(net, tmp_path / "small.safetensors")
    assert (tmp_path / "small.safetensors").stat().st_size < 0.6 * (tmp_path / "net.safetensors").stat().st_size
    with pytest.raises(BadInput, match="holds gen3d-volume-1 and gen3d-multiview-1 is read"):
        load_multiview(tmp_path / "net.safetensors")
