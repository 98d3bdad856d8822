"""Weight files of other programs as plain tensors, without running anything that they contain."""

import io
import pickle
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from gen3d.errors import BadInput

# What a pickle of numpy arrays names. Nothing here runs code from the file: arrays are filled from bytes.
ALLOWED_GLOBALS = frozenset(
    {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),  # written by numpy 1
        ("numpy._core.multiarray", "_reconstruct"),  # written by numpy 2
    }
)


class _ArrayUnpickler(pickle.Unpickler):
    """Knows arrays, containers, texts and numbers, and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED_GLOBALS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def half_tensors(content: bytes) -> dict[str, Tensor]:
    """The tensors of a safetensors file, floating-point ones in 16 bits.

    Raises:
        BadInput: it is no such file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(content)
    except SafetensorError as error:
        raise BadInput(f"the weight file is no safetensors file: {error}") from error
    return {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def read_pickled_arrays(content: bytes) -> dict[str, Any]:
    """Nested dictionaries of numpy arrays from a pickle, flattened to `a/b/c` names.

    Raises:
        BadInput: it is no pickle, or holds anything but arrays.
    """
    try:
        tree = _ArrayUnpickler(io.BytesIO(content)).load()
        return dict(_leaves(tree, ""))
    except Exception as error:  # a broken pickle raises anything
        raise BadInput(f"the checkpoint is not a pickle of plain arrays: {error}; download it again") from error


def _leaves(tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    import numpy as np

    if not isinstance(tree, Mapping):
        if not isinstance(tree, np.ndarray) or tree.dtype.kind != "f":
            raise ValueError(f"{prefix or 'the whole'} is not an array of floats")
        yield prefix, tree
        return
    for name, branch in tree.items():
        yield from _leaves(branch, f"{prefix}/{name}" if prefix else str(name))


def lpips_tensors(content: bytes) -> dict[str, Tensor]:
    """Backbone and heads of LPIPS from a flax checkpoint, named and shaped as `perceptual.Lpips` has them, in float16.

    Kernels turn from `[height, width, in, out]` to `[out, in, height, width]`.
    """
    import torch

    tensors = {}
    for name, array in read_pickled_arrays(content).items():
        scope, layer, kind = name.split("/")
        value = torch.from_numpy(array.copy()).half()
        if scope.startswith("NetLinLayer_"):
            tensors[f"heads.{scope.removeprefix('NetLinLayer_')}"] = value.flatten()
        else:
            part = "weight" if kind == "kernel" else "bias"
            value = value.permute(3, 2, 0, 1).contiguous() if kind == "kernel" else value
            tensors[f"convs.{layer.removeprefix('Conv_')}.{part}"] = value
    return tensors
