"""Every method that can be judged on objects, by name: what learned nothing, networks, and ceilings."""

from collections.abc import Callable, Collection

from gen3d.errors import UsageError
from gen3d.pipeline.configuration import did_you_mean
from gen3d.pipeline.evaluation.baselines import (
    Bench,
    Entrant,
    Informed,
    build_copy,
    build_mean,
    build_nearest_lpips,
    build_nearest_pixels,
    build_nearest_silhouette,
    build_several_silhouettes,
    build_white,
)
from gen3d.pipeline.evaluation.blending import build_blend
from gen3d.pipeline.evaluation.ceilings import build_all_views, build_four_views, build_given_view
from gen3d.pipeline.evaluation.networks import build_best_of, build_one_step, build_reconstruction, build_sampled

Builder = Callable[[Bench], Entrant]
BASELINES: dict[str, Builder] = {
    "white": build_white,
    "mean": build_mean,
    "copy": build_copy,
    "nearest-pixels": build_nearest_pixels,
    "nearest-lpips": build_nearest_lpips,
    "nearest-silhouette": build_nearest_silhouette,
    "four-nearest": build_several_silhouettes,
    "blend": build_blend,
}
NETWORKS: dict[str, Builder] = {"dsplats-one-step": build_one_step, "dsplats": build_sampled}
REACHES: dict[str, Callable[[Bench], Informed]] = {"dsplats-best-of-4": build_best_of, "dsplats-4-views": build_reconstruction}
CEILINGS: dict[str, Callable[[Bench], Informed]] = {
    "ceiling-1": build_given_view,
    "ceiling-4": build_four_views,
    "ceiling": build_all_views,
}
BEST, ALL = "best", "all"
GROUPS: dict[str, Collection[str]] = {"baselines": BASELINES, "networks": NETWORKS, "reaches": REACHES, "ceilings": CEILINGS}


def every() -> tuple[str, ...]:
    """All names in the order of tables."""
    return (*BASELINES, *NETWORKS, *REACHES, *CEILINGS)


def informed() -> dict[str, Callable[[Bench], Informed]]:
    """The methods that see more than the question."""
    return {**REACHES, **CEILINGS}


def named(words: str) -> tuple[str, ...]:
    """The names that words with commas between stand for, each once, in the order of tables.

    Raises:
        UsageError: a word is no method and no group of methods, or there is none.
    """
    wanted: set[str] = set()
    for word in (each.strip() for each in words.split(",")):
        if word not in (ALL, *GROUPS, *every()):
            raise UsageError(f"the method {word!r} is not known{did_you_mean(word, [ALL, *GROUPS, *every()])}")
        wanted |= set(every() if word == ALL else GROUPS.get(word, [word]))
    if not wanted:
        raise UsageError(f"the setting methods is {words!r}, a group that is empty; choose some of {', '.join(every())}")
    return tuple(name for name in every() if name in wanted)


def rank(name: str) -> int:
    """The place of a method in tables; names of other versions come last."""
    names = every()
    return names.index(name) if name in names else len(names)


def check_opponent(over: str, names: Collection[str]) -> None:
    """Make sure that margins can be taken over a method.

    Raises:
        UsageError: it is not among those that are evaluated.
    """
    if over != BEST and over not in names:
        raise UsageError(f"the setting over is {over!r}, which is not evaluated here; choose {BEST} or one of {', '.join(names)}")
