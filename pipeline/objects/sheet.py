"""Contact sheets of rendered sets."""

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.pipeline.formats.images import colorize_depth, contact_sheet
from gen3d.pipeline.objects.lighting import soft_light
from gen3d.pipeline.objects.object_set import ObjectSet

COLUMNS, ROWS = 16, 10
VIEW = 1  # the one that shows the front and a side
PAPER = 0.85  # on which white objects are seen


def set_sheet(objects: ObjectSet) -> Float[Tensor, "h w 3"]:
    """One view of at most 160 objects, evenly chosen, in reading order over light grey."""
    count = min(len(objects), COLUMNS * ROWS)
    chosen = [index * len(objects) // count for index in range(count)]
    pictures = torch.cat([objects.read(number, [VIEW]).over(torch.tensor(PAPER)) for number in chosen])
    empty = pictures.new_full((-count % min(COLUMNS, count), *pictures.shape[1:]), PAPER)
    return contact_sheet(torch.cat([pictures, empty]), min(COLUMNS, count))


def object_sheet(objects: ObjectSet, name: str, seed: int = 0) -> Float[Tensor, "h w 3"]:
    """All views of an object side by side; below each its softly lit variant, its depth and its normal where they were kept.

    Args:
        objects: the set.
        name: the id of the object.
        seed: chooses the light.
    """
    views, paper = objects.read(name), torch.tensor(PAPER)
    rows = [views.over(paper)]
    if views.depth is not None and views.normal is not None:
        lit = soft_light(name, seed).shade(views.rgb, views.normal)
        opacity = views.alpha[..., None]
        rows.append(paper + opacity * (lit - paper))
        rows.append(colorize_depth(views.depth, views.alpha) + PAPER * (1 - opacity))
        rows.append(paper + opacity * ((views.normal + 1) / 2 - paper))
    return contact_sheet(torch.cat(rows), len(views.alpha))
