"""Pinhole cameras in the OpenCV convention: x right, y down, z forward; pixel centres at +0.5."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.renderers.quaternions import quaternion_to_matrix


@dataclass(frozen=True, slots=True)
class Cameras:
    """A batch of views that share one image size.

    Attributes:
        world_to_camera: rigid transforms `[*b, v, 4, 4]`, scene units.
        intrinsics: `[*b, v, 3, 3]` in pixels; no skew is applied.
        width: image width in pixels.
        height: image height in pixels.
    """

    world_to_camera: Float[Tensor, "*b v 4 4"]
    intrinsics: Float[Tensor, "*b v 3 3"]
    width: int
    height: int

    def __post_init__(self) -> None:
        pose, matrix = tuple(self.world_to_camera.shape), tuple(self.intrinsics.shape)
        if len(pose) < 3 or pose[-2:] != (4, 4):
            raise ValueError(f"world_to_camera has shape {pose}; it must be [*b, v, 4, 4]")
        if matrix != (*pose[:-2], 3, 3):
            raise ValueError(f"intrinsics has shape {matrix}; world_to_camera {pose} asks for {(*pose[:-2], 3, 3)}")
        if self.width < 1 or self.height < 1:
            raise ValueError(f"the image size is {self.width}x{self.height}; both sides must be at least 1 pixel")

    @property
    def shape(self) -> torch.Size:
        """Batch shape and number of views, `[*b, v]`."""
        return self.world_to_camera.shape[:-2]

    @property
    def positions(self) -> Float[Tensor, "*b v 3"]:
        """Optical centres in the world: -Rᵀ t."""
        rotation, translation = self.world_to_camera[..., :3, :3], self.world_to_camera[..., :3, 3]
        return -(rotation.mT @ translation[..., None])[..., 0]

    @property
    def forward(self) -> Float[Tensor, "*b v 3"]:
        """Unit viewing directions in the world."""
        return self.world_to_camera[..., 2, :3]

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move or cast both tensors, with the arguments of `torch.Tensor.to`."""
        return replace(
            self,
            world_to_camera=self.world_to_camera.to(*args, **kwargs),
            intrinsics=self.intrinsics.to(*args, **kwargs),
        )

    def select(self, index: Any) -> Self:
        """Views by slice, list, mask or index tensor along the view axis; the axis stays."""
        return replace(self, world_to_camera=self.world_to_camera[..., index, :, :], intrinsics=self.intrinsics[..., index, :, :])

    def expand(self, *batch: int) -> Self:
        """The same views for every element of a batch, `[*batch, *b, v]`."""
        poses, matrices = (part.expand(*batch, *part.shape) for part in (self.world_to_camera, self.intrinsics))
        return replace(self, world_to_camera=poses, intrinsics=matrices)

    def resized(self, width: int, height: int) -> Self:
        """The same views on another pixel grid; the field of view is kept."""
        scale = self.intrinsics.new_tensor([width / self.width, height / self.height, 1.0])
        return replace(self, intrinsics=self.intrinsics * scale[:, None], width=width, height=height)

    def moved(self, transform: Float[Tensor, "4 4"]) -> Self:
        """The same views of a world whose points p became `transform @ p`, a rotation, uniform scale and translation.

        The result is rigid again: the scale moves into the translation.
        """
        transform = transform.to(self.world_to_camera)
        scale = torch.linalg.det(transform[:3, :3]).pow(1 / 3)
        moved = self.world_to_camera @ torch.linalg.inv(transform)
        return replace(self, world_to_camera=torch.cat([moved[..., :3, :] * scale, moved[..., 3:, :]], -2))


def stacked(cameras: Sequence[Cameras]) -> Cameras:
    """Views `[v]` of several image sizes as one batch, on the pixel grid of the first."""
    width, height = cameras[0].width, cameras[0].height
    resized = [each.resized(width, height) for each in cameras]
    poses, matrices = ([getattr(each, name) for each in resized] for name in ("world_to_camera", "intrinsics"))
    return Cameras(torch.cat(poses), torch.cat(matrices), width, height)


