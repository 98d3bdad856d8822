"""What an object may be called by somebody who asks for it: its name with or without its colours and its kind, and not every word.

And what it would be called in other colours, of which any library has too few.
"""

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


def in_other_colors(name: str, colors: Sequence[str], count: int, numbers: random.Random) -> list[str]:
    """Ways to ask for an object whose colours are not its own, and therefore named, without those that its name may tell.

    Args:
        name: words, lower case.
        colors: that it has now, dominant ones.
        count: of phrases.
        numbers: source of randomness.
    """
    thing = " ".join(word for word in name.split() if word not in WORDS) or name  # some things are called as their colour
    found = [make_caption(thing, colors[: numbers.randint(1, max(1, len(colors)))], "") for _ in range(count)]
    return [_article(phrase, numbers) + phrase for phrase in found]


def _phrase(name: str, colors: Sequence[str], category: str, numbers: random.Random, dropped: float) -> str:
    words = name.split()
    kept = [word for word in words if numbers.random() >= dropped] or [numbers.choice(words)] if words else []
    shown = [] if set(kept) & set(WORDS) else list(colors[: numbers.choice((0, 1, 1, 2, 3))])
    subject = make_caption(" ".join(kept), shown, category if numbers.random() < 0.3 else "")
    return _article(subject, numbers) + subject


def _article(subject: str, numbers: random.Random) -> str:
    return "" if numbers.random() < 0.5 else "an " if subject[:1] in "aeiou" else "a "
