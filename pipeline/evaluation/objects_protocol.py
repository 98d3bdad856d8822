"""The frozen protocols that single pictures of objects are judged by: objects-v1, and nano for comparison with earlier measurements.

In both the picture that is given looks from the front, azimuth 0, with a field of view of 49.1 degrees from distance 1.25, and the
other seven multiples of 45 degrees at the same elevation are asked for. objects-v1 scales an object to its bounding sphere and asks
for two views from above as well. nano scales its bounding box so that the longest side is 1 from distance 1.75.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.pipeline.evaluation.settings import ObjectsSettings
from gen3d.pipeline.objects.views import RING, ObjectViews, object_cameras
from gen3d.renderers.cameras import Cameras

FOUR = tuple(range(0, RING, RING // 4))  # views around an object that show most of it, the given one among them
TOP = ((0.0, 60.0), (90.0, 60.0))  # azimuth and elevation of the views from above


@dataclass(frozen=True, slots=True)
class ObjectsProtocol:
    """What is drawn of every object, and what of it is given.

    Attributes:
        name: objects-v1 or nano.
        size: width and height of the pictures in pixels.
        elevation: of the views around the object, the given one among them, degrees.
        top: azimuths and elevations of the views from above, degrees.
        fit: whether the bounding sphere or the longest side of the bounding box decides the object's size.
        rays: along each side of a pixel.
        given: numbers of the views that a method is given; the others are asked for.
    """

    name: str
    size: int
    elevation: float
    top: tuple[tuple[float, float], ...]
    fit: str
    rays: int
    given: tuple[int, ...] = (0,)

    @property
    def label(self) -> str:
        """A name for files: all that decides the pictures."""
        return f"{self.name}-elevation-{self.elevation:g}-{self.size}"

    @property
    def angles(self) -> tuple[tuple[float, float], ...]:
        """Azimuth and elevation of every view in degrees, those around the object first."""
        return (*((number * 360 / RING, self.elevation) for number in range(RING)), *self.top)

    @property
    def targets(self) -> tuple[int, ...]:
        """Numbers of the views that are asked for."""
        return tuple(number for number in range(len(self.angles)) if number not in self.given)

    @property
    def cameras(self) -> Cameras:
        """Every view `[v]`."""
        azimuths, elevations = zip(*self.angles, strict=True)
        return object_cameras(azimuths, elevations, self.size)


@dataclass(frozen=True, slots=True)
class Question:
    """What a method is asked.

    Attributes:
        given: pictures of an object `[g]`, with straight colours.
        targets: views that are asked for `[t]`, of the same size.
    """

    given: ObjectViews
    targets: Cameras


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a method answers.

    Attributes:
        rgb: over white `[t, h, w, 3]`, display-referred sRGB; values beyond [0, 1] are clamped before they are judged.
        alpha: `[t, h, w]` in [0, 1]; the object is where it is above 1/2.
    """

    rgb: Float[Tensor, "t h w 3"]
    alpha: Float[Tensor, "t h w"]


Method = Callable[[Question], Predicted]
Ceiling = Callable[[Question, ObjectViews], Predicted]  # is also shown every view of the object `[v]`


def protocol_of(settings: ObjectsSettings) -> ObjectsProtocol:
    """The protocol of a name, a size and an elevation."""
    nano = settings.protocol == "nano"
    return ObjectsProtocol(
        name=settings.protocol,
        size=settings.size,
        elevation=float(settings.elevation),
        top=() if nano else TOP,
        fit="box" if nano else "sphere",
        rays=2 if nano else 4,
    )


def over_white(views: ObjectViews) -> Predicted:
    """Views as if a method had answered with them."""
    return Predicted(views.over(torch.ones(3)), views.alpha)


def chosen(views: ObjectViews, numbers: Sequence[int]) -> ObjectViews:
    """Some of an object's views, colours and alpha only."""
    index = list(numbers)
    return ObjectViews(views.cameras.select(index), views.rgb[index], views.alpha[index])


def question_of(views: ObjectViews, protocol: ObjectsProtocol) -> Question:
    """What is asked of an object whose every view is known."""
    return Question(chosen(views, protocol.given), views.cameras.select(list(protocol.targets)))
