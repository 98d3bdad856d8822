"""Answers that nobody has to learn."""

import pytest
import torch

from gen3d.pipeline.evaluation import baselines
from gen3d.pipeline.evaluation.baselines import (
    build_copy,
    build_mean,
    build_nearest_lpips,
    build_nearest_pixels,
    build_nearest_silhouette,
    build_several_silhouettes,
    build_white,
    copy,
    from_behind,
)
from gen3d.pipeline.evaluation.objects_protocol import Question, over_white, question_of
from gen3d.pipeline.objects.views import ObjectViews, object_cameras
from gen3d.priors.perceptual import Lpips

COLORS = [(0.2 + 0.08 * i, 0.4, 1.0 - 0.1 * i) for i in range(10)]  # another one in every view


def lopsided(size=16):
    """A given view whose left half is covered, and the views that are asked for."""
    alpha = torch.zeros(1, size, size)
    alpha[:, :, : size // 2] = 1
    angles = ([45.0, 90.0, 135.0, 180.0, 225.0, 270.0, 315.0, 0.0, 180.0], [20.0] * 7 + [60.0, 60.0])
    given = ObjectViews(object_cameras([0.0], [20.0], size), 0.5 * alpha[..., None].repeat(1, 1, 1, 3), alpha)
    return Question(given, object_cameras(*angles, size))


def test_copies_are_mirrored_in_views_from_behind():
    question = lopsided()
    answer = copy(question)
    mirrored = [False, False, True, True, True, False, False, False, True]
    assert from_behind(question.given.cameras, question.targets).tolist() == mirrored
    for view, is_mirrored in enumerate(mirrored):
        left, right = answer.alpha[view, 0, 0], answer.alpha[view, 0, -1]
        assert (float(left), float(right)) == ((0.0, 1.0) if is_mirrored else (1.0, 0.0))
        assert float(answer.rgb[view, 0, 0 if is_mirrored else -1, 0]) == 1.0
        assert float(answer.rgb[view, 0, -1 if is_mirrored else 0, 0]) == 0.5


def test_a_turned_input_is_copied_alike():
    question = lopsided()
    turned = Question(
        ObjectViews(object_cameras([100.0], [0.0], 16), question.given.rgb, question.given.alpha), object_cameras([280.0, 90.0], [0, 0], 16)
    )
    assert from_behind(turned.given.cameras, turned.targets).tolist() == [True, False]


def test_white_and_mean(make_set, bench_of, blob, protocol):
    first, second = blob(color=(0.0, 0.0, 0.0)), blob(color=(0.4, 0.4, 0.4), width=3.0)
    bench = bench_of(make_set("train", {"a": first, "b": second}))
    question = question_of(blob(), protocol)
    white = build_white(bench).answer(question)
    assert (float(white.rgb.min()), float(white.alpha.max()), tuple(white.rgb.shape)) == (1.0, 0.0, (9, 24, 24, 3))
    mean = build_mean(bench).answer(question)
    assert torch.allclose(mean.rgb[:, 12, 12], torch.full((9, 3), 0.2), atol=1e-6)
    assert torch.allclose(mean.alpha, ((first.alpha + second.alpha) / 2)[1:])


@pytest.mark.parametrize("build", [build_nearest_pixels, build_nearest_silhouette, build_nearest_lpips])
def test_the_planted_twin_is_found(build, make_set, bench_of, blob, protocol, monkeypatch):
    torch.manual_seed(0)
    network = Lpips("vgg").requires_grad_(False)  # takes pictures of 24 pixels
    monkeypatch.setattr(baselines, "load_lpips", lambda net: network)
    others = {f"o{i}": blob(width=2.0 + i, height=11.0 - i, color=(0.1 * i, 0.5, 0.3)) for i in range(6)}
    twin = blob(width=7.5, height=5.0, colors=COLORS)
    bench = bench_of(make_set("train", {**others, "twin": twin}))
    answer = build(bench).answer(question_of(twin, protocol))
    truth = over_white(twin)
    assert torch.allclose(answer.rgb, truth.rgb[1:], atol=0.51 / 255)
    assert torch.equal(answer.alpha, truth.alpha[1:])


def test_a_twin_of_another_colour_is_recoloured(make_set, bench_of, blob, protocol):
    others = {f"o{i}": blob(width=2.0 + i, height=11.0 - i) for i in range(4)}
    bench = bench_of(make_set("train", {**others, "twin": blob(width=8.5, height=5.0, color=(0.8, 0.8, 0.8))}))
    asked = blob(width=8.5, height=5.0, color=(0.1, 0.5, 0.3))
    answer = build_nearest_silhouette(bench).answer(question_of(asked, protocol))
    assert torch.allclose(answer.rgb, over_white(asked).rgb[1:], atol=1 / 255)


def test_four_nearest_are_averaged(make_set, bench_of, blob, protocol):
    near = {f"n{i}": blob(width=5.0 + i, height=5.0) for i in range(4)}
    far = {f"far{i}": blob(width=2.0, height=11.0 - i / 2) for i in range(3)}
    bench = bench_of(make_set("train", {**near, **far}))
    answer = build_several_silhouettes(bench).answer(question_of(blob(width=6.4, height=5.0), protocol))
    assert torch.allclose(answer.alpha, torch.stack([each.alpha for each in near.values()]).mean(0)[1:])


def test_copy_needs_no_training_objects(bench_of, blob, protocol):
    def never():
        raise AssertionError("the training objects were asked for")

    bench = bench_of(None)
    object.__setattr__(bench, "training_set", never)
    views = blob()
    for build in (build_copy, build_white):
        assert build(bench).answer(question_of(views, protocol)).rgb.shape == (9, 24, 24, 3)
