"""The settings of volumes that are fitted to a rendered set. Standard library only: the command line imports this."""

from dataclasses import dataclass

from gen3d.errors import UsageError
from gen3d.ranges import check_choices, check_ranges

FITS = ("surface", "pool", "transport")
FEWEST = 50  # steps of fits that begin with nothing


@dataclass(frozen=True)
class VolumeSettings:
    """Volumes of a whole library.

    Attributes:
        fit: surface begins at the surfaces that the set's depth maps show; pool with splats at all nodes, which are given up and grown
            anew (GVGEN); transport with free splats, which are brought to the nodes (GaussianCube). The last two want more steps.
        size: nodes along a side.
        steps: of an object; transport takes as many again for its refinement.
        views: of a step of refinement.
        rate: of refinement: of the offsets in cells, from which the other rates follow.
    """

    fit: str = "surface"
    size: int = 16
    steps: int = 150
    views: int = 4
    rate: float = 0.06

    def __post_init__(self) -> None:
        check_choices(self, fit=FITS)
        if self.fit != "surface" and self.steps < FEWEST:
            raise UsageError(f"steps is {self.steps} and {self.fit} begins with nothing; take at least {FEWEST}, better 3,000")
        check_ranges(self, size=(4, 64), steps=(0, 10**5), views=(1, 256), rate=(0, 1))
