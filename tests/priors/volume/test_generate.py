"""From sentences to volumes, with networks that have learned nothing but what is normal."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from nets import TINY, awake, told

from gen3d.priors.samplers.driver import per_sample
from gen3d.priors.samplers.solvers.exponential import DDIM
from gen3d.priors.told import Told
from gen3d.priors.volume.generate import Sampling, TextModel, attributes_of, generate, sample_field
from gen3d.priors.volume.interpolate import End, interpolated, slerp
from gen3d.priors.volume.network import VolumeNetwork


def model(kind="none"):
    torch.manual_seed(0)
    field, attributes = VolumeNetwork(TINY, 1, 1, "v"), VolumeNetwork(TINY, 1 if kind == "none" else 14, 13, kind)
    for net in (field, attributes):
        awake(net)
        net.std.fill_(0.5)
    attributes.mean.copy_(torch.tensor([*(0.0,) * 6, *(-4.0,) * 3, *(0.0,) * 4]))

    def words(sentences):
        part = told(2)
        numbers = [len(each) % 2 for each in sentences]
        return Told(part.tokens[numbers], part.mask[numbers], part.pooled[numbers])

    return TextModel(field, attributes, words)


@pytest.mark.parametrize("kind", ["none", "v", "flow"])
@torch.no_grad()
def test_volumes_follow_seeds_and_sentences_alone(kind):
    made, sampling = model(kind), Sampling(steps=3)

    def values(sentences, seeds):
        return generate(made, made.told(sentences), per_sample(seeds), len(seeds), sampling).values

    both = values(["a", "bb"], [1, 2])
    assert both.shape == (2, 14, 8, 8, 8)
    assert torch.allclose(values(["bb"], [2])[0], both[1], atol=1e-4)
    assert not torch.allclose(values(["bb"], [3])[0], both[1], atol=1e-2)
    assert not torch.allclose(values(["a"], [2])[0], both[1], atol=1e-2)


@torch.no_grad()
def test_guidance_and_solvers_count():
    net, start = model().field, torch.randn(1, 1, 8, 8, 8)
    one = told(1)
    plain, guided = (sample_field(net, one, start, Sampling(steps=3, guidance=scale)) for scale in (1.0, 5.0))
    assert not torch.allclose(plain, guided)
    assert not torch.allclose(plain, sample_field(net, one, start, Sampling(steps=3, guidance=1.0, solver=DDIM())))
    nothing = [sample_field(net, None, start, Sampling(steps=3, guidance=scale)) for scale in (1.0, 5.0)]
    assert torch.equal(*nothing)
    assert float(plain.abs().max()) <= 1


@torch.no_grad()
def test_means_need_no_noise_and_samples_do():
    field = torch.rand(1, 1, 8, 8, 8)
    for kind, same in (("none", True), ("v", False)):
        found = [attributes_of(model(kind).attributes, field, told(1), per_sample([seed]), Sampling(steps=2)).values for seed in (0, 1)]
        assert torch.allclose(*found) is same


def test_what_is_sampled_is_told_by_the_kind():
    with pytest.raises(ValueError, match="the kind of prediction is 'eps'; choose one of x0, v, flow, none"):
        VolumeNetwork(replace(TINY, text=3), 1, 1, "eps")


@pytest.mark.parametrize("kind", ["none", "v"])
@torch.no_grad()
def test_between_two_objects(kind):
    made, sampling = model(kind), Sampling(steps=3)
    ends = (End(made.told(["a"]), 1), End(made.told(["bb"]), 2))
    values = [interpolated(made, ends, share, sampling).values for share in (0.0, 0.01, 0.5, 0.99, 1.0)]
    alone = [generate(made, end.told, per_sample([end.seed]), 1, sampling).values for end in ends]
    assert torch.equal(values[0], alone[0])
    assert torch.equal(values[-1], alone[1])
    apart = [(one - other).abs().mean() for one, other in pairwise(values)]
    assert max(apart[0], apart[-1]) < 0.2 * min(apart[1:-1])


def test_noise_stays_noise_on_the_way():
    first, second = torch.randn(2, 1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    for share in (0.2, 0.5, 0.9):
        assert float(slerp(first, second, share).std()) == pytest.approx(1, abs=0.03)
    assert torch.equal(slerp(first, second, 0.0), first)
    assert torch.equal(slerp(first, second, 1.0), second)
