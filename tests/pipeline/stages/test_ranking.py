"""Samples by several questions."""

from gen3d.pipeline.stages.ranking import best_first


def test_the_smallest_sum_of_places_comes_first():
    assert best_first([3.0, 1.0, 2.0]) == [1, 2, 0]
    assert best_first([0.1, 0.2, 0.3], [900.0, 5.0, 7.0]) == [1, 0, 2]  # places, not sizes
    assert best_first([1.0, 1.0], [2.0, 2.0]) == [0, 1]
