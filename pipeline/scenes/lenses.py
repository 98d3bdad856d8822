"""Lens models: where the rays of a pinhole camera end in a photo, and photos resampled as a pinhole would take them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gen3d.errors import BadInput

# COLMAP's names, in the order of COLMAP's parameters; nerfstudio uses the same names.
MODELS: dict[str, tuple[str, ...]] = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
    "FULL_OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "OPENCV_FISHEYE": ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4"),
    "SIMPLE_RADIAL_FISHEYE": ("f", "cx", "cy", "k1"),
    "RADIAL_FISHEYE": ("f", "cx", "cy", "k1", "k2"),
}
MAX_SIDE = 1_000_000


@dataclass(frozen=True, slots=True)
class Lens:
    """Intrinsics and distortion of a real camera, for photos of one size.

    With x, y the ideal image plane at depth 1, r² = x² + y² and θ = atan r, the models are
    (x, y) · (1 + Σ radialᵢ r²ⁱ) / (1 + Σ denominatorᵢ r²ⁱ) + tangential terms (Brown 1966, as in OpenCV), and for a fisheye
    (x, y) · θ (1 + Σ radialᵢ θ²ⁱ) / r (Kannala and Brandt 2006).

    Attributes:
        width: pixels.
        height: pixels.
        focal: fx, fy in pixels.
        center: principal point cx, cy in pixels; pixel centres lie at +0.5.
        radial: k1, k2, …; as many as there are.
        denominator: k4, k5, k6 of FULL_OPENCV.
        tangential: p1, p2.
        fisheye: the radial polynomial is one of the angle.
    """

    width: int
    height: int
    focal: tuple[float, float]
    center: tuple[float, float]
    radial: tuple[float, ...] = ()
    denominator: tuple[float, ...] = ()
    tangential: tuple[float, float] = (0.0, 0.0)
    fisheye: bool = False

    @property
    def distorted(self) -> bool:
        """Whether this is anything but a pinhole."""
        return self.fisheye or any((*self.radial, *self.denominator, *self.tangential))

    @property
    def intrinsics(self) -> Float[Tensor, "3 3"]:
        """The matrix of the pinhole that is left when the distortion is undone, float64."""
        (fx, fy), (cx, cy) = self.focal, self.center
        return torch.tensor([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]], dtype=torch.float64)

    def resized(self, width: int, height: int) -> Self:
        """The same lens over another pixel grid."""
        x, y = width / self.width, height / self.height
        focal, center = (self.focal[0] * x, self.focal[1] * y), (self.center[0] * x, self.center[1] * y)
        return replace(self, width=width, height=height, focal=focal, center=center)

    def distort(self, points: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b 2"]:
        """Where ideal points of the image plane at depth 1 appear, on the same plane."""
        x, y = points.unbind(-1)
        squared = x * x + y * y
        if self.fisheye:
            radius = squared.sqrt()
            return points * torch.where(radius > 1e-8, self._radius(radius) / radius, torch.ones_like(radius))[..., None]
        p1, p2 = self.tangential
        ratio = _polynomial(self.radial, squared) / _polynomial(self.denominator, squared)
        if not p1 and not p2:
            return points * ratio[..., None]
        shift = torch.stack([2 * p1 * x * y + p2 * (squared + 2 * x * x), p1 * (squared + 2 * y * y) + 2 * p2 * x * y], -1)
        return points * ratio[..., None] + shift

    def reach(self, radius: float) -> float:
        """The largest ideal radius up to `radius` before which the model is invertible.

        Beyond it the fitted polynomial folds back, and pixels would show a second copy of the photo.
        """
        radii = torch.linspace(0, radius, 4097, dtype=torch.float64)
        growing = self._radius(radii).diff() > 0
        return radius if growing.all() else radii[growing.logical_not().nonzero()[0, 0]].item()

    def _radius(self, radius: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """The distorted radius, without tangential terms."""
        if self.fisheye:
            angle = radius.atan()
            return angle * _polynomial(self.radial, angle * angle)
        return radius * _polynomial(self.radial, radius * radius) / _polynomial(self.denominator, radius * radius)


def make_lens(model: str, width: int, height: int, values: Mapping[str, float], source: str) -> Lens:
    """A lens from named parameters.

    Args:
        model: one of `MODELS`.
        width: pixels.
        height: pixels.
        values: f or fx (and fy), and any of cx, cy, k1 … k6, p1, p2.
        source: how errors call the camera.

    Raises:
        BadInput: the model is not known, or a value cannot be that of a camera.
    """
    if model not in MODELS:
        raise BadInput(f"{source} has the camera model {model!r}, which cannot be undistorted; undistort the photos to PINHOLE first")
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise BadInput(f"{source} is {width}x{height} pixels large; both sides must lie between 1 and {MAX_SIDE:,}: correct the file")
    for name, value in values.items():
        if not abs(value) < 1e9:  # also refuses NaN
            raise BadInput(f"{source} has {name} = {value}; it must be a finite number below 1e9: correct the file")
    fx = values.get("fx", values.get("f", 0.0))
    fy = values.get("fy", fx)
    side = max(width, height)
    if not (0.01 * side <= min(fx, fy) and max(fx, fy) <= 1000 * side):
        raise BadInput(
            f"{source} has the focal length {fx:g}, {fy:g}; for {width}x{height} pixels it must be positive and"
            f" between {0.01 * side:g} and {1000 * side:g} pixels: correct the file"
        )
    k1, k2, k3, k4, k5, k6 = (values.get(f"k{i}", 0.0) for i in range(1, 7))
    rational = model == "FULL_OPENCV"
    return Lens(
        width,
        height,
        focal=(fx, fy),
        center=(values.get("cx", width / 2), values.get("cy", height / 2)),
        radial=_trimmed(k1, k2, k3) if rational else _trimmed(k1, k2, k3, k4),
        denominator=_trimmed(k4, k5, k6) if rational else (),
        tangential=(values.get("p1", 0.0), values.get("p2", 0.0)),
        fisheye=model.endswith("FISHEYE"),
    )


def undistort(image: Float[Tensor, "c h w"], lens: Lens) -> tuple[Float[Tensor, "c h w"], Bool[Tensor, "h w"]]:
    """What a pinhole with the intrinsics of `lens` would have seen, and which of its pixels the photo covers.

    Each ideal pixel is carried through the lens and looked up bicubically; outside the photo its border is repeated.
    """
    size = image.new_tensor([lens.width, lens.height])
    focal, center = image.new_tensor(lens.focal), image.new_tensor(lens.center)
    x, y = ((torch.arange(side).to(image) + 0.5) for side in (lens.width, lens.height))
    ideal = (torch.stack(torch.meshgrid(x, y, indexing="xy"), -1) - center) / focal
    radius = ideal.norm(dim=-1)
    position = (lens.distort(ideal) * focal + center) / size
    inside = ((position >= 0) & (position <= 1)).all(-1) & (radius <= lens.reach(radius.max().item()))
    grid = (position * 2 - 1).nan_to_num_(2.0).clamp_(-2, 2)
    sampled = torch.nn.functional.grid_sample(image[None], grid[None], mode="bicubic", padding_mode="border", align_corners=False)
    return sampled[0], inside


def _trimmed(*coefficients: float) -> tuple[float, ...]:
    """Coefficients without the zeros at the end."""
    used = [index for index, value in enumerate(coefficients, 1) if value]
    return coefficients[: max(used, default=0)]


def _polynomial(coefficients: tuple[float, ...], squared: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """1 + c₁ s + c₂ s² + …, by Horner's rule."""
    value = torch.zeros_like(squared)
    for coefficient in reversed(coefficients):
        value = (value + coefficient) * squared
    return value + 1
