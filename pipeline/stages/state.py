"""What the stages of a job hand on."""

from dataclasses import dataclass

from gen3d.pipeline.scenes.scene import Scene
from gen3d.renderers.gaussians import Gaussians


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
