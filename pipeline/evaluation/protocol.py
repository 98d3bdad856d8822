"""What every evaluation on photos has in common: the colour behind the splats and the LPIPS network."""

from collections.abc import Sequence

from gen3d.pipeline.scenes.scene import View
from gen3d.priors.perceptual import Lpips, load_lpips

WHITE = (1.0, 1.0, 1.0)
LPIPS_NET = "alex"


def background_of(views: Sequence[View]) -> tuple[float, float, float] | None:
    """White behind objects that were cut out, nothing behind real scenes."""
    return WHITE if any(view.alpha is not None for view in views) else None


def lpips_or_reason() -> tuple[Lpips | None, str]:
    """The LPIPS network, or a sentence that says why the metric is absent; a figure that is missing never ends a job."""
    try:
        return load_lpips(LPIPS_NET), ""
    except Exception as error:
        return None, f"LPIPS is absent: {error or type(error).__name__}"
