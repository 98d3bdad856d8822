"""What is right of a generated object, by the training object that looks most alike."""

import math
from types import SimpleNamespace

import pytest
import torch

from gen3d.pipeline.evaluation.prompts import Agreement, Known, agreement, by_chance, shares, way


def record(name, category="dungeon", colors=("red",)):
    return SimpleNamespace(id=name, name=name, category=category, colors=colors)


RECORDS = (record("barrel small"), record("apple", "food"), record("blue fish", "fish", ("blue", "grey")))


def test_the_nearest_object_is_found():
    known = Known(RECORDS, torch.eye(3).half())
    found, distance = known.nearest(torch.tensor([0.1, 0.9, 0.0]))
    assert found.name == "apple"
    assert distance == pytest.approx((0.01 + 0.01) / 8, rel=1e-2)
    assert known.nearest(torch.tensor([0.4, 0.9, 0.0]), without="apple")[0].name == "barrel small"


def test_what_is_right_is_told():
    assert agreement(record("large barrel"), RECORDS[0], 0.1) == Agreement(True, True, True, 0.1)
    assert agreement(record("sword", colors=("grey", "red")), RECORDS[0], 0.1) == Agreement(True, False, False, 0.1)
    assert agreement(record("blue whale", "fish", ("blue",)), RECORDS[2], 0.1) == Agreement(True, True, True, 0.1)
    assert not agreement(record("ghost", colors=()), record("ghost", colors=()), 0.1).colour
    assert agreement(record("blue barrel small", colors=("grey",)), record("box small", colors=("blue",)), 0.1) == Agreement(
        True, True, False, 0.1
    )


def test_chance_and_shares():
    asked = [record("barrel"), record("apple pie", "food", ("blue",))]
    assert by_chance(asked, RECORDS) == pytest.approx({"category": 2 / 6, "colour": 3 / 6, "name": 2 / 6})
    found = [Agreement(True, False, True, 0.0), Agreement(True, True, False, 0.0)] * 50
    result = shares(found)
    assert result["category"] == pytest.approx((1.0, 0.963, 1.0), abs=1e-3)
    assert result["colour"] == pytest.approx((0.5, 0.404, 0.596), abs=1e-3)
    assert way(0.7, 0.1, 0.9) == pytest.approx(0.75)
    assert math.isnan(way(0.7, 0.9, 0.9))
