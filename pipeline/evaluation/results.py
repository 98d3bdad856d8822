"""What an evaluation found, in memory and as a file; files of several methods join into one table."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gen3d.errors import BadInput, UsageError
from gen3d.files import read_json, write_json
from gen3d.pipeline.evaluation.comparison import MethodScores
from gen3d.pipeline.evaluation.object_scores import METRICS, ObjectScores

FORMAT = "gen3d-objects-scores-1"
DIGITS = 6


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Methods that were judged on the same pictures.

    Attributes:
        protocol: its label.
        pictures: digest of the test pictures.
        methods: in the order of tables.
        notes: sentences about what is absent.
    """

    protocol: str
    pictures: str
    methods: tuple[MethodScores, ...]
    notes: tuple[str, ...] = ()

    def joined(self, other: "Evaluated") -> "Evaluated":
        """The methods of both.

        Raises:
            UsageError: they were judged on other pictures, or a method is in both.
        """
        if (other.protocol, other.pictures) != (self.protocol, self.pictures):
            mine, its = (f"{each.protocol} (pictures {each.pictures})" for each in (self, other))
            raise UsageError(f"scores on {its} do not compare with those on {mine}; evaluate the methods on the same objects")
        if twice := sorted({each.name for each in self.methods} & {each.name for each in other.methods}):
            raise UsageError(f"there are two scores of the method {twice[0]}; leave it out of --methods or of the files to --add")
        return replace(self, methods=(*self.methods, *other.methods), notes=tuple(dict.fromkeys((*self.notes, *other.notes))))


def write_results(path: Path, results: Evaluated) -> None:
    """Write every figure of every view."""
    methods = [
        {
            "name": each.name,
            "prepare_seconds": round(each.prepare_seconds, 3),
            "memory_mib": dict(each.memory_mib),
            "facts": dict(each.facts),
            "objects": [
                {
                    "id": scores.id,
                    "tier": scores.tier,
                    "seconds": round(scores.seconds, 5),
                    **{name: [round(value, DIGITS) for value in values] for name, values in scores.figures.items()},
                }
                for scores in each.objects
            ],
        }
        for each in results.methods
    ]
    head = {"format": FORMAT, "protocol": results.protocol, "pictures": results.pictures, "notes": list(results.notes)}
    write_json(path, {**head, "methods": methods})


def read_results(path: str | Path) -> Evaluated:
    """What `write_results` wrote.

    Raises:
        BadInput: it is no such file.
    """
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise BadInput(f"{path} holds no scores of objects; give the scores.json that gen3d eval objects wrote")
    try:
        methods = tuple(_method(each) for each in content["methods"])
        return Evaluated(str(content["protocol"]), str(content["pictures"]), methods, tuple(map(str, content["notes"])))
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path} is damaged ({type(error).__name__}: {error}); evaluate the methods again") from error


def _method(raw: Any) -> MethodScores:
    objects = tuple(_object(each) for each in raw["objects"])
    return MethodScores(str(raw["name"]), objects, float(raw["prepare_seconds"]), dict(raw["memory_mib"]), dict(raw["facts"]))


def _object(raw: Any) -> ObjectScores:
    figures = {name: tuple(map(float, raw[name])) for name in METRICS if name in raw}
    return ObjectScores(str(raw["id"]), str(raw["tier"]), figures, float(raw["seconds"]))
