"""Means over objects with their standard errors, and how much better one method is than another on the same objects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gen3d.pipeline.evaluation.object_scores import LOWER_IS_BETTER, METRICS, ObjectScores

ALL = "all"
TIERS = ("scan", "textured", "lowpoly")  # in the order of tables; tiers of other libraries follow


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over objects.

    Attributes:
        value: the mean.
        error: its standard error, the deviation (of n - 1 degrees of freedom) over the root of n; None for one object.
        count: n, the number of objects.
    """

    value: float
    error: float | None
    count: int


@dataclass(frozen=True, slots=True)
class MethodScores:
    """What a method reached.

    Attributes:
        name: of the method.
        objects: its figures for each.
        prepare_seconds: before its first answer; the first method that needs the training pictures pays for reading them.
        memory_mib: largest resident memory of the process, and of the GPU where one was used, while it was built or answered.
        facts: what was chosen when it was built.
    """

    name: str
    objects: tuple[ObjectScores, ...]
    prepare_seconds: float = 0.0
    memory_mib: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Those that were measured of every object."""
        return tuple(metric for metric in METRICS if all(metric in each.figures for each in self.objects))

    @property
    def seconds(self) -> float:
        """For an object, in the mean."""
        return sum(each.seconds for each in self.objects) / len(self.objects)


def mean_of(values: Sequence[float]) -> Mean:
    """The mean of one or more values and its standard error."""
    count = len(values)
    if not count:
        raise ValueError("the mean of no values is asked for; give at least one")
    mean = sum(values) / count
    if count == 1:
        return Mean(mean, None, 1)
    variance = sum((value - mean) ** 2 for value in values) / (count - 1)
    return Mean(mean, (variance / count) ** 0.5, count)


def tiers_of(objects: Sequence[ObjectScores]) -> tuple[str, ...]:
    """All, and then every tier that there is."""
    there = {each.tier for each in objects}
    return (ALL, *(tier for tier in TIERS if tier in there), *sorted(there - set(TIERS)))


def means(scores: MethodScores, metric: str) -> dict[str, Mean]:
    """The mean of a metric over all objects and over those of each tier."""
    return _by_tier(scores.objects, [each.mean(metric) for each in scores.objects])


def margins(scores: MethodScores, other: MethodScores, metric: str) -> dict[str, Mean]:
    """How much better a method is than another one, object by object: above 0 means better, of LPIPS as well.

    Raises:
        ValueError: they have not answered for the same objects.
    """
    if [each.id for each in scores.objects] != [each.id for each in other.objects]:
        raise ValueError(f"{scores.name} and {other.name} have answered for different objects; evaluate them on the same ones")
    sign = -1 if metric in LOWER_IS_BETTER else 1
    differences = [sign * (mine.mean(metric) - its.mean(metric)) for mine, its in zip(scores.objects, other.objects, strict=True)]
    return _by_tier(scores.objects, differences)


def share_of_gap(scores: MethodScores, floor: MethodScores, ceiling: MethodScores, metric: str) -> float | None:
    """How much of the way from one method to a better one a third has come, by means over all objects; None where there is no way."""
    mine, low, high = (means(each, metric)[ALL].value for each in (scores, floor, ceiling))
    better = low - high if metric in LOWER_IS_BETTER else high - low
    return (mine - low) / (high - low) if better > 0 else None


def best_of(scores: Sequence[MethodScores], metric: str = "psnr") -> MethodScores:
    """The method with the best mean over all objects; of equal ones the first."""
    sign = -1 if metric in LOWER_IS_BETTER else 1
    return max(scores, key=lambda each: sign * means(each, metric)[ALL].value)


def _by_tier(objects: Sequence[ObjectScores], values: Sequence[float]) -> dict[str, Mean]:
    pairs = list(zip(objects, values, strict=True))
    return {tier: mean_of([value for each, value in pairs if tier in (ALL, each.tier)]) for tier in tiers_of(objects)}
