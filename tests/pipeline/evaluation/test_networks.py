"""Networks as methods: what they are shown, what they answer, and that seeds alone decide."""

from dataclasses import replace

import pytest
import torch

from gen3d.errors import BadInput, MissingWeights
from gen3d.pipeline.evaluation.networks import BestOf, build_best_of, build_one_step, build_reconstruction, build_sampled
from gen3d.pipeline.evaluation.objects_protocol import over_white, question_of
from gen3d.priors.multiview.network import MultiviewNetwork
from gen3d.priors.multiview.settings import MultiviewSettings
from gen3d.priors.multiview.weights import save_network


@pytest.fixture
def weights(tmp_path, protocol):
    torch.manual_seed(0)
    network = MultiviewNetwork(MultiviewSettings(size=protocol.size, patch=3, channels=(16, 32), groups=8, layers=2))
    torch.nn.init.normal_(network.unet.conv_out.weight, std=0.3)
    save_network(network, tmp_path / "w.safetensors", bits=16)
    return str(tmp_path / "w.safetensors")


@pytest.fixture
def bench(bench_of, weights):
    return bench_of(None, weights=weights, steps=2)


def test_one_step_sees_the_given_view_and_no_other(bench, blob, protocol):
    views = blob()
    answer = build_one_step(bench).answer(question_of(views, protocol))
    assert answer.rgb.shape == (len(protocol.targets), protocol.size, protocol.size, 3)
    assert answer.alpha.shape == answer.rgb.shape[:3]
    darker = replace(views, rgb=torch.cat([views.rgb[:1], views.rgb[1:] / 2]))
    assert torch.equal(build_one_step(bench).answer(question_of(darker, protocol)).rgb, answer.rgb)
    brighter = replace(views, rgb=torch.cat([views.rgb[:1] / 2, views.rgb[1:]]))
    assert not torch.equal(build_one_step(bench).answer(question_of(brighter, protocol)).rgb, answer.rgb)


def test_samples_follow_their_seed(bench, blob, protocol):
    question = question_of(blob(), protocol)
    first = build_sampled(bench).answer(question).rgb
    other = build_sampled(replace(bench, settings=replace(bench.settings, seed=1))).answer(question).rgb
    assert torch.equal(build_sampled(bench).answer(question).rgb, first)
    assert not torch.equal(first, other)
    facts = build_sampled(bench).facts
    assert (facts["weights"]["name"], len(facts["weights"]["sha256"])) == ("w.safetensors", 64)
    assert {name: facts[name] for name in ("solver", "steps", "seed")} == {"solver": "ghvb", "steps": 2, "seed": 0}
    assert build_best_of(bench).facts == {**facts, "tries": 4}
    assert build_reconstruction(bench).facts == build_one_step(bench).facts == {"weights": facts["weights"]}


def test_the_best_sample_is_no_worse_than_any(bench, blob, protocol):
    views = blob()
    question, truth = question_of(views, protocol), over_white(views).rgb[list(protocol.targets)]

    def error(answer):
        return float((answer.rgb.clamp(0, 1) - truth).square().mean())

    best = build_best_of(bench).answer
    found = error(best(question, views))
    alone = [error(BestOf(best.method, (seed,))(question, views)) for seed in best.seeds]
    assert found == pytest.approx(min(alone))
    assert max(alone) > min(alone)


def test_four_views_are_shown_to_the_reconstruction(bench, blob, protocol):
    views = blob()
    question = question_of(views, protocol)
    first = build_reconstruction(bench).answer(question, views).rgb
    for number, seen in ((4, True), (3, False)):
        rgb = views.rgb.clone()
        rgb[number] /= 2
        again = build_reconstruction(bench).answer(question, replace(views, rgb=rgb)).rgb
        assert torch.equal(again, first) is not seen


def test_networks_of_another_size_and_none_at_all(bench, protocol, monkeypatch):
    with pytest.raises(BadInput, match=rf"takes pictures of {protocol.size} pixels and is asked for 64; say --size {protocol.size}"):
        build_one_step(replace(bench, protocol=replace(protocol, size=64)))
    monkeypatch.setattr("gen3d.priors.multiview.shipped.SHIPPED", "absent.safetensors")
    with pytest.raises(MissingWeights, match="train one with gen3d train dsplats"):
        build_one_step(replace(bench, settings=replace(bench.settings, weights="")))
