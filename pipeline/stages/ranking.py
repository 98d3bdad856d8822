"""Which of several samples is the best, when more than one question is asked of them."""

from collections.abc import Sequence


def best_first(*doubts: Sequence[float]) -> list[int]:
    """Numbers of samples, those first whose places by all questions have the smallest sum; of equal ones the earlier.

    Args:
        doubts: of each question, how badly each sample answers it.
    """
    places = [[sorted(each).index(value) for value in each] for each in doubts]
    return sorted(range(len(doubts[0])), key=lambda number: sum(each[number] for each in places))
