"""The flags of a verb: built from settings dataclasses, layered over presets and files, and strict about names."""

import argparse
import dataclasses
import re
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Literal, NoReturn

from jsonargparse import ArgumentParser, DefaultHelpFormatter, strip_meta

from gen3d.errors import UsageError
from gen3d.pipeline.configuration import did_you_mean, flatten, override, preset_names, read_layer, read_preset

STANDARD = "standard"  # the preset of whoever names none
EPILOG = "Dashes and underscores in flag names are the same. A flag wins over --config files, they over --preset, it over the defaults."


LIST = re.compile(r"-?[\d.]+(,-?[\d.]+)*")


class Parser:
    """One verb's command line.

    Attributes:
        flags: the jsonargparse parser underneath; verbs add their own flags to it.
    """

    def __init__(self, verb: str, summary: str) -> None:
        self.flags = _Flags(
            prog=f"gen3d {verb}",
            usage=f"gen3d {verb} [flags]",
            description=summary,
            epilog=EPILOG,
            allow_abbrev=False,
            formatter_class=_Help,
            print_config=None,  # jsonargparse's own would also print what is not a setting
        )
        self._inputs: list[str] = []
        self._kind: Any = None
        self._verb, self._has_presets = verb, False
        self._kinds: dict[str, Any] = {}
        self._presets = verb  # the folder that they lie in
        common = self.flags.add_argument_group("output of the command")
        common.add_argument("--json", action="store_true", help="print one machine-readable line at the end")
        common.add_argument("-q", "--quiet", action="store_true", help="no progress")
        common.add_argument("-v", "--verbose", action="store_true", help="tracebacks and the warnings of libraries")

    def add_input(self, name: str, help: str, *, kind: Any = str, optional: bool = False, many: bool = False) -> None:
        """Add a positional argument."""
        # jsonargparse would demand it even for --print_config, so that `parse` looks for it instead.
        self.flags.add_argument(name, nargs="*" if many else "?", type=kind, help=help)
        if not optional:
            self._inputs.append(name)
            self.flags.usage = f"gen3d {self._verb} {' '.join(self._inputs).upper()} [flags]"

    def add_settings(self, kind: Any, *, presets: bool = False) -> None:
        """Add a flag for every field of a settings dataclass; with `presets` also --preset, --config and --print_config."""
        if presets:
            layers = self.flags.add_argument_group("configuration")
            names = tuple(preset_names(self._presets))
            start = f"settings to start from: {', '.join(names)}; {STANDARD} when not given"
            layers.add_argument("--preset", type=Literal[names], help=start)
            layers.add_argument("--config", type=str, action="append", help="YAML file of settings; may be repeated, later ones win")
            layers.add_argument("--print_config", action="store_true", help="print the settings that would be used, and stop")
        self.flags.add_class_arguments(kind, as_group=True)
        self._kind, self._has_presets = kind, presets

    def add_settings_of(self, kinds: Mapping[str, Any]) -> None:
        """Flags for the fields of one of several dataclasses, with presets: the one that a positional argument names, else the first."""
        self._kinds = dict(kinds)

    def add_run(self) -> None:
        """Add the flags of verbs that write a run folder."""
        group = self.flags.add_argument_group("run folder")
        group.add_argument("--out", type=str, help="the run folder; outputs/<name>-<time> when not given")
        group.add_argument("--overwrite", action="store_true", help="replace results that exist")

    def parse(self, arguments: Sequence[str]) -> SimpleNamespace:
        """The options: one attribute a flag, and `settings` where the verb has some.

        Raises:
            UsageError: a flag, key or value is not known or not of its type.
            BadInput: a --config file cannot be read.
        """
        if self._kinds:
            free = [word for before, word in zip(["", *arguments], arguments, strict=False) if not before.startswith("-")]
            named = next((word for word in [*free, *arguments, *self._kinds] if word in self._kinds), "")  # not the value of a flag
            self._presets = f"{self._verb}/{named}"
            self.add_settings(self._kinds[named], presets=True)
        words = self._listed(self._switched(_underscored(arguments)))
        if self._has_presets:
            self.flags.set_defaults(flatten(self._layered(words)))
        values = strip_meta(self.flags.parse_args(words)).as_dict()
        if self._kind is not None:
            chosen = {each.name: values.pop(each.name) for each in dataclasses.fields(self._kind)}
            values["settings"] = override(self._kind(), chosen, "the command line")
        for name in self._inputs:
            if not values[name] and not values.get("print_config"):
                raise UsageError(f"gen3d {self._verb} needs {name.upper()}; see gen3d {self._verb} --help")
        return SimpleNamespace(**values)

    def _switched(self, words: list[str]) -> list[str]:
        """The words with "true" after every flag of a yes-or-no setting that stands alone."""
        switches = {f"--{name}" for name, value in flatten(self._kind()).items() if isinstance(value, bool)} if self._kind else set()
        alone = [word in switches and (words[at + 1 : at + 2] or ["--"])[0] not in ("true", "false") for at, word in enumerate(words)]
        return [each for word, single in zip(words, alone, strict=True) for each in ((word, "true") if single else (word,))]

    def _listed(self, words: list[str]) -> list[str]:
        """The words with brackets around lists of numbers, so that 0,90 is one as [0, 90] is."""
        lists = {f"--{name}" for name, value in flatten(self._kind()).items() if isinstance(value, tuple)} if self._kind else set()
        listed: list[str] = []
        for before, word in zip(["", *words], words, strict=False):
            name, _, value = word.partition("=") if word.split("=")[0] in lists else (before, "", word)
            if name in lists and LIST.fullmatch(value):
                word = word[: len(word) - len(value)] + f"[{value}]"
            listed.append(word)
        return listed

    def _layered(self, words: list[str]) -> Any:
        early = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        early.add_argument("--preset", default=STANDARD)
        early.add_argument("--config", action="append", default=[])
        settings = self._kind()
        try:
            layers, _ = early.parse_known_args(words)
        except argparse.ArgumentError:
            return settings  # the full parser says it better
        settings = override(settings, read_preset(self._presets, layers.preset), f"the preset {layers.preset}")
        for path in layers.config:
            settings = override(settings, read_layer(path), path)
        return settings


