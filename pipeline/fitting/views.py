"""Training photos in memory, at the resolutions that a fit uses."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gen3d.pipeline.scenes.scene import View
from gen3d.renderers.cameras import Cameras

MIN_SIDE = 32  # photos are not reduced below this


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo as bytes, to be turned into floats when its turn comes.

    Attributes:
        image: `[h, w, 3]`.
        alpha: coverage of the object `[h, w]`, or None.
        mask: 255 where the pixel counts `[h, w]`, or None.
        camera: one view of the photo's size.
    """

    image: UInt8[Tensor, "h w 3"]
    alpha: UInt8[Tensor, "h w"] | None
    mask: UInt8[Tensor, "h w"] | None
    camera: Cameras

    @classmethod
    def from_view(cls, view: View) -> Self:
        """The photo at its full size."""
        return cls(view.image, view.alpha, view.mask, view.camera)

    def halved(self) -> Self:
        """The photo at half its size, each pixel the mean of four (an odd last row or column is cut)."""
        if min(self.camera.width, self.camera.height) < 2 * MIN_SIDE:
            return self
        height, width = self.camera.height // 2, self.camera.width // 2
        cut = self.camera.intrinsics * self.camera.intrinsics.new_tensor([0.5, 0.5, 1.0])[:, None]
        # Colour under a transparent pixel means nothing, so it must not bleed into its neighbours.
        alpha = None if self.alpha is None else self.alpha[: 2 * height, : 2 * width].float()
        image = self.image[: 2 * height, : 2 * width].float()
        if alpha is None:
            small, small_alpha = _quarter(image), None
        else:
            weight = _quarter(alpha[..., None])
            small = _quarter(image * alpha[..., None]) / weight.clamp_min(1e-3)
            small_alpha = weight[..., 0].round().byte()
        # A pixel counts only when all four of its parents do.
        mask = None if self.mask is None else _quarter_min(self.mask[: 2 * height, : 2 * width])
        camera = replace(self.camera, intrinsics=cut, width=width, height=height)
        return replace(self, image=small.round().clamp(0, 255).byte(), alpha=small_alpha, mask=mask, camera=camera)

    def to(self, device: torch.device) -> Self:
        """The photo on a device."""
        alpha, mask = (None if tensor is None else tensor.to(device) for tensor in (self.alpha, self.mask))
        return replace(self, image=self.image.to(device), alpha=alpha, mask=mask, camera=self.camera.to(device))

    def target(self, background: Float[Tensor, " 3"]) -> Float[Tensor, "1 h w 3"]:
        """What a render over `background` should look like."""
        image = self.image.float().mul_(1 / 255)
        if self.alpha is not None:
            alpha = self.alpha[..., None].float().mul_(1 / 255)
            image = image * alpha + background * (1 - alpha)
        return image[None]

    def weights(self) -> Float[Tensor, "1 h w"] | None:
        """How much each pixel counts, or None when all count the same."""
        return None if self.mask is None else self.mask[None].float() / 255


def _quarter(image: Float[Tensor, "h w c"]) -> Float[Tensor, "h2 w2 c"]:
    return torch.nn.functional.avg_pool2d(image.permute(2, 0, 1), 2).permute(1, 2, 0).contiguous()


def _quarter_min(image: UInt8[Tensor, "h w"]) -> UInt8[Tensor, "h2 w2"]:
    return (-torch.nn.functional.max_pool2d(-image[None].float(), 2)[0]).byte()
