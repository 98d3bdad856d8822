"""From any exception to one sentence and an exit code."""

from pathlib import Path

from gen3d.cli.report import short
from gen3d.errors import Gen3DError, Interrupted, OutOfMemory
from gen3d.pipeline.run import was_interrupted

# What torch says when an allocation on the CPU fails; it has no exception of its own for that.
CPU_ALLOCATION = ("can't allocate memory", "not enough memory")


def explained(error: BaseException, folder: Path | None = None, *, smaller: str = "", resumable: bool = True) -> Gen3DError:
    """The error as a sentence with an exit code.

    Args:
        error: what was raised.
        folder: the run folder, when there is one; its log holds the traceback.
        smaller: the flags that lower the memory of this verb.
        resumable: whether the run in `folder` can be continued after an interruption.
    """
    hint = f"; continue with gen3d resume {short(folder)}" if folder and resumable else ""
    if isinstance(error, Interrupted):
        return Interrupted(f"{error}{hint}")
    if isinstance(error, OutOfMemory):
        return OutOfMemory(f"{error}, or try {smaller}") if smaller else error
    if isinstance(error, Gen3DError):
        return error
    if was_interrupted(error):
        return Interrupted(f"interrupted{hint}")
    if _is_out_of_memory(error):
        reason = f"the job does not fit into memory ({_first_line(error)}); close other programs"
        return explained(OutOfMemory(reason), smaller=smaller)
    where = f"the traceback is in {short(folder / 'log.txt')}" if folder else "-v shows the traceback"
    return Gen3DError(f"unexpected {type(error).__name__}: {_first_line(error)}; {where}")


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in CPU_ALLOCATION)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no further words"
