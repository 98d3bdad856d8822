"""What a job returns, and what `gen3d.load` opens."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gen3d.pipeline.formats.registry import FileFacts, read_gaussians, write_gaussians
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.frames import frame_to_world, move_gaussians, rigid
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.rendering import Rendering, rasterize


@dataclass(frozen=True, slots=True)
class Asset:
    """Splats with what must be known to use them.

    Attributes:
        gaussians: unbatched splats `[n]`.
        frame: the frame they stand in, a key of `renderers.frames.WORLD_TO_FRAME`; "gltf" is the world.
        unit: what one scene unit is, such as metre.
        provenance: where they come from: files, settings, seeds, versions; values that JSON can hold.
    """

    gaussians: Gaussians
    frame: str = "gltf"
    unit: str = "unitless"
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path, *, frame: str = "ply") -> FileFacts:
        """Write the splats in the format of the suffix; see `write_gaussians`."""
        world = move_gaussians(self.gaussians, rigid(frame_to_world(self.frame)))
        return write_gaussians(path, world, frame=frame, unit=self.unit)

    def render(self, cameras: Cameras, **options: Any) -> Rendering:
        """Draw the splats; `options` are those of `rasterize`, and the cameras stand in the same frame."""
        return rasterize(self.gaussians, cameras, **options)


def load(path: str | Path, frame: str | None = None) -> Asset:
    """Open a splat file as an asset in the world frame; see `read_gaussians`.

    Raises:
        BadInput: the file cannot be read or is not of its format.
    """
    gaussians, facts = read_gaussians(path, frame=frame)
    origin = {"file": Path(path).name, "format": facts.format, "frame": facts.frame, "dropped": facts.dropped}
    return Asset(gaussians, unit=facts.unit, provenance=origin)
