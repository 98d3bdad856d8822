"""The weights of the blend are chosen on training objects that are held out, and on nothing else."""

import pytest
import torch

from gen3d.errors import UsageError
from gen3d.pipeline.evaluation import baselines
from gen3d.pipeline.evaluation.blending import blended, build_blend, choose_weights, scores_of_blends
from gen3d.pipeline.evaluation.objects_protocol import Predicted, question_of
from gen3d.pipeline.objects.holdout import held_out, in_any_order, split_off

PLAIN, OTHER = (0.2, 0.4, 0.6), (0.6, 0.2, 0.2)


def flat(value):
    return Predicted(torch.full((2, 4, 4, 3), value), torch.full((2, 4, 4), value))


def test_weights_are_tried_in_steps():
    scores = scores_of_blends(flat(1.0), flat(0.0), flat(0.25))
    assert scores.shape == (21, 2)
    assert scores.argmax(0).tolist() == [5, 5]
    assert float(scores[0, 0]) == pytest.approx(12.0412, abs=1e-4)  # an error of 1 / 4


def test_blends_have_a_weight_for_each_view():
    found = blended(flat(1.0), flat(0.0), [0.25, 1.0])
    assert found.rgb[:, 0, 0, 0].tolist() == [0.25, 1.0]
    assert found.alpha[:, 0, 0].tolist() == [0.25, 1.0]


@pytest.fixture
def training(make_set, blob):
    """Objects that look the same from everywhere, but for one view, in which the copy is wrong and others of its kind are right."""

    def make(changed, names=None):
        colors = [PLAIN] * 10
        colors[changed] = OTHER
        objects = {f"o{i}={names or i}": blob(width=5.0 + i / 10, height=6.0, colors=colors) for i in range(8)}
        return make_set(f"train{changed}{names}", objects)

    return make


def test_the_weights_are_those_that_suit_the_hold_out(training, bench_of):
    weights = choose_weights(bench_of(training(3)))
    assert len(weights) == 9
    assert weights[2] < 0.15  # the third view that is asked for is number 3
    assert all(weight > 0.5 for weight in weights[:2] + weights[3:])


def test_test_objects_have_no_say(training, bench_of, blob, protocol):
    bench = bench_of(training(3))
    entrant = build_blend(bench)
    before = entrant.facts["share of the copy"]
    question = question_of(blob(width=5.2, height=6.0, color=(1.0, 0.0, 0.0)), protocol)
    first = entrant.answer(question)
    assert torch.equal(entrant.answer(question).rgb, first.rgb)
    assert build_blend(bench).facts["share of the copy"] == before == choose_weights(bench)


def test_only_training_objects_that_are_not_held_out_answer(training, bench_of, monkeypatch):
    objects, seen = training(3), []
    bench = bench_of(objects, 3)
    answering = baselines.Retrieval.__call__

    def watched(self, question, allowed=None):
        seen.append({record.id for record, here in zip(objects.records, allowed, strict=True) if here})
        return answering(self, question, allowed)

    monkeypatch.setattr(baselines.Retrieval, "__call__", watched)
    choose_weights(bench)
    free, kept = (set(each.id for each in part.records) for part in split_off(objects, 3))
    assert len(kept) == 3
    assert seen == [free] * 3


def test_objects_of_the_same_name_do_not_answer(training, bench_of):
    with pytest.raises(UsageError, match="holdout is 2 and leaves none of 8 training objects; lower it"):
        choose_weights(bench_of(training(3, names="rock")))


def test_a_hold_out_that_takes_all(training, bench_of):
    with pytest.raises(UsageError, match="holdout is 8 and leaves none"):
        choose_weights(bench_of(training(3), 8))


def test_any_order_does_not_depend_on_the_order_before():
    many = [f"thing {number}" for number in range(9)]
    assert in_any_order(many) == in_any_order(reversed(many)) != many
    assert held_out(many, 3) == set(in_any_order(many)[:3])
