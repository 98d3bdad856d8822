"""The settings of volumes that are fitted to a rendered set. Standard library only: the command line imports this."""

from dataclasses import dataclass

from gen3d.ranges import check_ranges


@dataclass(frozen=True)
class VolumeSettings:
    """Volumes of a whole library, which begin at the surfaces that the set's depth maps show.

    Attributes:
        size: nodes along a side.
        steps: of refinement of an object.
        views: of a step.
        rate: of the offsets in cells, from which the other rates follow.
    """

    size: int = 16
    steps: int = 150
    views: int = 4
    rate: float = 0.06

    def __post_init__(self) -> None:
        check_ranges(self, size=(4, 64), steps=(0, 10**5), views=(1, 256), rate=(0, 1))
