"""What an object is called: its dominant colours in plain words, and captions made of them."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.pipeline.formats.colors import display_to_linear

# Colours that each word stands for, as displays are sent them, 0 to 255.
WORDS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "black": ((8, 8, 8), (38, 38, 40)),
    "grey": (
        (60, 62, 60),
        (85, 85, 85),
        (128, 128, 128),
        (170, 170, 170),
        (105, 115, 125),
        (150, 160, 170),
        (100, 98, 92),
        (150, 146, 138),
        (192, 187, 178),
    ),
    "white": ((250, 250, 250), (225, 225, 225)),
    "red": ((200, 30, 35), (140, 20, 25), (230, 70, 60), (235, 85, 55), (158, 64, 62), (115, 42, 46)),
    "orange": ((240, 130, 30), (225, 105, 20), (250, 165, 70)),
    "brown": ((110, 65, 30), (70, 45, 28), (145, 95, 60), (120, 85, 65)),
    "beige": ((222, 200, 165), (238, 222, 195), (200, 172, 135)),
    "yellow": ((248, 218, 50), (225, 190, 60), (255, 228, 120)),
    "green": ((50, 150, 60), (28, 85, 38), (120, 190, 80), (150, 215, 130), (85, 115, 70), (66, 88, 54), (110, 140, 50)),
    "olive": ((118, 112, 40), (88, 82, 35), (128, 126, 8)),
    "turquoise": ((60, 195, 180), (35, 130, 130), (150, 222, 215)),
    "blue": ((40, 80, 200), (28, 42, 105), (95, 150, 225), (165, 200, 238), (60, 90, 130)),
    "purple": ((120, 55, 165), (72, 38, 100), (170, 130, 212)),
    "pink": ((240, 150, 180), (225, 85, 150), (250, 205, 215)),
}
SMALL = ("a", "an", "the", "and")
MOST_WORDS = 3
LEAST_SHARE = 0.15  # of the pixels, below which a colour is not named
MOST_PIXELS = 20_000  # that are looked at

# From linear light to the responses of cones, and from their cube roots to OKLab (Ottosson 2020).
CONES = ((0.4122214708, 0.5363325363, 0.0514459929), (0.2119034982, 0.6806995451, 0.1073969566), (0.0883024619, 0.2817188376, 0.6299787005))
OPPONENTS = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)


def dominant_colors(rgb: Float[Tensor, "*b 3"], alpha: Float[Tensor, "*b"]) -> tuple[str, ...]:
    """Up to three words for the colours of mostly covered pixels, the most frequent one first; none where nothing is covered.

    A pixel has the word of the nearest colour in OKLab, in which equal distances look about equally large.
    """
    colors = rgb[alpha > 0.5]
    if not len(colors):
        return ()
    colors = colors[:: 1 + len(colors) // MOST_PIXELS]
    known = torch.tensor([color for shades in WORDS.values() for color in shades]) / 255
    owners = torch.tensor([index for index, shades in enumerate(WORDS.values()) for _ in shades])
    nearest = owners[torch.cdist(_oklab(colors), _oklab(known)).argmin(-1)]
    shares = torch.bincount(nearest, minlength=len(WORDS)) / len(colors)
    order = shares.sort(descending=True, stable=True).indices[:MOST_WORDS].tolist()
    return tuple(list(WORDS)[index] for place, index in enumerate(order) if place == 0 or shares[index] >= LEAST_SHARE)


def subject(sentence: str) -> str:
    """What a sentence asks for: without articles, colours, and what follows a comma; all of it where nothing else is left."""
    left = [word for word in sentence.split(",")[0].split() if word.lower() not in {*WORDS, *SMALL}]
    return " ".join(left) or sentence


def make_caption(name: str, colors: Sequence[str], category: str) -> str:
    """A caption such as "red and grey barrel, dungeon". A name that has a colour keeps it, and gets no others."""
    own = () if set(name.split()) & set(WORDS) else colors
    several = f"{', '.join(own[:-1])} and {own[-1]}" if len(own) > 1 else "".join(own)
    subject = " ".join(part for part in (several, name) if part)
    return f"{subject}, {category}" if category and category not in subject else subject


def _oklab(rgb: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    cones = display_to_linear(rgb) @ rgb.new_tensor(CONES).mT
    return cones.clamp_min(0) ** (1 / 3) @ rgb.new_tensor(OPPONENTS).mT
