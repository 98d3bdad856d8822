"""The settings of meshes. Standard library only: the command line imports this."""

from dataclasses import dataclass

from gen3d.errors import UsageError
from gen3d.ranges import UNLIMITED, check_choices, check_ranges

METHODS = ("auto", "tsdf", "poisson", "density", "none")
MANY_FACES = 50_000  # above, unwrapping takes minutes


@dataclass(frozen=True)
class MeshSettings:
    """How splats become a textured mesh.

    Attributes:
        method: tsdf fuses depths, poisson goes through the splats themselves, density needs no optional package, none makes no mesh.
            auto takes for objects the one of tsdf and poisson that fills the outlines better, tsdf for scenes, and density where Open3D
            or embreex is not installed.
        faces: at most about so many; 0 keeps all.
        texture: rows and columns of the texture; 0 gives vertex colours instead.
        views: pictures of the splats that surface and texture are made from.
        resolution: how fine the surface is, voxels along the diagonal of the thing.
        watertight: close every hole, for printing.
    """

    method: str = "auto"
    faces: int = 20_000
    texture: int = 1024
    views: int = 80
    resolution: int = 256
    watertight: bool = False

    def __post_init__(self) -> None:
        check_choices(self, method=METHODS)
        check_ranges(self, faces=(0, UNLIMITED), texture=(0, 8192), views=(4, UNLIMITED), resolution=(16, 2048))
        if 0 < self.faces < 4:
            raise UsageError(f"faces is {self.faces}; the smallest closed mesh has 4, and 0 keeps all")
