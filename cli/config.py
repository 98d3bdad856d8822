"""`gen3d config`: list, show and compare presets."""

import dataclasses
import importlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Literal

from gen3d.cli.parser import Parser
from gen3d.cli.report import Report, table
from gen3d.errors import UsageError
from gen3d.pipeline.configuration import as_yaml, flatten, override, preset_names, preset_summary, read_preset

# The settings of each verb that has presets.
SETTINGS = {
    "photos": ("gen3d.pipeline.stages.settings", "PhotosSettings"),
    "text": ("gen3d.pipeline.stages.settings", "TextSettings"),
    "image": ("gen3d.pipeline.stages.settings", "ImageSettings"),
    "train/dsplats": ("gen3d.pipeline.training.settings", "DsplatsSettings"),
    "train/gvgen-field": ("gen3d.pipeline.training.volume_settings", "FieldSettings"),
    "train/gvgen-attributes": ("gen3d.pipeline.training.volume_settings", "AttributeSettings"),
}


def configure(parser: Parser) -> None:
    """Add the flags."""
    parser.add_input("action", "list, show or diff", kind=Literal["list", "show", "diff"])
    parser.add_input("presets", "one preset to show, or two to compare", many=True, optional=True)
    parser.flags.add_argument("--verb", type=Literal[tuple(SETTINGS)], default="photos", help="whose presets")


def execute(options: SimpleNamespace) -> Report:
    """Answer from the files alone."""
    wanted = {"list": 0, "show": 1, "diff": 2}[options.action]
    given = options.presets or []
    if len(given) != wanted:
        raise UsageError(f"gen3d config {options.action} takes {wanted} presets and got {len(given)}; see gen3d config --help")
    answers: dict[str, Callable[..., Report]] = {"list": _list, "show": _show, "diff": _diff}
    return answers[options.action](options.verb, *given)


def _list(verb: str) -> Report:
    presets = {name: preset_summary(verb, name) for name in preset_names(verb)}
    return Report({"verb": verb, "presets": presets}, table(list(presets.items())))


def _show(verb: str, name: str) -> Report:
    settings = _resolved(verb, name)
    return Report(dataclasses.asdict(settings), as_yaml(settings).rstrip())


def _diff(verb: str, first: str, second: str) -> Report:
    left, right = flatten(_resolved(verb, first)), flatten(_resolved(verb, second))
    changed = {key: (left[key], right[key]) for key in left if left[key] != right[key]}
    return Report({"changed": changed}, table([(key, *values) for key, values in changed.items()], ("setting", first, second)))


def _resolved(verb: str, name: str) -> Any:
    module, kind = SETTINGS[verb]
    return override(getattr(importlib.import_module(module), kind)(), read_preset(verb, name), f"the preset {name}")
