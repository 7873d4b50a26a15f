"""Settings as frozen dataclasses: built from configuration files, described from their own source.

A field is documented by the string below it, here and everywhere in this project; so a setting's help on the command
line is the line that stands beside it in the code.
"""

from __future__ import annotations

import ast
import functools
import inspect
import math
import textwrap
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, TypeVar

from robot_rl.errors import ConfigurationError, UnknownName

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """One field of a settings class, as a configuration file or a flag sets it."""

    name: str
    kind: type
    """int, float, bool or str; of the elements where `length` is not 0."""
    length: int
    """0: a single value; -1: a tuple of any length; otherwise the tuple's length."""
    optional: bool
    """Whether None is allowed."""
    default: Any
    help: str

    @property
    def expected(self) -> str:
        """What a value must look like, for messages."""
        word = {int: "whole number", float: "number", bool: "true or false", str: "text"}[self.kind]
        if self.length == 0:
            text = word if self.kind in (bool, str) else f"a {word}"
        else:
            count = "one or more" if self.length < 0 else str(self.length)
            text = f"a list of {count} {word}s"
        return f"{text} or null" if self.optional else text

    def read(self, value: Any, where: str) -> Any:
        """A value of a configuration file as the field's type.

        Raises:
            ConfigurationError: the value is of another type; names `where` and the key.
        """
        wrong = ConfigurationError(
            f"{where}.{self.name}: expected {self.expected}, got {type(value).__name__} {value!r}"
        )
        if value is None and self.optional:
            return None
        if self.length == 0:
            return self._single(value, wrong)
        if not isinstance(value, (list, tuple)) or not value or self.length not in (-1, len(value)):
            raise wrong
        return tuple(self._single(item, wrong) for item in value)

    def _single(self, value: Any, wrong: ConfigurationError) -> Any:
        if self.kind is float and isinstance(value, str):
            value = _number(value)  # YAML 1.1 reads 3e-4, which lacks a dot, as text
        allowed = (int, float) if self.kind is float else (self.kind,)
        if not isinstance(value, allowed) or (isinstance(value, bool) and self.kind is not bool):
            raise wrong
        value = self.kind(value)
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigurationError(f"{wrong}, which is not finite")
        return value


def check(settings: object, what: str, **checks: tuple[bool, str]) -> None:
    """Refuses settings that cannot work, by name; for a settings class's `__post_init__`.

    Args:
        settings: to be checked.
        what: they are settings of, for the message.
        checks: by name of the setting, whether its value is fine and what is allowed.

    Raises:
        ConfigurationError: a value is not; the message is `WHAT: NAME must be ALLOWED, got VALUE`.
    """
    for name, (fine, allowed) in checks.items():
        if not fine:
            raise ConfigurationError(f"{what}: {name} must be {allowed}, got {getattr(settings, name)}")


def check_ranges(settings: object, what: str, *names: str) -> None:
    """Refuses ranges that nothing can be drawn from, by name; see `check`.

    Args:
        settings: to be checked.
        what: they are settings of, for the message.
        names: of those that are a least and a greatest value.

    Raises:
        ConfigurationError: the ends of a range are the wrong way round or not finite.
    """
    for name in names:
        low, high = getattr(settings, name)
        fine = math.isfinite(low) and math.isfinite(high) and low <= high
        check(settings, what, **{name: (fine, "a finite range, from low to high")})


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


@functools.cache
def settings_of(cls: type) -> dict[str, Setting]:
    """The settings of a dataclass by name, in the order of its fields."""
    hints = typing.get_type_hints(cls)
    documented = _field_docs(cls)
    return {f.name: _setting(f.name, hints[f.name], f, documented.get(f.name, "")) for f in fields(cls)}


def from_mapping(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Builds settings from a mapping; what it does not name keeps its default.

    Args:
        cls: a frozen dataclass.
        values: from a configuration file or flags.
        where: file and key, for messages.

    Raises:
        UnknownName: a key that is no setting; lists those that are.
        ConfigurationError: a value of another type, or one that the class refuses.
    """
    known: Mapping[str, Setting] = settings_of(cls)  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise UnknownName.of("setting", key, known, f"in {where}")
    return cls(**{key: known[key].read(value, where) for key, value in values.items()})


def _setting(name: str, hint: Any, field: Any, text: str) -> Setting:
    default = None if field.default is MISSING else field.default
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    kinds = [option for option in options if option is not type(None)]
    if len(kinds) != 1:
        raise TypeError(f"setting {name!r} of several types: {hint}")
    kind, length = kinds[0], 0
    if typing.get_origin(kind) is tuple:
        parts = typing.get_args(kind)
        length = -1 if parts[-1] is Ellipsis else len(parts)
        kind = parts[0]
    if kind not in (int, float, bool, str):
        raise TypeError(f"setting {name!r} of a type that no file can hold: {hint}")
    return Setting(name, kind, length, type(None) in options, default, text)


def _field_docs(cls: type) -> dict[str, str]:
    """The string under each field of a class, those that it inherits included."""
    docs: dict[str, str] = {}
    for base in cls.__bases__:
        docs |= _field_docs(base) if is_dataclass(base) else {}
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    for line, following in zip(body.body, body.body[1:], strict=False):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(following, ast.Expr):
            text = ast.literal_eval(following.value)
            docs[line.target.id] = " ".join(str(text).split())
    return docs
