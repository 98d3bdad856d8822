"""A picture of an object as multiview networks know pictures: without its background, centred, as large as in training."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from gen3d.errors import BadInput

Matte = Callable[[Float[Tensor, "h w 3"]], Float[Tensor, "h w"]]
FILLED = 0.81  # share of the side that the larger side of an object's box takes: the median of rendered training objects
LOWER = 0.52  # where the middle of the box lies: an object that is seen from above hangs a little below the centre
DETAIL = 256  # pixels along the finer frame, if the picture has so many
SMALLEST = 16  # pixels along the larger side of an object that can be made out
TINY = 0.01  # share of the picture, below which the mask is more often wrong than the object small
LARGEST = 2048  # pixels along a side that masks are computed at


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture that is ready.

    Attributes:
        picture: colours over white in [-1, 1], `[3, s, s]`.
        alpha: `[s, s]` in [0, 1].
        detail: the same with more pixels, colours over white in [0, 1], `[d, d, 3]`.
        detail_alpha: `[d, d]`.
        height: of the object's box as a share of the frame.
        mask: of the whole picture `[h, w]` in [0, 1], for a preview.
        notes: what a user should know.
    """

    picture: Float[Tensor, "3 s s"]
    alpha: Float[Tensor, "s s"]
    detail: Float[Tensor, "d d 3"]
    detail_alpha: Float[Tensor, "d d"]
    height: float
    mask: Float[Tensor, "h w"]
    notes: tuple[str, ...]


def prepare(
    rgb: UInt8[Tensor, "h w 3"],
    alpha: UInt8[Tensor, "h w"] | None,
    size: int,
    *,
    matte: Matte,
    mask: UInt8[Tensor, "mh mw"] | None = None,
    height: float | None = None,
) -> Prepared:
    """Cut out the object and frame it.

    Args:
        rgb: the picture.
        alpha: its transparency; counts where it leaves anything out.
        size: sides of the result in pixels.
        matte: finds the object where nothing says where it is; not called otherwise.
        mask: where the object is, white; of any size with the picture's proportions.
        height: share of the frame that the object's box is to take, as in another picture of it; None lets its larger side decide.

    Raises:
        BadInput: there is no object, it is too small to be made out, or the mask has other proportions.
    """
    colors = rgb.float() / 255
    given = _given(alpha, mask, *rgb.shape[:2])
    if max(colors.shape[:2]) > LARGEST:
        scale = LARGEST / max(colors.shape[:2])
        colors = _resized(colors.movedim(-1, 0), [max(1, round(side * scale)) for side in colors.shape[:2]]).movedim(0, -1)
    shape = colors.shape[:2]
    found = matte(colors) if given is None else _resized(given[None].float() / 255, [*shape])[0]
    rows, columns = ((found > 0.5).any(axis).nonzero().flatten() for axis in (1, 0))
    if not len(rows):
        raise BadInput("no object stands out in the picture; give one with a plain or transparent background, or a --mask")
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    extent = max(bottom - top, right - left)
    if extent < SMALLEST:
        raise BadInput(f"the object is {extent} pixels large; at least {SMALLEST} are needed to make anything out: take a closer picture")
    notes = []
    if min(top, left) == 0 or bottom == shape[0] or right == shape[1]:
        notes.append("the object touches the border of the picture; what is cut off there is guessed, or missing")
    if float(found.mean()) < TINY:
        notes.append(f"the object fills {100 * float(found.mean()):.1f} % of the picture; check that the mask shows the right thing")
    side = round(extent / FILLED if height is None else (bottom - top) / height)
    y, x = round((top + bottom) / 2 - LOWER * side), round((left + right) / 2 - side / 2)
    premultiplied = torch.cat([colors * found[..., None], found[..., None]], -1).movedim(-1, 0)
    window = _window(premultiplied, y, x, side)
    framed, fine = (_resized(window, [each, each]).clamp(0, 1) for each in (size, max(size, min(DETAIL, side))))
    picture, detail = (each[:3] + (1 - each[3:]) for each in (framed, fine))
    return Prepared(picture * 2 - 1, framed[3], detail.movedim(0, -1), fine[3], (bottom - top) / side, found, tuple(notes))


def _given(
    alpha: UInt8[Tensor, "h w"] | None, mask: UInt8[Tensor, "mh mw"] | None, height: int, width: int
) -> UInt8[Tensor, "gh gw"] | None:
    """Where the object is, as far as somebody says: by the mask, else by transparency that leaves anything out."""
    if mask is None:
        return alpha if alpha is not None and bool((alpha < 255).any()) else None
    h, w = mask.shape
    if abs(h * width - w * height) > max(width, height, w, h):  # a pixel of rounding
        raise BadInput(f"the mask has {w} x {h} pixels and the picture {width} x {height}; they must have the same proportions")
    return mask


def _window(planes: Float[Tensor, "c h w"], y: int, x: int, side: int) -> Float[Tensor, "c side side"]:
    """A square of a picture, empty where it reaches beyond."""
    height, width = planes.shape[1:]
    outside = (max(0, -x), max(0, x + side - width), max(0, -y), max(0, y + side - height))
    padded = functional.pad(planes, outside)
    return padded[:, y + outside[2] : y + outside[2] + side, x + outside[0] : x + outside[0] + side]


def _resized(planes: Float[Tensor, "c h w"], shape: list[int]) -> Float[Tensor, "c h2 w2"]:
    return functional.interpolate(planes[None], shape, mode="bilinear", antialias=True)[0]
