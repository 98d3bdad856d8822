"""Views as bytes: the pictures of an object below each other in one WebP file, and another for depth and normals.

The first file is RGBA with straight colours. The three channels of the second, which is lossless, are the depth in 8 bits and the
normal as a point of the octahedron unfolded into a square (Meyer et al. 2010), 8 bits a coordinate.
"""

import io
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gen3d.errors import BadInput
from gen3d.pipeline.formats.images import decode_image, to_uint8
from gen3d.pipeline.objects.views import DISTANCE, RADIUS, ObjectViews
from gen3d.renderers.cameras import Cameras

NEAR, FAR = DISTANCE - RADIUS, DISTANCE + RADIUS  # every point of an object that is fitted by its sphere lies between
STEPS = 254  # of a quantised depth or coordinate: an even number, so that the coordinates -1, 0 and 1 are exact
LOSSLESS = {"lossless": True, "quality": 60, "method": 4}  # more effort takes twice the time for 1 % fewer bytes


def encode_views(
    views: ObjectViews, *, geometry: bool = True, quality: int = 100, near: float = NEAR, far: float = FAR
) -> tuple[bytes, ...]:
    """The content of one file, or two with depth and normals.

    Args:
        views: what to encode.
        geometry: whether to encode depth and normals.
        quality: of the colours; 100 is lossless.
        near: depth of the first step.
        far: depth of the last step.
    """
    colors = torch.cat([to_uint8(views.rgb), to_uint8(views.alpha)[..., None]], -1)
    options: Mapping[str, object] = LOSSLESS if quality == 100 else {"quality": quality, "method": 4}
    files = [_webp(colors, options)]
    if geometry:
        if views.depth is None or views.normal is None:
            raise ValueError("these views have no depth and normals; encode them with geometry=False")
        files.append(_webp(torch.cat([encode_depth(views.depth, near, far)[..., None], encode_normal(views.normal)], -1), LOSSLESS))
    return tuple(files)


def decode_views(
    files: Sequence[bytes], cameras: Cameras, name: str, views: Sequence[int] | None = None, *, near: float = NEAR, far: float = FAR
) -> ObjectViews:
    """The views that `encode_views` wrote.

    Args:
        files: one or two.
        cameras: `[v]`, all that were encoded.
        name: how to call them in an error.
        views: which to return; None returns all.
        near: depth of the first step.
        far: depth of the last step.

    Raises:
        BadInput: a file is damaged, or does not hold as many pixels as there are cameras for.
    """
    chosen = list(range(cameras.shape[0])) if views is None else list(views)
    color, opacity = _pictures(files[0], cameras, name)
    alpha = torch.ones(color.shape[:3])[chosen] if opacity is None else opacity[chosen].float() / 255
    rgb = color[chosen].float() / 255 * (alpha > 0)[..., None]
    if len(files) == 1:
        return ObjectViews(cameras.select(chosen), rgb, alpha)
    codes = _pictures(files[1], cameras, name)[0][chosen]
    covered = alpha > 0
    depth, normal = decode_depth(codes[..., 0], near, far), decode_normal(codes[..., 1:])
    return ObjectViews(cameras.select(chosen), rgb, alpha, depth * covered, normal * covered[..., None])


def encode_depth(depth: Float[Tensor, "*b"], near: float = NEAR, far: float = FAR) -> UInt8[Tensor, "*b"]:
    """Depths between `near` and `far` in 254 steps, of 0.0039 where a sphere is fitted; 0 is nothing."""
    steps = (depth - near) / (far - near) * STEPS
    return torch.where(depth > 0, 1 + steps.round().clamp(0, STEPS), 0.0).to(torch.uint8)


def decode_depth(code: UInt8[Tensor, "*b"], near: float = NEAR, far: float = FAR) -> Float[Tensor, "*b"]:
    """What `encode_depth` made into a code, to 0.002; 0 for nothing."""
    return torch.where(code > 0, near + (code.float() - 1) / STEPS * (far - near), 0.0)


def encode_normal(normal: Float[Tensor, "*b 3"]) -> UInt8[Tensor, "*b 2"]:
    """Unit vectors on the unfolded octahedron; those along the axes are exact, and of a zero vector +Z is left."""
    flat = normal / normal.abs().sum(-1, keepdim=True).clamp_min(1e-9)
    square = torch.where(flat[..., 2:] < 0, _folded(flat[..., :2]), flat[..., :2])
    return ((square + 1) / 2 * STEPS).round().to(torch.uint8)


def decode_normal(code: UInt8[Tensor, "*b 2"]) -> Float[Tensor, "*b 3"]:
    """The unit vectors that `encode_normal` made into codes, to one degree."""
    square = (code.float() / STEPS * 2 - 1).clamp_max(1)
    height = 1 - square.abs().sum(-1, keepdim=True)
    across = torch.where(height < 0, _folded(square), square)
    return torch.nn.functional.normalize(torch.cat([across, height], -1), dim=-1)


def _folded(square: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b 2"]:
    """Points of the square mirrored at the edges of the octahedron; its own inverse."""
    return (1 - square.flip(-1).abs()) * torch.where(square < 0, -1.0, 1.0)


def _webp(pictures: UInt8[Tensor, "v h w c"], options: Mapping[str, object]) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pictures.flatten(0, 1).contiguous().numpy()).save(stream, format="WEBP", **options)
    return stream.getvalue()


def _pictures(data: bytes, cameras: Cameras, name: str) -> tuple[UInt8[Tensor, "v h w 3"], UInt8[Tensor, "v h w"] | None]:
    """Colours and alpha of the views in a file."""
    rgb, alpha = decode_image(data, name, orient=False)
    shape = (cameras.shape[0], cameras.height, cameras.width)
    if rgb.shape[:2] != (shape[0] * shape[1], shape[2]):
        raise BadInput(f"{name} has pictures of {tuple(rgb.shape[:2])} rows and columns, and {shape} are expected; render the set again")
    return rgb.reshape(*shape, 3), None if alpha is None else alpha.reshape(shape)
