"""What a splat file holds, and the rules that splats keep on their way in and out."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool
from torch import Tensor

from gen3d.renderers.gaussians import Gaussians

MIN_SCALE = 1e-20  # a flat splat keeps a finite logarithm
MIN_OPACITY = 1 / 255  # rasterizers skip what is fainter


@dataclass(frozen=True, slots=True)
class SplatContents:
    """The content of one file, in the file's own frame.

    Attributes:
        gaussians: unbatched splats `[n]`, float32 on the CPU.
        frame: name of the frame (see `renderers.frames`), None where the file does not say.
        unit: what one scene unit is, None where the file does not say.
        comments: what else the file says about itself, or what its format could not keep.
    """

    gaussians: Gaussians
    frame: str | None = None
    unit: str | None = None
    comments: tuple[str, ...] = ()


def finite(gaussians: Gaussians) -> Bool[Tensor, " n"]:
    """Which splats have neither NaN nor infinity in any of their numbers."""
    columns = (gaussians.means, gaussians.scales, gaussians.quats, gaussians.opacities[:, None], gaussians.sh.flatten(1))
    return torch.stack([column.isfinite().all(-1) for column in columns]).all(0)


def visible(gaussians: Gaussians) -> Bool[Tensor, " n"]:
    """Which splats are finite and opaque enough to be drawn: at least 1/255."""
    return finite(gaussians) & (gaussians.opacities >= MIN_OPACITY)


def cleaned(gaussians: Gaussians, mask: Bool[Tensor, " n"]) -> Gaussians:
    """The finite splats that `mask` keeps, with scales > 0, opacities in [0, 1] and unit quaternions; zero is no rotation."""
    kept = gaussians if bool(mask.all()) else gaussians.select(mask)
    quats = kept.quats.double()  # float32 squares overflow beyond 1e19
    length = quats.norm(dim=-1, keepdim=True)
    quats = torch.where(length > 0, quats / length, quats.new_tensor([1.0, 0.0, 0.0, 0.0]))
    return replace(
        kept,
        scales=kept.scales.abs().clamp_min(MIN_SCALE),
        opacities=kept.opacities.clamp(0, 1),
        quats=quats.to(kept.quats),
    )
