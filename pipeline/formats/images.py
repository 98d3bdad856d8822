"""Pictures in and out: decoding files of strangers, writing results, contact sheets and depth colours."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gen3d.errors import BadInput, UsageError
from gen3d.files import GIBIBYTE, atomic_path, read_bytes

# Pillow knows more, but some of it starts other programs (EPS) or has no signature (TGA).
READ_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
WRITE_OPTIONS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG", "compress_level": 6},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".webp": {"format": "WEBP", "quality": 95},
}
MAX_PIXELS = 160_000_000

# Far to near: dark blue, violet, red, orange, pale yellow; lightness grows all the way.
DEPTH_COLORS = ((0.04, 0.04, 0.16), (0.34, 0.10, 0.46), (0.74, 0.22, 0.38), (0.96, 0.55, 0.22), (1.0, 0.96, 0.72))


def read_image(path: str | Path, *, orient: bool = True) -> tuple[UInt8[Tensor, "h w 3"], UInt8[Tensor, "h w"] | None]:
    """Read a picture file; see `decode_image`.

    Raises:
        BadInput: the file cannot be read or is not a picture.
    """
    return decode_image(read_bytes(path, limit=GIBIBYTE), str(path), orient=orient)


def decode_image(data: bytes, name: str, *, orient: bool = True) -> tuple[UInt8[Tensor, "h w 3"], UInt8[Tensor, "h w"] | None]:
    """Colours and, where the picture has them, straight alphas of an encoded picture; 16 bits become 8.

    Args:
        data: the content of the file.
        name: how to call it in an error.
        orient: turn the picture as its EXIF orientation says.

    Raises:
        BadInput: not a picture of a known kind, damaged, or larger than `MAX_PIXELS`.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data), formats=READ_FORMATS) as image:
            width, height = image.size
            if width * height <= MAX_PIXELS:
                image.load()
                pixels = _pixels(ImageOps.exif_transpose(image) if orient else image)
    except Image.DecompressionBombError as error:
        raise BadInput(f"{name} is a larger picture than the {MAX_PIXELS:,} pixels that are read ({error}); make it smaller") from error
    except Image.UnidentifiedImageError as error:
        raise BadInput(f"{name} is not a picture that can be read ({', '.join(READ_FORMATS)}); convert it to PNG or JPEG") from error
    except Exception as error:  # decoders raise nearly anything on damaged files
        raise BadInput(f"{name} is a damaged picture ({error or type(error).__name__}); write or download it again") from error
    if width * height > MAX_PIXELS:
        raise BadInput(f"{name} has {width}x{height} pixels and at most {MAX_PIXELS:,} are read; make it smaller")
    rgb = torch.from_numpy(pixels[..., :3].copy())
    return rgb, torch.from_numpy(pixels[..., 3].copy()) if pixels.shape[-1] == 4 else None


def _pixels(image: Any) -> np.ndarray:
    """Any mode of Pillow as uint8 `[h, w, 3 or 4]`."""
    if image.mode.startswith("I"):  # 16-bit grey; Pillow would clip it to 255 instead of scaling it
        grey = (np.asarray(image).astype(np.float64) / 257).round().clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, -1)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range")
    return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def to_uint8(image: Float[Tensor, "*b"]) -> UInt8[Tensor, "*b"]:
    """Values in [0, 1], clamped and rounded to 0..255; NaN becomes 0."""
    return (image.detach().nan_to_num(0.0).clamp(0, 1) * 255).round().to(torch.uint8)


def write_image(path: str | Path, image: Float[Tensor, "h w c"]) -> None:
    """Write a picture in [0, 1] with 3 channels, or 4 with straight alpha, in the format of the suffix, in one step.

    Raises:
        UsageError: the suffix is not PNG, JPEG or WebP, or JPEG is asked to keep alpha.
        Gen3DError: the file cannot be written.
    """
    from PIL import Image

    suffix = Path(path).suffix.lower()
    if image.ndim != 3 or image.shape[-1] not in (3, 4):
        raise ValueError(f"the picture has shape {tuple(image.shape)}; it must be [h, w, 3] or [h, w, 4]")
    if suffix not in WRITE_OPTIONS:
        raise UsageError(f"{path} does not end in one of {', '.join(WRITE_OPTIONS)}, the kinds of picture that are written; rename it")
    options = WRITE_OPTIONS[suffix]
    if options["format"] == "JPEG" and image.shape[-1] == 4:
        raise UsageError(f"{path} is a JPEG, which keeps no transparency; write a .png or .webp")
    picture = Image.fromarray(to_uint8(image).cpu().numpy())
    with atomic_path(path) as temporary:
        picture.save(temporary, **options)


def encode_png(image: Float[Tensor, "h w c"]) -> bytes:
    """A picture in [0, 1] with 3 channels, or 4 with straight alpha, as the content of a PNG file of 8 bits a channel."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(to_uint8(image).cpu().numpy()).save(stream, **WRITE_OPTIONS[".png"])
    return stream.getvalue()


def contact_sheet(images: Float[Tensor, "v h w c"], columns: int | None = None) -> Float[Tensor, "sheet_h sheet_w c"]:
    """Pictures of one size side by side in reading order; the cells that stay empty are 0.

    Args:
        images: one or more pictures.
        columns: cells in a row; None makes the sheet about square.
    """
    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    cells = torch.cat([images, images.new_zeros(rows * columns - count, height, width, channels)])
    return cells.reshape(rows, columns, height, width, channels).transpose(1, 2).reshape(rows * height, columns * width, channels)


def colorize_depth(depth: Float[Tensor, "*b h w"], alpha: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b h w 3"]:
    """Depth as colours, near bright, over black; one range for the whole batch, so that a video does not flicker.

    The scale is disparity (1 / depth) between its 2nd and 98th percentile over the pixels that are mostly covered.
    """
    covered = (alpha > 0.5) & (depth > 0)
    if not covered.any():
        return torch.zeros(*depth.shape, 3, dtype=depth.dtype, device=depth.device)
    disparity = 1 / torch.where(covered, depth, torch.ones_like(depth))
    ordered = disparity[covered].sort().values
    far, near = ordered[int(0.02 * (len(ordered) - 1))], ordered[math.ceil(0.98 * (len(ordered) - 1))]
    position = ((disparity - far) / (near - far).clamp_min(1e-12)).clamp(0, 1) * (len(DEPTH_COLORS) - 1)
    colors = depth.new_tensor(DEPTH_COLORS)
    lower = position.floor().long().clamp_max(len(DEPTH_COLORS) - 2)
    weight = (position - lower)[..., None]
    return (colors[lower] * (1 - weight) + colors[lower + 1] * weight) * (alpha * covered)[..., None]
