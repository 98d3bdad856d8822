"""Splats as `.splat`: 32 bytes each and no header, the format of the first web viewers.

Little endian: position 3 x f32, standard deviations 3 x f32, red green blue opacity 4 x u8, quaternion wxyz 4 x u8 as
128 q + 128. Opacity and colour are rounded to 1/255, rotations to about half a degree, and only harmonics of degree 0 are
kept. The most important splats (opacity times volume) come first, so that a viewer can draw while it loads.
"""

from typing import BinaryIO

import numpy as np
import torch

from gen3d.errors import BadInput
from gen3d.pipeline.formats.contents import SplatContents
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.harmonics import rgb_to_sh0, sh0_to_rgb

ROW = np.dtype([("means", "<f4", 3), ("scales", "<f4", 3), ("rgba", "u1", 4), ("quats", "u1", 4)])


def decode(data: bytes, name: str) -> SplatContents:
    """Read a `.splat` file.

    Raises:
        BadInput: the size is not a multiple of 32 bytes.
    """
    if len(data) % ROW.itemsize:
        raise BadInput(f"{name} has {len(data):,} bytes, not a multiple of {ROW.itemsize}; it is cut off or not a .splat file")
    rows = np.frombuffer(data, ROW)
    rgba = torch.from_numpy(rows["rgba"] / np.float32(255))
    return SplatContents(
        Gaussians(
            means=torch.from_numpy(rows["means"].astype(np.float32)),
            scales=torch.from_numpy(rows["scales"].astype(np.float32)),
            quats=torch.from_numpy((rows["quats"].astype(np.float32) - 128) / 128),
            opacities=rgba[:, 3].contiguous(),
            sh=rgb_to_sh0(rgba[:, None, :3]),
        )
    )


def encode(stream: BinaryIO, contents: SplatContents) -> tuple[str, ...]:
    """Write unbatched splats of degree 0 with unit quaternions; the result says what the format could not keep."""
    gaussians = contents.gaussians
    order = (gaussians.opacities * gaussians.scales.prod(-1)).argsort(descending=True, stable=True)
    sorted_ = gaussians.select(order)
    rows = np.empty(gaussians.count, ROW)
    rows["means"] = sorted_.means.numpy()
    rows["scales"] = sorted_.scales.numpy()
    colors = torch.cat([sh0_to_rgb(sorted_.sh[:, 0]), sorted_.opacities[:, None]], 1)
    rows["rgba"] = (colors.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    quats = torch.where(sorted_.quats[:, :1] < 0, -sorted_.quats, sorted_.quats)
    rows["quats"] = (quats * 128 + 128).round().clamp(0, 255).to(torch.uint8).numpy()
    stream.write(rows.tobytes())
    return ("colours, opacities and rotations were rounded to 8 bits",)
