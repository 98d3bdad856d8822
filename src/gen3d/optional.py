"""Packages that gen3d uses when they are there."""

import importlib
from types import ModuleType

from gen3d.errors import MissingDependency


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional package where it is used.

    Args:
        module: import name, such as `embreex`.
        extra: the extra of gen3d that installs it.
        purpose: what it is needed for, as the subject of a sentence: "rendering meshes".

    Raises:
        MissingDependency: it is not installed, or one of its own libraries is missing.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependency(f"{purpose} needs the package {module}, which did not import ({error}); {how_to_install(extra)}") from error


def available(module: str) -> bool:
    """Whether an optional package can be imported; an installed one cannot when a library of its own is missing."""
    try:
        importlib.import_module(module)
    except (ImportError, OSError):
        return False
    return True


def how_to_install(extra: str) -> str:
    """The remedy for packages of an extra that are missing; gen3d itself is on no index that pip could ask."""
    return f"run pip install -e '.[{extra}]' in the checkout"
