"""A real place as photos tell it: pictures, cameras, points and which photos are held out."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gen3d.renderers.cameras import Cameras
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


@dataclass(frozen=True, slots=True)
class Scene:
    """What is known of a real place.

    Attributes:
        train: photos to fit to, in name order; at least two.
        test: photos held out for evaluation, in name order; may be empty.
        points: coloured points in the frame of the cameras, or None.
        world_from_source: the rigid transform from the files' frame to this one, float64; the identity as read.
    """

    train: tuple[View, ...]
    test: tuple[View, ...]
    points: PointCloud | None
    world_from_source: Float[Tensor, "4 4"]

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
