"""Whether what a sentence becomes is what it says: the training object that looks most alike is compared with the sentence.

No network here knows both pictures and words. But training objects have words: if the nearest of them, by LPIPS over eight views around,
is of the category, has the colour and bears the name that was asked for, the result looks the part.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.pipeline.evaluation.gallery import Describe
from gen3d.pipeline.objects.object_set import ObjectSet
from gen3d.pipeline.objects.records import ObjectRecord
from gen3d.pipeline.objects.views import RING, ObjectViews
from gen3d.pipeline.objects.words import WORDS
from gen3d.pipeline.progress import Progress

ASPECTS = ("category", "colour", "name")
CERTAIN = 1.96  # standard errors of a 95 % interval
SAID_OF_ANYTHING = {"small", "large", "big", "tiny", "long", "short", "tall", "low", "high", "wide", "open", "closed", "level", "new"}


@dataclass(frozen=True)
class Known:
    """The training objects as they look from eight sides.

    Attributes:
        records: what is said of them.
        numbers: their features `[n, 8 d]`, in half precision.
    """

    records: tuple[ObjectRecord, ...]
    numbers: Float[Tensor, "n d"]

    def nearest(self, views: Float[Tensor, " d"], *, without: str = "") -> tuple[ObjectRecord, float]:
        """The training object that looks most alike, and its mean LPIPS.

        Args:
            views: features of eight sides in a row.
            without: id of an object that does not count.
        """
        distance = torch.stack([(part.float() - views).square().sum() for part in self.numbers]) / RING
        for number, record in enumerate(self.records):
            if record.id == without:
                distance[number] = math.inf
        best = int(distance.argmin())
        return self.records[best], float(distance[best])


@dataclass(frozen=True, slots=True)
class Agreement:
    """What is right of one object.

    Attributes:
        category: the nearest object's is that of the sentence.
        colour: its first colour is that of the sentence.
        name: they share a word of their names.
        distance: to it, LPIPS.
    """

    category: bool
    colour: bool
    name: bool
    distance: float


def known_objects(objects: ObjectSet, describe: Describe, progress: Progress) -> Known:
    """The objects of a rendered set by the views around them."""
    rows = []
    progress.start("look at training objects", len(objects))
    for number in range(len(objects)):
        rows.append(described(objects.read(number, range(RING)), describe).half())
        progress.advance(number + 1)
    progress.finish()
    return Known(tuple(objects.records), torch.stack(rows))


def described(views: ObjectViews, describe: Describe) -> Float[Tensor, " d"]:
    """Features of the eight views around an object, in a row."""
    return describe(views).flatten()


def agreement(asked: ObjectRecord, found: ObjectRecord, distance: float) -> Agreement:
    """What the nearest object has of what was asked for: its category, its first colour among those named first, a word of its name."""
    words = {*asked.name.split()}
    named = words & WORDS.keys() or {*asked.colors[:1]}  # as captions have them
    colour = bool(found.colors) and found.colors[0] in named
    shared = {word for word in words & {*found.name.split()} if len(word) > 1 and word not in SAID_OF_ANYTHING}
    return Agreement(found.category == asked.category, colour, bool(shared), distance)


def by_chance(asked: Sequence[ObjectRecord], known: Sequence[ObjectRecord]) -> dict[str, float]:
    """How often each aspect would be right if the nearest object were any of them."""
    pairs = [[agreement(one, other, 0.0) for other in known] for one in asked]
    return {name: sum(getattr(each, name) for row in pairs for each in row) / sum(map(len, pairs)) for name in ASPECTS}


def shares(found: Sequence[Agreement]) -> dict[str, tuple[float, float, float]]:
    """How often each aspect is right, and Wilson's 95 % interval of that."""
    count, square = len(found), CERTAIN**2
    result = {}
    for name in ASPECTS:
        mean = sum(getattr(each, name) for each in found) / count
        middle = (mean + square / (2 * count)) / (1 + square / count)
        half = CERTAIN * math.sqrt(mean * (1 - mean) / count + square / (4 * count**2)) / (1 + square / count)
        result[name] = (mean, middle - half, middle + half)
    return result


def way(ours: float, chance: float, ceiling: float) -> float:
    """How far from chance to the ceiling a share is, 0 to 1."""
    return (ours - chance) / (ceiling - chance) if ceiling > chance else math.nan
