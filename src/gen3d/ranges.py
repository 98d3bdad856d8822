"""Limits of settings, checked where they are made."""

from collections.abc import Collection
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


def check_choices(settings: Any, **choices: Collection[str]) -> None:
    """Make sure that fields are one of the words they may be.

    Raises:
        UsageError: one is not.
    """
    for name, known in choices.items():
        value = getattr(settings, name)
        if value not in known:
            raise UsageError(f"the setting {name} is {value!r}; choose one of {', '.join(known)}")
