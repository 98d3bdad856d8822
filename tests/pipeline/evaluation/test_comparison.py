"""Means, standard errors and paired margins against hand-computed values."""

import pytest

from gen3d.pipeline.evaluation.comparison import Mean, MethodScores, best_of, margins, mean_of, means, share_of_gap, tiers_of
from gen3d.pipeline.evaluation.object_scores import ObjectScores


def method(name, *values, tiers=("scan", "scan", "lowpoly", "other"), lpips=None):
    figures = [{"psnr": (value - 1, value + 1)} | ({} if lpips is None else {"lpips_alex": (lpips[i],)}) for i, value in enumerate(values)]
    return MethodScores(name, tuple(ObjectScores(f"o{i}", tiers[i], figure, 0.5 * i) for i, figure in enumerate(figures)))


def test_standard_errors():
    assert mean_of([1.0, 2.0, 6.0]) == Mean(3.0, pytest.approx((7 / 3) ** 0.5), 3)  # variance (4 + 1 + 9) / 2 = 7
    assert mean_of([4.0, 4.0]) == Mean(4.0, 0.0, 2)
    assert mean_of([5.0]) == Mean(5.0, None, 1)
    with pytest.raises(ValueError, match="the mean of no values"):
        mean_of([])


def test_means_by_tier():
    scores = method("a", 10.0, 20.0, 30.0, 44.0)
    found = means(scores, "psnr")
    assert list(found) == ["all", "scan", "lowpoly", "other"]
    assert found["all"].value == 26.0
    assert found["scan"] == Mean(15.0, 5.0, 2)
    assert found["other"] == Mean(44.0, None, 1)
    assert scores.seconds == 0.75


def test_tiers_come_in_the_order_of_tables():
    objects = [ObjectScores(str(i), tier, {}, 0.0) for i, tier in enumerate(("z", "lowpoly", "a", "textured", "scan"))]
    assert tiers_of(objects) == ("all", "scan", "textured", "lowpoly", "a", "z")


def test_margins_are_paired():
    ours, theirs = method("a", 11.0, 22.0, 33.0, 40.0), method("b", 10.0, 20.0, 30.0, 40.0)
    found = margins(ours, theirs, "psnr")
    assert found["all"] == Mean(1.5, pytest.approx((5 / 3 / 4) ** 0.5), 4)  # of 1, 2, 3, 0
    assert found["scan"] == Mean(1.5, 0.5, 2)
    # The errors of the methods themselves are far larger than that of their difference.
    assert means(ours, "psnr")["all"].error > 5 * found["all"].error


def test_a_lower_distance_is_a_positive_margin():
    ours, theirs = method("a", 1.0, 2.0, lpips=[0.1, 0.2]), method("b", 1.0, 2.0, lpips=[0.4, 0.3])
    assert margins(ours, theirs, "lpips_alex")["all"].value == pytest.approx(0.2)


def test_margins_need_the_same_objects():
    with pytest.raises(ValueError, match="a and b have answered for different objects"):
        margins(method("a", 1.0, 2.0), method("b", 1.0), "psnr")


def test_the_share_of_a_gap():
    low, mine, high = method("low", 10.0, lpips=[0.5]), method("mine", 12.0, lpips=[0.4]), method("high", 30.0, lpips=[0.1])
    assert share_of_gap(mine, low, high, "psnr") == pytest.approx(0.1)
    assert share_of_gap(mine, low, high, "lpips_alex") == pytest.approx(0.25)
    assert share_of_gap(mine, high, low, "psnr") is None


def test_the_best():
    first, second = method("a", 10.0, lpips=[0.5]), method("b", 12.0, lpips=[0.6])
    assert best_of([first, second]) is second
    assert best_of([first, second], "lpips_alex") is first
    assert best_of([second, method("c", 12.0)]) is second


def test_metrics_are_those_that_every_object_has():
    assert method("a", 10.0, lpips=[0.5]).metrics == ("psnr", "lpips_alex")
    assert method("a", 10.0).metrics == ("psnr",)
