"""What the stages of a job hand on."""

from dataclasses import dataclass
from typing import Protocol

from gen3d.pipeline.scenes.scene import Scene
from gen3d.pipeline.stages.picture import Prepared
from gen3d.renderers.gaussians import Gaussians


class HasSplats(Protocol):
    """A state whose splats are there."""

    @property
    def fitted(self) -> Gaussians:
        """The splats."""
        ...


@dataclass(frozen=True, slots=True)
class PhotosState:
    """The state of `photos_to_3d`.

    Attributes:
        scene: photos and cameras in the world frame.
        gaussians: the splats; None before they are fitted.
    """

    scene: Scene
    gaussians: Gaussians | None = None

    @property
    def fitted(self) -> Gaussians:
        """The splats, after the fit."""
        if self.gaussians is None:
            raise ValueError("there are no splats yet; the stage fit comes first")
        return self.gaussians


@dataclass(frozen=True, slots=True)
class ImageState:
    """The state of `image_to_3d`.

    Attributes:
        prepared: the pictures, cut out and framed; empty before.
        samples: splats of all samples, the best first; empty before they are made.
    """

    prepared: tuple[Prepared, ...] = ()
    samples: tuple[Gaussians, ...] = ()

    @property
    def fitted(self) -> Gaussians:
        """The best sample."""
        if not self.samples:
            raise ValueError("there are no splats yet; the stage generate comes first")
        return self.samples[0]

    @property
    def ready(self) -> tuple[Prepared, ...]:
        """The pictures, after they were prepared."""
        if not self.prepared:
            raise ValueError("there is no picture yet; the stage prepare comes first")
        return self.prepared
