"""What an object may be called by somebody who asks for it: its name with or without its colours and its kind, and not every word."""

import random
from collections.abc import Sequence

from gen3d.pipeline.objects.words import WORDS, make_caption


def phrases(name: str, colors: Sequence[str], category: str, count: int, numbers: random.Random, dropped: float) -> list[str]:
    """Several ways to ask for an object, the full caption first.

    Args:
        name: words, lower case.
        colors: dominant ones.
        category: of the object.
        count: of phrases, at least 1.
        numbers: source of randomness.
        dropped: chance of each word of the name to be left out; one always stays.
    """
    return [make_caption(name, colors, category), *(_phrase(name, colors, category, numbers, dropped) for _ in range(count - 1))]


def _phrase(name: str, colors: Sequence[str], category: str, numbers: random.Random, dropped: float) -> str:
    words = name.split()
    kept = [word for word in words if numbers.random() >= dropped] or [numbers.choice(words)] if words else []
    shown = [] if set(kept) & set(WORDS) else list(colors[: numbers.choice((0, 1, 1, 2, 3))])
    subject = make_caption(" ".join(kept), shown, category if numbers.random() < 0.3 else "")
    article = "" if numbers.random() < 0.5 else "an " if subject[:1] in "aeiou" else "a "
    return article + subject