class _Help(DefaultHelpFormatter):
    """Help lines that end with the default, without the type that the flag's words already tell."""

    def _get_help_string(self, action: argparse.Action) -> str:
        is_switch = action.nargs == 0 or not action.option_strings
        shown = not is_switch and action.default is not None and action.default != argparse.SUPPRESS
        return f"{action.help} ({action.default})" if shown else str(action.help)


class _Flags(ArgumentParser):
    """Raises UsageError, with the nearest flag, where argparse would print its usage and exit."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UsageError(self._sentence(message)) from ex

    def _sentence(self, message: str) -> str:
        if unknown := re.match(r"unrecognized arguments: (\S+)", message):
            word = unknown[1].split("=")[0]
            if not word.startswith("-"):
                return f"the argument {word!r} is one too many; see {self.prog} --help"
            known = sorted(name for name in self._option_string_actions if name.startswith("--"))
            return f"the flag {word} is not known{did_you_mean(word, known)}" if len(word) > 2 else f"the flag {word} is not known"
        if wrong := re.match(r'Parser key "(.+?)":\s+(.*)', message, re.DOTALL):
            reason = " ".join(wrong[2].split())
            if choices := re.search(r"typing\.Literal\[(.*)\]\. Got value: (.*)", reason):
                return f"{wrong[1]} is {choices[2]!r}; choose one of {choices[1]}"
            if expected := re.search(r"Expected a <class '(\w+)'>\. Got value: (.*)", reason):
                return f"{wrong[1]} is {expected[2]!r}; it must be of type {expected[1]}"
            return f"{wrong[1]}: {reason}"
        return " ".join(message.split())


def _underscored(arguments: Sequence[str]) -> list[str]:
    """The arguments with dashes inside flag names turned into underscores."""
    words: list[str] = []
    for index, word in enumerate(arguments):
        if word == "--":
            return [*words, *arguments[index:]]
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            word = f"--{name.replace('-', '_')}{equals}{value}"
        words.append(word)
    return words
