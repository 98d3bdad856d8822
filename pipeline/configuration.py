"""Settings as files: presets, YAML layers over dataclass defaults, and the resolved file that a run keeps."""

import dataclasses
import difflib
import hashlib
import math
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_type_hints

import yaml

from gen3d.errors import BadInput, UsageError
from gen3d.files import read_bytes

Settings = TypeVar("Settings")
SCALARS = {int, float, str, bool, type(None)}
PRESETS = ("draft", "standard", "high")
LIMIT = 1024**2  # bytes; no settings file comes near


def override(settings: Settings, layer: Mapping[str, Any], source: str) -> Settings:
    """A copy of `settings` in which the keys of `layer` have its values; nested dataclasses are nested mappings.

    Args:
        settings: a dataclass instance.
        layer: values by field name.
        source: where the layer comes from, for the message.

    Raises:
        UsageError: a key is not a setting (with the nearest one), or a value has the wrong type or is not finite.
    """
    return _override(settings, layer, source, "", sorted(flatten(settings)))


def _override(settings: Any, layer: Mapping[str, Any], source: str, prefix: str, known: list[str]) -> Any:
    kinds = get_type_hints(type(settings))
    changes = {}
    for name, value in layer.items():
        key = f"{prefix}{name}"
        if name not in kinds:
            raise UsageError(f"{source}: the setting {key} is not known{did_you_mean(key, known)}")
        current = getattr(settings, name)
        if not dataclasses.is_dataclass(current):
            changes[name] = _checked(value, kinds[name], f"{source}: the setting {key}")
        elif isinstance(value, Mapping):
            changes[name] = _override(current, value, source, f"{key}.", known)
        else:
            raise UsageError(f"{source}: {key} is a group of settings, not {value!r}; write its settings below it, indented")
    return dataclasses.replace(settings, **changes)


def _checked(value: Any, kind: Any, subject: str) -> Any:
    kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if not SCALARS.issuperset(kinds):
        return value
    if type(value) is int and abs(value) > sys.float_info.max:
        value = math.inf if value > 0 else -math.inf  # what a float makes of it
    if float in kinds and (type(value) is int or (type(value) is str and str not in kinds)):
        with suppress(ValueError):
            value = float(value)  # YAML 1.1 reads 1e-3, without a dot, as a word
    if type(value) is float and not math.isfinite(value):
        raise UsageError(f"{subject} is {value}; it must be a finite number")
    if type(value) not in kinds:
        wanted = " or ".join("null" if each is type(None) else each.__name__ for each in kinds)
        raise UsageError(f"{subject} is {value!r}; it must be of type {wanted}")
    return value


def flatten(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Every leaf of a settings dataclass by its dotted name."""
    leaves: dict[str, Any] = {}
    for each in dataclasses.fields(settings):
        value = getattr(settings, each.name)
        key = f"{prefix}{each.name}"
        leaves |= flatten(value, f"{key}.") if dataclasses.is_dataclass(value) else {key: value}
    return leaves


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that names the nearest known word, or all of them when none is near."""
    words = list(known)
    ends = [each for each in words if each.rsplit(".", 1)[-1] == word.rsplit(".", 1)[-1]]
    if near := difflib.get_close_matches(word, words, n=1, cutoff=0.6) or ends[:1]:
        return f"; did you mean {near[0]}?"
    return f"; known are {', '.join(words)}"


def as_yaml(settings: Any) -> str:
    """The resolved settings as YAML that `read_layer` and `--config` take back."""
    # PyYAML loses some characters, such as U+0085, when it does not escape them.
    return yaml.safe_dump(dataclasses.asdict(settings), sort_keys=False, allow_unicode=False)


def digest(settings: Any) -> str:
    """SHA-256 of the resolved settings, in hexadecimal."""
    return hashlib.sha256(as_yaml(settings).encode()).hexdigest()


def read_layer(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file; its keys are checked by `override`.

    Raises:
        BadInput: the file cannot be read, is not YAML, or holds something else than a mapping.
    """
    return _parsed(read_bytes(path, limit=LIMIT), str(path))


def _parsed(content: bytes, source: str) -> dict[str, Any]:
    try:
        layer = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, no such day, over 4,300 digits
        reason = " ".join(str(error).split())
        raise BadInput(f"{source} is not valid YAML: {reason}; write one `name: value` a line") from error
    if layer is None:
        return {}
    if not isinstance(layer, dict) or not all(isinstance(key, str) for key in layer):
        raise BadInput(f"{source} holds no settings; write one `name: value` a line")
    return layer


def preset_names(verb: str) -> list[str]:
    """The presets of a verb, from the quickest to the best, and then others by name."""
    folder = resources.files("gen3d.configs") / verb
    names = {file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml")}
    return [*(name for name in PRESETS if name in names), *sorted(names - set(PRESETS))]


def preset_summary(verb: str, name: str) -> str:
    """What a preset is for: the comment in its first line."""
    return _preset_bytes(verb, name).decode().splitlines()[0].removeprefix("# ")


def read_preset(verb: str, name: str) -> dict[str, Any]:
    """The layer of a preset.

    Raises:
        UsageError: the verb has no preset of this name.
    """
    return _parsed(_preset_bytes(verb, name), f"the preset {name}")


def _preset_bytes(verb: str, name: str) -> bytes:
    known = preset_names(verb)
    if name not in known:
        raise UsageError(f"the preset {name!r} of gen3d {verb} is not known{did_you_mean(name, known)}")
    return (resources.files("gen3d.configs") / verb / f"{name}.yaml").read_bytes()
