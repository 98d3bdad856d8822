"""Weights that come with the package, and what runs remember of those that they used."""

from importlib import resources
from pathlib import Path

from gen3d.errors import BadInput, MissingWeights
from gen3d.files import sha256

LICENCE = "Apache-2.0"  # of all that is shipped; what they were trained on is named beside them


def weight_file(given: str | Path, shipped: str, prior: str, flag: str) -> Path:
    """The file that is given, or the shipped one.

    Args:
        given: empty for the shipped one.
        shipped: its name.
        prior: that gen3d train makes such files for.
        flag: that they are given with.

    Raises:
        MissingWeights: none is given, and this build ships none.
    """
    path = Path(given) if str(given) else shipped_file(shipped)
    if not str(given) and not path.is_file():
        raise MissingWeights(f"this build has no {shipped}; train one with gen3d train {prior} and give it with {flag}")
    return path


def shipped_file(name: str) -> Path:
    """Where a file of this name is, if this build ships it."""
    return Path(str(resources.files("gen3d.priors"))) / "weights" / name


def file_facts(path: Path) -> dict[str, str]:
    """Name, licence and digest, as run.json keeps them.

    Raises:
        BadInput: the file cannot be read.
    """
    own = path.resolve() != shipped_file(path.name).resolve()
    try:
        return {"name": path.name, "licence": "that of its maker" if own else LICENCE, "sha256": sha256(path)}
    except OSError as error:
        raise BadInput(f"{path} cannot be read as weights: {error.strerror or error}; give a file that gen3d train wrote") from error
