"""What is read of a photo scene. Standard library only: the command line imports this."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SceneSettings:
    """How photos are read.

    Attributes:
        max_size: longest side in pixels after downscaling; photos are never enlarged.
        holdout: every n-th photo in name order is held out for evaluation when the scene names no split; 0 holds out none.
        format: transforms, colmap, or auto to tell from the files in the folder.
    """

    max_size: int = 800
    holdout: int = 8
    format: str = "auto"
