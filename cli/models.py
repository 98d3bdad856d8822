"""`gen3d models`: list, fetch and check pretrained weights."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

from gen3d.cli.parser import Parser
from gen3d.cli.report import Report, table
from gen3d.errors import Gen3DError, UsageError

if TYPE_CHECKING:
    from gen3d.priors.zoo import Stored


def configure(parser: Parser) -> None:
    """Add the flags."""
    parser.add_input("action", "list, pull or verify", kind=Literal["list", "pull", "verify"])
    parser.add_input("names", "which weights; all of them when none is named", many=True, optional=True)
    parser.flags.add_argument("--offline", action="store_true", help="use the cache only")


def execute(options: SimpleNamespace) -> Report:
    """Ask the zoo."""
    from gen3d.priors import zoo

    stored = {each.weight.name: each for each in zoo.list_weights()}
    if options.action == "list":
        return _list(stored)
    names = options.names or list(stored)
    if unknown := [name for name in names if name not in stored]:
        raise UsageError(f"the weights {unknown[0]!r} are not known; choose {', '.join(stored)}")
    if options.action == "pull":
        paths = {name: zoo.pull(name, offline=True if options.offline else None) for name in names}
        return Report({"files": paths}, table(list(paths.items())))
    return _verify(zoo.verify, names)


def _list(stored: "dict[str, Stored]") -> Report:
    facts: dict[str, dict[str, Any]] = {
        name: {"megabytes": round(each.weight.size / 1e6, 1), "licence": each.weight.licence, "cached": each.present, "path": each.path}
        for name, each in stored.items()
    }
    states = {True: "cached", False: "not fetched"}
    rows = [(name, f"{fact['megabytes']} MB", states[fact["cached"]], fact["licence"]) for name, fact in facts.items()]
    return Report({"weights": facts}, table(rows, ("name", "size", "state", "licence")))


def _verify(verify: Callable[[str], Path], names: list[str]) -> Report:
    """Check all of them; the exit code is that of the first that failed."""
    results, code = {}, 0
    for name in names:
        try:
            verify(name)
            results[name] = "ok"
        except Gen3DError as error:
            results[name] = str(error)
            code = code or error.exit_code
    return Report({"weights": results, "exit_code": code}, table(list(results.items())), code)
