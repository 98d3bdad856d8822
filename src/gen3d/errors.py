"""The exceptions that a user can meet; each carries the exit code of the command line."""


class Gen3DError(Exception):
    """A failure that one sentence explains; the message names the value, the rule and the remedy."""

    exit_code = 1


class UsageError(Gen3DError):
    """The command or its settings contradict themselves."""

    exit_code = 2


class MissingDependency(Gen3DError):
    """An optional package is needed and not installed."""

    exit_code = 3


class MissingWeights(Gen3DError):
    """A weight file is needed, not in the cache, and cannot be fetched."""

    exit_code = 4


class OutOfMemory(Gen3DError):
    """The job does not fit into memory."""

    exit_code = 5


class BadInput(Gen3DError):
    """A file or value from outside breaks a rule."""

    exit_code = 6


class Interrupted(Gen3DError):
    """The user stopped the job; what was reached is in the checkpoint."""

    exit_code = 130


def first_line(error: BaseException) -> str:
    """What an error of another library says, in one line; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
