"""Limits of settings, checked where they are made."""

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
