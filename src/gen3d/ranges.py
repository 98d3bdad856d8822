"""Limits of settings, checked where they are made."""

import math
from collections.abc import Collection, Sequence
from typing import Any

from gen3d.errors import UsageError

UNLIMITED = float("inf")


def check_ranges(settings: Any, **ranges: tuple[float, float]) -> None:
    """Make sure that fields lie within limits, both included.

    Raises:
        UsageError: one does not.
    """
    for name, (low, high) in ranges.items():
        value = getattr(settings, name)
        if not low <= value <= high:
            rule = f"be at least {low:g}" if high == UNLIMITED else f"lie between {low:g} and {high:g}"
            raise UsageError(f"the setting {name} is {value:g}; it must {rule}")


def numbers(name: str, value: float | Sequence[float]) -> tuple[float, ...]:
    """The numbers of a field, of which files hold lists, or just one.

    Raises:
        UsageError: some are none, or not finite.
    """
    given = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if not all(isinstance(each, int | float) and math.isfinite(each) for each in given):
        raise UsageError(f"the setting {name} is {value!r}; it must be numbers")
    return tuple(float(each) for each in given)


def widths(channels: int | Sequence[int], widest: int) -> tuple[int, ...]:
    """The channels of a network's levels, of which files hold lists, or just one.

    Raises:
        UsageError: there are none, or one cannot be.
    """
    given = tuple(channels) if isinstance(channels, Sequence) and not isinstance(channels, str) else (channels,)
    if not given or not all(type(each) is int and 1 <= each <= widest for each in given):
        raise UsageError(f"the channels are {channels!r}; give one width for each level, from 1 to {widest}")
    return given


def check_choices(settings: Any, **choices: Collection[str]) -> None:
    """Make sure that fields are one of the words they may be.

    Raises:
        UsageError: one is not.
    """
    for name, known in choices.items():
        value = getattr(settings, name)
        if value not in known:
            raise UsageError(f"the setting {name} is {value!r}; choose one of {', '.join(known)}")
