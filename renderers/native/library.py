"""Loading the compiled kernels and calling them: ctypes over the plain C interface of abi.h."""

import ctypes
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, Structure, c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_void_p
from pathlib import Path

from gen3d.errors import OutOfMemory
from gen3d.renderers.native.source import source_hash

FOLDER = Path(__file__).parent
BASELINE = "gen3d_baseline"
LIBRARIES = ("gen3d_avx512", "gen3d_avx2", BASELINE)  # fastest first
IDLE = 4  # frames and workspaces that stay allocated for the next call
REBUILD = "rebuild with `pip install -e .`"


class Settings(Structure):
    """Gen3dSettings of abi.h; so are the others below."""

    _fields_ = [
        *((name, c_float) for name in ("near", "far", "eps2d", "alpha_max", "alpha_min", "transmittance_min", "frustum_margin")),
        *((name, c_int32) for name in ("antialias", "absgrad")),
    ]


class Splats(Structure):
    """One scene."""

    _fields_ = [
        ("count", c_int64),
        ("coefficients", c_int32),
        ("features", c_int32),
        *((name, c_void_p) for name in ("means", "scales", "quats", "opacities", "sh")),
    ]


class View(Structure):
    """One camera and what it alone sees."""

    _fields_ = [
        ("width", c_int32),
        ("height", c_int32),
        *((name, c_void_p) for name in ("world_to_camera", "intrinsics", "background", "features", "screen_offsets")),
    ]


class Images(Structure):
    """What the forward pass writes."""

    _fields_ = [(name, c_void_p) for name in ("rgb", "alpha", "features", "median_depth", "radii")]


class ImageGradients(Structure):
    """What the backward pass reads."""

    _fields_ = [(name, c_void_p) for name in ("rgb", "features", "v_rgb", "v_alpha", "v_features")]


class Gradients(Structure):
    """What the backward pass writes."""

    _fields_ = [
        ("accumulate", c_int32),
        *(
            (name, c_void_p)
            for name in ("means", "scales", "quats", "opacities", "sh", "background", "features", "screen_offsets", "world_to_camera")
        ),
    ]


SIGNATURES = {
    "gen3d_source_hash": (c_char_p, []),
    "gen3d_instructions": (c_char_p, []),
    "gen3d_best_library": (c_char_p, []),
    "gen3d_workspace_new": (c_void_p, []),
    "gen3d_workspace_delete": (None, [c_void_p]),
    "gen3d_frame_new": (c_void_p, []),
    "gen3d_frame_delete": (None, [c_void_p]),
    "gen3d_forward": (c_int, [c_void_p, c_void_p, POINTER(Splats), POINTER(View), POINTER(Settings), POINTER(Images), c_int]),
    "gen3d_backward": (
        c_int,
        [c_void_p, c_void_p, *map(POINTER, (Splats, View, Settings, ImageGradients, Gradients)), c_int],
    ),
    "gen3d_similarity": (c_int, [*[c_int64] * 3, *[c_void_p] * 4, POINTER(c_double), c_int]),
    "gen3d_similarity_backward": (c_int, [*[c_int64] * 3, *[c_void_p] * 4, c_float, c_float, c_void_p, c_int]),
}


class Library:
    """One build of the kernels, with the frames and workspaces that wait for the next call.

    Args:
        name: of the file, without its suffix.
        skipped: why a faster build is not used, as one sentence; None when this is the fastest that the processor runs.

    Raises:
        OSError: the file is missing, or the processor or system cannot load it.
        ValueError: it was compiled from other sources than those beside it.
    """

    def __init__(self, name: str, skipped: str | None = None) -> None:
        self.name = name
        self.skipped = skipped
        self._functions = ctypes.CDLL(str(FOLDER / f"{name}.so"))
        for function, (result, arguments) in SIGNATURES.items():
            try:
                entry = getattr(self._functions, function)
            except AttributeError:
                raise ValueError(f"{name}.so is of another version (it has no {function}); {REBUILD}") from None
            entry.restype, entry.argtypes = result, arguments
        expected, found = source_hash(FOLDER), self._text("gen3d_source_hash")
        if expected not in (None, found):
            raise ValueError(f"{name}.so was compiled from other sources ({found}) than those beside it ({expected}); {REBUILD}")
        # list.append and list.pop are atomic, so several threads may share these.
        self._frames: list[int] = []
        self._workspaces: list[int] = []

    def _text(self, function: str) -> str:
        return getattr(self._functions, function)().decode()

    @property
    def instructions(self) -> str:
        """The vector instructions it was compiled for."""
        return self._text("gen3d_instructions")

    @property
    def best(self) -> str:
        """Name of the fastest build that this processor runs."""
        return self._text("gen3d_best_library")

    def call(self, function: str, *arguments: object) -> None:
        """Call a kernel without the interpreter lock.

        Raises:
            OutOfMemory: it could not allocate its workspace.
        """
        if getattr(self._functions, function)(*arguments):
            raise OutOfMemory("the native renderer ran out of memory; draw fewer splats, fewer views at once or smaller images")

    @contextmanager
    def workspace(self) -> Iterator[int]:
        """Memory for one call."""
        workspace = _take(self._workspaces, self._functions.gen3d_workspace_new)
        try:
            yield workspace
        finally:
            _give(self._workspaces, workspace, self._functions.gen3d_workspace_delete)

    def frame(self) -> "Frame":
        """Memory of one view from its forward to its backward pass."""
        return Frame(self)


class Frame:
    """A kernel's memory of one view; it goes back to the library when nobody holds it any more."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self.handle = _take(library._frames, library._functions.gen3d_frame_new)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            _give(self._library._frames, self.handle, self._library._functions.gen3d_frame_delete)


def _take(shelf: list[int], make: "ctypes._FuncPointer") -> int:
    try:
        return shelf.pop()
    except IndexError:
        if (handle := make()) is None:
            raise OutOfMemory("no memory is left for the native renderer; close other programs") from None
        return handle


def _give(shelf: list[int], handle: int, delete: "ctypes._FuncPointer") -> None:
    if len(shelf) < IDLE:
        shelf.append(handle)
    else:
        delete(handle)


@functools.cache
def load() -> Library:
    """The fastest build that runs here; where one is missing or cannot be loaded, the next slower one serves.

    Raises:
        OSError: not even the baseline can be loaded.
        ValueError: the baseline was compiled from other sources.
    """
    skipped = None
    for name in LIBRARIES[LIBRARIES.index(Library(BASELINE).best) : -1]:
        if not (FOLDER / f"{name}.so").is_file():  # the compiler could not make it
            continue
        try:
            return Library(name, skipped)
        except OSError as error:
            skipped = skipped or f"{name}.so cannot be loaded ({error}); {REBUILD}"
        except ValueError as error:
            skipped = skipped or str(error)
    return Library(BASELINE, skipped)


@functools.cache
def failure() -> str | None:
    """Why no build can be loaded, as one sentence; None when one can."""
    if not (FOLDER / f"{BASELINE}.so").is_file():
        return f"the native kernels were not compiled; install a C++ compiler and {REBUILD}"
    try:
        load()
    except OSError as error:
        return f"the native kernels cannot be loaded ({error}); {REBUILD}"
    except ValueError as error:
        return str(error)
    return None
