"""gen3d: sentences, pictures and photos become Gaussian splats.

Importing this package costs nothing; each public name is imported when it is first used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Asset": "gen3d.pipeline.asset",
    "image_to_3d": "gen3d.pipeline.stages.image",
    "photos_to_3d": "gen3d.pipeline.stages.photos",
    "text_to_3d": "gen3d.pipeline.stages.text",
    "load": "gen3d.pipeline.asset",
}

__all__ = ["Asset", "__version__", "image_to_3d", "load", "photos_to_3d", "text_to_3d"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'gen3d' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
