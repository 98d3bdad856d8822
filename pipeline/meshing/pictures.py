"""What surfaces and textures are made from."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from gen3d.renderers.cameras import Cameras


@dataclass(frozen=True, slots=True)
class Pictures:
    """Colours and depths of a thing from several sides.

    Attributes:
        cameras: views `[v]`.
        rgb: `[v, h, w, 3]` display-referred sRGB in [0, 1].
        depth: along the optical axis `[v, h, w]`, scene units; 0 where nothing is seen.
    """

    cameras: Cameras
    rgb: Float[Tensor, "v h w 3"]
    depth: Float[Tensor, "v h w"]
