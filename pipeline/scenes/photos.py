"""From a picture file to a view: decoded, undistorted, downscaled, with intrinsics that follow exactly."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from gen3d.errors import BadInput
from gen3d.pipeline.formats.images import READ_FORMATS, read_image
from gen3d.pipeline.scenes.lenses import Lens, undistort
from gen3d.pipeline.scenes.scene import View
from gen3d.pipeline.scenes.shots import Shot
from gen3d.renderers.cameras import Cameras

MIN_SIDE = 16


def photo_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture as its pixels are stored, from the header.

    Raises:
        BadInput: not a picture.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=READ_FORMATS) as header:
            return header.size
    except Exception:  # the full reader says what is wrong
        image, _ = read_image(path, orient=False)
        return image.shape[1], image.shape[0]


def develop(shot: Shot, max_size: int) -> View:
    """The view of a shot: decode, downscale, undo the lens distortion.

    Photos are undistorted at up to twice the final size, so that the interpolation does not blur the result.

    Args:
        shot: what the scene's files say.
        max_size: longest side in pixels; photos are never enlarged.

    Raises:
        BadInput: the photo or its mask is damaged, too small, or of another shape than its camera.
    """
    image, alpha = _read_photo(shot)
    keep = None if shot.mask is None else _read_mask(shot.mask, image)
    size = image.shape[1], image.shape[0]
    scale = min(1.0, max_size / max(size))
    width, height = (max(1, round(side * scale)) for side in size)
    if min(width, height) < MIN_SIDE:
        raise BadInput(
            f"{shot.photo} is {size[0]}x{size[1]} pixels, read as {width}x{height}; both sides need {MIN_SIDE}: use larger photos"
        )
    lens = shot.lens.resized(*size)
    if lens.distorted:
        lens = lens.resized(min(size[0], 2 * width), min(size[1], 2 * height))
        image, alpha = _resize(image, alpha, lens.width, lens.height)
        keep = None if keep is None else _resize_mask(keep, lens.width, lens.height)
        image, alpha, keep = _undistort(image, alpha, keep, lens)
        if not keep.any():
            raise BadInput(f"the lens distortion of {shot.photo} leaves no pixel of it visible; correct the coefficients of its camera")
    image, alpha = _resize(image, alpha, width, height)
    keep = None if keep is None else _resize_mask(keep, width, height)
    camera = Cameras(shot.world_to_camera[None].float(), lens.resized(width, height).intrinsics[None].float(), width, height)
    return View(shot.name, image, alpha, None if keep is None or bool((keep == 255).all()) else keep, camera)


def _read_photo(shot: Shot) -> tuple[UInt8[Tensor, "h w 3"], UInt8[Tensor, "h w"] | None]:
    """Pixels in the orientation that the camera was solved for.

    Structure from motion reads the stored pixels and ignores the EXIF orientation; applying it would turn the photo away
    from its pose. Only a camera that declares the turned size was solved on turned pixels.
    """
    lens = shot.lens
    image, alpha = read_image(shot.photo, orient=False)
    if not _similar(image, lens) and _similar(image.transpose(0, 1), lens):
        image, alpha = read_image(shot.photo, orient=True)
    if not _similar(image, lens):
        raise BadInput(
            f"{shot.photo} is {image.shape[1]}x{image.shape[0]} pixels and its camera {lens.width}x{lens.height};"
            " the sides must have the same ratio: use the photos that the cameras were solved for"
        )
    return image, alpha


def _similar(image: UInt8[Tensor, "h w 3"], lens: Lens) -> bool:
    """Whether a photo is the declared size, or that size scaled and rounded to whole pixels."""
    height, width = image.shape[:2]
    return abs(width / lens.width * lens.height - height) <= 1 or abs(height / lens.height * lens.width - width) <= 1


def _read_mask(path: Path, image: UInt8[Tensor, "h w 3"]) -> UInt8[Tensor, "h w"]:
    """A mask file at the size of its photo: 255 where it is bright."""
    mask, _ = read_image(path, orient=False)
    if mask.shape[:2] != image.shape[:2]:
        sizes = f"{mask.shape[1]}x{mask.shape[0]} pixels and its photo {image.shape[1]}x{image.shape[0]}"
        raise BadInput(f"the mask {path} is {sizes}; both must have the same size: resize the mask")
    return torch.where(mask.amax(-1) >= 128, 255, 0).byte()


def _undistort(
    image: UInt8[Tensor, "h w 3"], alpha: UInt8[Tensor, "h w"] | None, keep: UInt8[Tensor, "h w"] | None, lens: Lens
) -> tuple[UInt8[Tensor, "h w 3"], UInt8[Tensor, "h w"] | None, UInt8[Tensor, "h w"]]:
    """Undo the distortion; the colours of transparent pixels take no part."""
    planes = image.permute(2, 0, 1).float()
    if alpha is not None:
        planes = torch.cat([planes * alpha / 255, alpha[None].float()])
    ideal, inside = undistort(planes, lens)
    color = ideal[:3]
    if alpha is not None:
        alpha = torch.where(inside, _bytes(ideal[3]), 0).byte()
        color = torch.where(alpha > 0, color * 255 / ideal[3].clamp_min(1e-3), 0.0)
    if keep is not None:
        ignored, _ = undistort((255 - keep)[None].float(), lens)
        inside &= ignored[0].abs() < 1
    return _bytes(color).permute(1, 2, 0).contiguous(), alpha, torch.where(inside, 255, 0).byte()


def _resize(
    image: UInt8[Tensor, "h w 3"], alpha: UInt8[Tensor, "h w"] | None, width: int, height: int
) -> tuple[UInt8[Tensor, "height width 3"], UInt8[Tensor, "height width"] | None]:
    """Antialiased resizing; Pillow premultiplies the colours by alpha on the way.

    Lanczos is sharpest, but its negative lobes are cut off at 0 and 255, and colour divided by a cut alpha is wrong.
    """
    from PIL import Image

    if image.shape[:2] == (height, width):
        return image, alpha
    pixels = image if alpha is None else torch.cat([image, alpha[..., None]], -1)
    kernel = Image.Resampling.LANCZOS if alpha is None else Image.Resampling.HAMMING
    small = Image.fromarray(pixels.numpy()).resize((width, height), kernel)
    result = torch.from_numpy(np.array(small))
    return result[..., :3].contiguous(), None if alpha is None else result[..., 3].contiguous()


def _resize_mask(keep: UInt8[Tensor, "h w"], width: int, height: int) -> UInt8[Tensor, "height width"]:
    """A pixel counts only when all that it covers counts."""
    from PIL import Image

    small = Image.fromarray(keep.numpy()).resize((width, height), Image.Resampling.BOX)
    return torch.where(torch.from_numpy(np.array(small)) == 255, 255, 0).byte()


def _bytes(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).byte()
