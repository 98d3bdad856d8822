"""Soft light on pictures of unlit surfaces, from their normals; so one set gives any number of lit variants."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.pipeline.formats.colors import display_to_linear, linear_to_display
from gen3d.pipeline.objects.views import numbers_of

WRAP = 0.5  # how far light reaches around an edge: that of a lamp as large as a window
GROUND = 0.4  # light from below as a share of that from above
ELEVATIONS = (20.0, 75.0)  # degrees
AMBIENT = (0.35, 0.65)
EXPOSURE = 1.25  # as of a photo in which the object is well lit


@dataclass(frozen=True, slots=True)
class SoftLight:
    """One large lamp and light from everywhere, fixed in the world, without shadows.

    Attributes:
        azimuth: of the lamp in degrees, as of cameras.
        elevation: of the lamp in degrees above the horizon.
        ambient: share of the light that does not come from the lamp.
    """

    azimuth: float
    elevation: float
    ambient: float

    def shade(self, rgb: Float[Tensor, "*b 3"], normal: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
        """Colours in this light. Surfaces towards the lamp keep their colour, the others are darker.

        Args:
            rgb: display-referred sRGB in [0, 1].
            normal: unit vectors in the world; where they are 0 nothing changes.
        """
        around, above = math.radians(self.azimuth), math.radians(self.elevation)
        lamp = normal.new_tensor([math.sin(around) * math.cos(above), math.sin(above), math.cos(around) * math.cos(above)])
        direct = ((normal @ lamp + WRAP) / (1 + WRAP)).clamp_min(0)
        around_it = GROUND + (1 - GROUND) * (0.5 + 0.5 * normal[..., 1])
        light = self.ambient * around_it + (1 - self.ambient) * direct
        light = torch.where((normal == 0).all(-1), 1.0, (EXPOSURE * light).clamp_max(1))
        return linear_to_display(display_to_linear(rgb) * light[..., None])


def soft_light(name: str, seed: int) -> SoftLight:
    """A light for an object, the same for the same id and seed on every machine."""
    generator = numbers_of("light", seed, name)
    return SoftLight(360 * generator.random(), _between(ELEVATIONS, generator.random()), _between(AMBIENT, generator.random()))


def _between(limits: tuple[float, float], position: float) -> float:
    low, high = limits
    return low + (high - low) * position
