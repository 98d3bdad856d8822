"""Models that other libraries read from a hub or from folders, and what becomes of their failures."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from gen3d.errors import BadInput, first_line


@contextmanager
def reading(source: str | Path, kind: str, remedy: str) -> Iterator[None]:
    """Tell in one sentence what transformers or diffusers raise while they read a model.

    Args:
        source: a hub's name or a folder.
        kind: what it should hold.
        remedy: what to give instead.

    Raises:
        BadInput: there is no such model, or its files are damaged.
    """
    try:
        yield
    except (OSError, ValueError, ImportError, AttributeError, RuntimeError, SafetensorError) as error:
        raise BadInput(f"{source} holds no {kind} ({first_line(error)}); give {remedy}") from error
