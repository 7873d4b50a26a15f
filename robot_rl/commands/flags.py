"""Flags: an argument parser whose mistakes are errors of one line, and flags made from settings classes."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NoReturn

from robot_rl.errors import ConfigurationError
from robot_rl.settings import Setting, settings_of


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises ConfigurationError where argparse would print a page and exit."""

    def __init__(self, command: str, description: str, **options: Any) -> None:
        """Args: command: name of the subcommand; description: for its help."""
        super().__init__(
            prog=f"robot-rl {command}",
            description=description,
            allow_abbrev=False,
            formatter_class=_Formatter,
            **options,
        )

    def error(self, message: str) -> NoReturn:
        """Raises instead of exiting."""
        raise ConfigurationError(f"{message}; see {self.prog} --help")

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parses all arguments; an unknown flag is an error that names those that come near."""
        values, rest = self.parse_known_args([_without_exponent(_underscored(a)) for a in arguments])
        if rest:
            raise ConfigurationError(self._unknown(rest[0]))
        return values

    def _unknown(self, given: str) -> str:
        if not given.startswith("-"):
            return f"unexpected argument {given!r}; see {self.prog} --help"
        flags = [flag for action in self._actions for flag in action.option_strings]
        section = given.split(".")[0] + "."
        near = difflib.get_close_matches(given.split("=")[0], flags, n=3, cutoff=0.75)
        in_section = [flag for flag in flags if "." in given and flag.startswith(section)]
        allowed = ", ".join(near or in_section)
        hint = f"did you mean {allowed}?" if near else f"allowed: {allowed};" if allowed else ""
        return " ".join(f"unknown flag {given!r}; {hint} see {self.prog} --help".split())


class _Formatter(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34, width=120)


def _underscored(argument: str) -> str:
    """`--trainer.total-steps` means `--trainer.total_steps`."""
    name, equals, value = argument.partition("=")
    section, dot, rest = name.partition(".")
    if section.startswith("--") and dot:
        return f"{section}{dot}{rest.replace('-', '_')}{equals}{value}"
    return argument


def _without_exponent(argument: str) -> str:
    """`-1e-1` means `-0.1`: argparse takes a negative number with an exponent for a flag."""
    negative = re.fullmatch(r"-(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", argument)
    return format(Decimal(argument), "f") if negative else argument


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds `--json`."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def add_settings(
    parser: argparse.ArgumentParser,
    section: str,
    cls: type,
    title: str,
    values: dict[str, Any],
    leave_out: Sequence[str] = (),
) -> None:
    """Adds a flag `--SECTION.NAME` for every setting of a class.

    Args:
        parser: gets the flags; those not given are absent from its result.
        section: name before the dot; the same as in a configuration file.
        cls: a settings class.
        title: heading in the help.
        values: defaults that differ from the class's own, for the help.
        leave_out: settings that have another flag.
    """
    group = parser.add_argument_group(title)
    for name, setting in settings_of(cls).items():
        if name in leave_out:
            continue
        default = values.get(name, setting.default)
        group.add_argument(
            f"--{section}.{name}",
            type=_reader(setting),
            nargs={0: None, -1: "+"}.get(setting.length, setting.length),
            metavar=_metavar(setting),
            default=argparse.SUPPRESS,
            help=f"{setting.help} [{_shown(default)}]".replace("%", "%%"),
        )


def given_settings(values: argparse.Namespace, section: str) -> dict[str, Any]:
    """The settings of a section that the flags gave."""
    start = f"{section}."
    return {name[len(start) :]: value for name, value in vars(values).items() if name.startswith(start)}


def _reader(setting: Setting) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        if setting.optional and text in ("none", "null"):
            return None
        if setting.kind is bool:
            if text not in ("true", "false"):
                raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
            return text == "true"
        try:
            return setting.kind(text)
        except ValueError:
            kind = "a whole number" if setting.kind is int else "a number"
            raise argparse.ArgumentTypeError(f"expected {kind}, got {text!r}") from None

    return read


def _metavar(setting: Setting) -> str | tuple[str, ...]:
    word = {int: "N", float: "X", bool: "true|false", str: "TEXT"}[setting.kind]
    return (word,) * setting.length if setting.length > 0 else word


def _shown(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return " ".join(map(_shown, value))
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def whole_number(at_least: int) -> Callable[[str], int]:
    """Reads a whole number with a lower bound, for a flag."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = at_least - 1
        if value < at_least:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {at_least}, got {text!r}")
        return value

    return read


def positive_number(text: str) -> float:
    """Reads a finite number above zero, for a flag."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value
