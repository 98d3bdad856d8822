"""What both encodings of a COLMAP model say, as plain values."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class RawCamera:
    """A line of cameras.txt; `parameters` are in the order of the model."""

    identifier: int
    model: str
    width: int
    height: int
    parameters: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RawImage:
    """A registered photo: world-to-camera quaternion wxyz and translation."""

    name: str
    camera: int
    quaternion: tuple[float, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RawPoints:
    """Coordinates and colours 0..255, both `[n, 3]`."""

    xyz: np.ndarray
    rgb: np.ndarray
