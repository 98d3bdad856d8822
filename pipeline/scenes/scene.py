"""A real place as photos tell it: pictures, cameras, points and which photos are held out."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gen3d.renderers.cameras import Cameras, stacked
from gen3d.renderers.mesh import PointCloud


@dataclass(frozen=True, slots=True)
class View:
    """One photo with its camera.

    Attributes:
        name: file name relative to the scene's image folder; unique in a scene.
        image: `[h, w, 3]` display-referred sRGB, undistorted and downscaled; straight colour where alpha is given.
        alpha: `[h, w]` coverage of the object, from a photo with transparency, or None.
        mask: `[h, w]` 255 where the pixel counts for the loss, 0 where it must be ignored, or None when all count.
        camera: shape `[1]`, of this photo's size, float32.
    """

    name: str
    image: UInt8[Tensor, "h w 3"]
    alpha: UInt8[Tensor, "h w"] | None
    mask: UInt8[Tensor, "h w"] | None
    camera: Cameras

    def over(self, background: Sequence[float] | Float[Tensor, " 3"] | None = None) -> Float[Tensor, "h w 3"]:
        """The photo in [0, 1] as it looks over a colour; None is black, and without alpha the colour does not matter."""
        image = self.image.float() / 255
        if self.alpha is None:
            return image
        alpha = self.alpha[..., None].float() / 255
        behind = image.new_zeros(3) if background is None else torch.as_tensor(background).to(image)
        return image * alpha + behind * (1 - alpha)


@dataclass(frozen=True, slots=True)
class Scene:
    """What is known of a real place.

    Attributes:
        train: photos to fit to, in name order; at least two.
        test: photos held out for evaluation, in name order; may be empty.
        points: coloured points in the frame of the cameras, or None.
        world_from_source: the rigid transform from the files' frame to this one, float64; the identity as read.
        notes: sentences for the user about what was not used.
    """

    train: tuple[View, ...]
    test: tuple[View, ...]
    points: PointCloud | None
    world_from_source: Float[Tensor, "4 4"]
    notes: tuple[str, ...] = ()

    @property
    def views(self) -> tuple[View, ...]:
        """All photos, training first."""
        return self.train + self.test

    @property
    def extent(self) -> float:
        """Size of the scene in its units: 1.1 times the radius of the training cameras around their mean.

        The unit of learning rates and thresholds in 3D Gaussian Splatting (Kerbl et al. 2023); never 0.
        """
        positions = torch.cat([view.camera.positions for view in self.train])
        radius = (positions - positions.mean(0)).norm(dim=-1).max().item()
        return 1.1 * radius if radius > 0 else 1.0


def stacked_cameras(views: Sequence[View]) -> Cameras:
    """The cameras of photos of any size as one batch `[v]`, on the pixel grid of the first photo."""
    return stacked([view.camera for view in views])
