"""The settings of rendered training sets. Standard library only: the command line imports this."""

from dataclasses import dataclass

from gen3d.errors import UsageError
from gen3d.ranges import check_choices, check_ranges, numbers

FITS = ("sphere", "box")
FRAMES = ("auto", "gltf", "ply", "unity", "zup")
LONGEST = 16_383  # pixels along a side of a WebP picture, which holds the views of an object below each other


@dataclass(frozen=True)
class RenderSettings:
    """How the objects of a library become pictures.

    Attributes:
        size: width and height of a picture in pixels.
        views: pictures of each object: 8 around it, the others at random places down to 10 degrees below the horizon.
        ring: lowest and highest elevation of the 8 around, degrees; each object has its own between them.
        seed: the only source of randomness, together with the id of the object.
        geometry: also keep depth and normals, which soft light needs; without them the set is a third as large.
        quality: of the colours; 100 keeps every bit, below they are WebP's lossy kind. Alpha is always kept as it is.
        fit: what decides how large an object is drawn: its bounding sphere, so that all of it is always seen, or the longest side of
            its box, which draws thin objects smaller and cubes larger, cut at the border in some views.
        frame: axes of mesh files that do not name theirs: gltf, ply, unity or zup; auto is gltf, +Y up.
    """

    size: int = 64
    views: int = 16
    ring: tuple[float, float] = (20.0, 20.0)
    seed: int = 0
    geometry: bool = True
    quality: int = 100
    fit: str = "sphere"
    frame: str = "auto"

    def __post_init__(self) -> None:
        check_choices(self, frame=FRAMES, fit=FITS)
        check_ranges(self, size=(16, 1024), views=(8, 1000), seed=(0, 2**63 - 1), quality=(1, 100))
        object.__setattr__(self, "ring", numbers("ring", self.ring))
        if len(self.ring) != 2 or not -80 <= self.ring[0] <= self.ring[-1] <= 80:
            told = ", ".join(f"{each:g}" for each in self.ring)
            raise UsageError(f"ring is {told}; give the lowest and the highest elevation, from -80 to 80 degrees")
        if self.size * self.views > LONGEST:
            total = f"{self.views} views of {self.size} pixels are {self.views * self.size:,} rows"
            raise UsageError(f"{total} and at most {LONGEST:,} fit into one picture; lower --views or --size")
