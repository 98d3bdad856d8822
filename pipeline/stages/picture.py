"""A picture of an object as multiview networks know pictures: without its background, centred, as large as in training."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Real, UInt8
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from gen3d.errors import BadInput

Matte = Callable[[Float[Tensor, "h w 3"]], Float[Tensor, "h w"]]
FILLED = 0.81  # share of the side that the larger side of an object's box takes: the median of rendered training objects
LOWER = 0.52  # where the middle of the box lies: an object that is seen from above hangs a little below the centre
DETAIL = 256  # pixels along the finer frame, if the picture has so many
SMALLEST = 16  # pixels along the larger side of an object that can be made out
SPECK = 0.005  # share of the largest part of a mask, below which a part does not decide where the object is
TINY = 0.01  # share of the picture, below which the mask is more often wrong than the object small
LARGEST = 2048  # pixels along a side that masks are computed at
STRIP = 256  # rows of blocks that are made smaller at once


@dataclass(frozen=True, slots=True)
class CutOut:
    """An object and where it is in its picture.

    Attributes:
        planes: colours times opacity, and opacity, `[4, h, w]` in [0, 1].
        box: of the object in pixels: top, bottom, left, right.
        notes: what a user should know.
    """

    planes: Float[Tensor, "4 h w"]
    box: tuple[int, int, int, int]
    notes: tuple[str, ...]

    @property
    def mask(self) -> Float[Tensor, "h w"]:
        """Where the object is."""
        return self.planes[3]

    @property
    def tallest(self) -> float:
        """The height of the box as a share of a frame whose `FILLED` part its larger side takes."""
        top, bottom, left, right = self.box
        return FILLED * min(1.0, (bottom - top) / (right - left))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture that is ready.

    Attributes:
        picture: colours over white in [-1, 1], `[3, s, s]`.
        alpha: `[s, s]` in [0, 1].
        detail: the same with more pixels, colours over white in [0, 1], `[d, d, 3]`.
        detail_alpha: `[d, d]`.
    """

    picture: Float[Tensor, "3 s s"]
    alpha: Float[Tensor, "s s"]
    detail: Float[Tensor, "d d 3"]
    detail_alpha: Float[Tensor, "d d"]


def cut_out(
    rgb: UInt8[Tensor, "h w 3"], alpha: UInt8[Tensor, "h w"] | None, *, matte: Matte, mask: UInt8[Tensor, "mh mw"] | None = None
) -> CutOut:
    """Find the object of a picture; pictures above `LARGEST` pixels are made smaller.

    Args:
        rgb: the picture.
        alpha: its transparency; counts where it leaves anything out.
        matte: finds the object where nothing says where it is; not called otherwise.
        mask: where the object is, white; of any size with the picture's proportions.

    Raises:
        BadInput: there is no object, it is too small to be made out, or the mask has other proportions.
    """
    shape = list(rgb.shape[:2])
    smaller = [max(1, round(side * min(1.0, LARGEST / max(shape)))) for side in shape]
    given = _given(alpha, mask, *shape)
    # What is transparent may have any colour, which must not reach its neighbours when the picture is made smaller.
    opacity = torch.full_like(rgb[..., :1], 255) if given is None else _resized(given[None], shape).movedim(0, -1)
    planes = _resized(_planes(rgb, opacity, max(1, min(max(shape) // LARGEST, *shape))), smaller)
    if given is None:
        opacity = matte(planes[:3].movedim(0, -1))[None]
        planes = torch.cat([planes[:3] * opacity, opacity])
    top, bottom, left, right = box = _box(planes[3])
    extent = max(bottom - top, right - left)
    if extent < SMALLEST:
        raise BadInput(f"the object is {extent} pixels large; at least {SMALLEST} are needed to make anything out: take a closer picture")
    notes = []
    if min(top, left) == 0 or bottom == planes.shape[1] or right == planes.shape[2]:
        notes.append("the object touches the border of the picture; what is cut off there is guessed, or missing")
    if (share := float(planes[3].mean())) < TINY:
        notes.append(f"the object fills {100 * share:.1f} % of the picture; check that the mask shows the right thing")
    return CutOut(planes, box, tuple(notes))


def framed(cut: CutOut, height: float, size: int) -> Prepared:
    """An object in the middle of a square.

    Args:
        cut: the object.
        height: share of the frame that the object's box is to take; above `tallest` it does not fit.
        size: sides of the result in pixels.
    """
    planes, box = cut.planes, list(cut.box)
    side = (box[1] - box[0]) / height
    if side > LARGEST:  # something flat beside something tall: the frame is far larger than the object
        scale, shape = LARGEST / side, planes.shape[1:]
        planes, box = _resized(planes, [max(1, round(each * scale)) for each in shape]), [round(each * scale) for each in box]
        side = LARGEST
    top, bottom, left, right = box
    window = _window(planes, round((top + bottom) / 2 - LOWER * side), round((left + right) / 2 - side / 2), round(side))
    coarse, fine = (_resized(window, [each, each]).clamp(0, 1) for each in (size, max(size, min(DETAIL, round(side)))))
    picture, detail = (each[:3] + (1 - each[3:]) for each in (coarse, fine))
    return Prepared(picture * 2 - 1, coarse[3], detail.movedim(0, -1), fine[3])


def _box(mask: Float[Tensor, "h w"]) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what is opaque, without specks."""
    labels, _ = ndimage.label((mask > 0.5).numpy(), structure=np.ones((3, 3)))
    sizes = np.bincount(labels.ravel())[1:]
    if not len(sizes):
        raise BadInput("no object stands out in the picture; give one with a plain or transparent background, or a --mask")
    large = np.concatenate([[False], sizes >= SPECK * sizes.max()])[labels]
    rows, columns = (large.any(axis).nonzero()[0] for axis in (1, 0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


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


def _planes(rgb: UInt8[Tensor, "h w 3"], opacity: UInt8[Tensor, "h w 1"], block: int) -> Float[Tensor, "4 h2 w2"]:
    """Colours times opacity, and opacity, means of blocks of pixels; in strips, since a whole large picture in floats takes gigabytes."""
    strips = []
    for top in range(0, len(rgb) // block * block, STRIP * block):
        colors, solid = (part[top : top + STRIP * block].movedim(-1, 0).float() / 255 for part in (rgb, opacity))
        strips.append(functional.avg_pool2d(torch.cat([colors * solid, solid]), block))
    return torch.cat(strips, 1)


def _window(planes: Float[Tensor, "c h w"], y: int, x: int, side: int) -> Float[Tensor, "c side side"]:
    """A square of a picture, empty where it reaches beyond."""
    height, width = planes.shape[1:]
    outside = (max(0, -x), max(0, x + side - width), max(0, -y), max(0, y + side - height))
    padded = functional.pad(planes, outside)
    return padded[:, y + outside[2] : y + outside[2] + side, x + outside[0] : x + outside[0] + side]


def _resized(planes: Real[Tensor, "c h w"], shape: list[int]) -> Real[Tensor, "c h2 w2"]:
    return functional.interpolate(planes[None], shape, mode="bilinear", antialias=True)[0]
