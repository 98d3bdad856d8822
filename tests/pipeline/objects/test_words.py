"""Names of colours, and captions."""

import pytest
import torch

from gen3d.pipeline.objects.words import WORDS, dominant_colors, make_caption


@pytest.mark.parametrize(
    ("color", "word"),
    [
        *[((0, 0, 0), "black"), ((128, 128, 128), "grey"), ((255, 255, 255), "white"), ((255, 0, 0), "red"), ((0, 0, 255), "blue")],
        *[((0, 128, 0), "green"), ((255, 255, 0), "yellow"), ((255, 165, 0), "orange"), ((139, 69, 19), "brown")],
        *[((210, 180, 140), "beige"), ((255, 192, 203), "pink"), ((64, 224, 208), "turquoise"), ((128, 0, 128), "purple")],
        ((128, 128, 0), "olive"),
    ],
)
def test_colors_of_the_web_have_their_names(color, word):
    assert dominant_colors(torch.tensor([color]) / 255, torch.ones(1)) == (word,)


def test_frequent_colors_come_first_and_rare_or_uncovered_ones_not_at_all():
    red, green, blue = (torch.tensor(WORDS[word][0]) / 255 for word in ("red", "green", "blue"))
    pixels = torch.stack([red] * 30 + [blue] * 60 + [green] * 10 + [green] * 500)
    alpha = torch.cat([torch.ones(100), torch.full((500,), 0.4)])
    assert dominant_colors(pixels, alpha) == ("blue", "red")
    assert dominant_colors(pixels, torch.zeros(600)) == ()


def test_large_pictures_are_sampled():
    pixels = torch.full((16, 64, 64, 3), 0.5)
    assert dominant_colors(pixels, torch.ones(16, 64, 64)) == ("grey",)


@pytest.mark.parametrize(
    ("name", "colors", "category", "caption"),
    [
        ("barrel", ("red", "grey"), "dungeon", "red and grey barrel, dungeon"),
        ("barrel", ("red", "grey", "brown"), "", "red, grey and brown barrel"),
        ("barrel", (), "dungeon", "barrel, dungeon"),
        ("banner blue", ("blue", "grey"), "dungeon", "banner blue, dungeon"),
        ("house plant", ("green",), "house", "green house plant"),
    ],
)
def test_captions(name, colors, category, caption):
    assert make_caption(name, colors, category) == caption