def rigid_inverse(transforms: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 4 4"]:
    """Inverse of rotation-and-translation matrices."""
    rotation, translation = transforms[..., :3, :3].mT, transforms[..., :3, 3:]
    top = torch.cat([rotation, -rotation @ translation], -1)
    return torch.cat([top, transforms[..., 3:, :]], -2)


def pinhole(focal: float, width: int, height: int) -> Float[Tensor, "3 3"]:
    """Intrinsics with square pixels and the principal point at the image centre."""
    return torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])


def look_at(
    eyes: Float[Tensor, "*b 3"], targets: Float[Tensor, "*b 3"], up: tuple[float, float, float] = (0.0, 1.0, 0.0)
) -> Float[Tensor, "*b 4 4"]:
    """`world_to_camera` of cameras at `eyes` that look at `targets` with `up` upwards in the image.

    Looking straight along `up`, the camera's right is taken from the world's x axis.
    """
    forward = torch.nn.functional.normalize(targets - eyes, dim=-1)
    right = torch.linalg.cross(forward, eyes.new_tensor(up).expand_as(forward))
    pole = right.norm(dim=-1, keepdim=True) < 1e-6
    right = torch.where(pole, eyes.new_tensor([1.0, 0.0, 0.0]), right)
    right = torch.nn.functional.normalize(right - (right * forward).sum(-1, keepdim=True) * forward, dim=-1)
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward], -2)
    top = torch.cat([rotation, -(rotation @ eyes[..., None])], -1)
    bottom = eyes.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*top.shape[:-2], 1, 4)
    return torch.cat([top, bottom], -2)


def orbit(
    azimuths: Float[Tensor, " v"],
    elevations: Float[Tensor, " v"],
    *,
    radius: float,
    fov: float,
    width: int,
    height: int,
    target: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Cameras:
    """Cameras on a sphere around `target`; azimuth 0 sees the front (+Z), growing azimuth goes towards +X.

    Args:
        azimuths: degrees.
        elevations: degrees above the horizon.
        radius: distance in scene units.
        fov: horizontal field of view in degrees.
        width: pixels.
        height: pixels.
        target: the point looked at.
    """
    if not 0 < fov < 180:
        raise ValueError(f"the field of view is {fov} degrees; it must lie between 0 and 180")
    azimuth, elevation = torch.deg2rad(azimuths), torch.deg2rad(elevations)
    outward = torch.stack([azimuth.sin() * elevation.cos(), elevation.sin(), azimuth.cos() * elevation.cos()], -1)
    centre = outward.new_tensor(target)
    poses = look_at(centre + radius * outward, centre.expand_as(outward))
    focal = 0.5 * width / math.tan(math.radians(fov) / 2)
    matrix = pinhole(focal, width, height).to(poses)
    return Cameras(poses, matrix.expand(*poses.shape[:-2], 3, 3), width, height)


def opengl_to_opencv(camera_to_world: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 4 4"]:
    """`world_to_camera` from OpenGL or Blender camera-to-world matrices (x right, y up, z backwards)."""
    flip = camera_to_world.new_tensor([1.0, -1.0, -1.0, 1.0])
    return rigid_inverse(camera_to_world * flip)


def opencv_to_opengl(world_to_camera: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 4 4"]:
    """OpenGL camera-to-world matrices, as transforms.json stores them."""
    return rigid_inverse(world_to_camera) * world_to_camera.new_tensor([1.0, -1.0, -1.0, 1.0])


def colmap_to_opencv(quats: Float[Tensor, "*b 4"], translations: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 4 4"]:
    """`world_to_camera` from COLMAP's world-to-camera quaternions wxyz and translations."""
    top = torch.cat([quaternion_to_matrix(quats), translations[..., None]], -1)
    bottom = top.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*top.shape[:-2], 1, 4)
    return torch.cat([top, bottom], -2)
