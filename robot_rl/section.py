"""Reads a nested mapping key by key; every error names the file, the key, what was given and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from robot_rl.errors import ConfigurationError, UnknownName

_REQUIRED: Any = object()


class Section:
    """One mapping of a configuration file.

    Ask for each key once, then call `finish`: a key that nobody asked for is an error, so a misspelt one is never
    ignored.
    """

    def __init__(self, values: Any, where: str) -> None:
        """Args: values: the mapping; where: file and dotted key, for messages."""
        if not isinstance(values, Mapping):
            raise ConfigurationError(f"{where}: expected a mapping of keys, got {_shown(values)}")
        for key in values:
            if not isinstance(key, str):  # numbers, and what YAML 1.1 takes for truth values: on, off, yes and no
                raise ConfigurationError(f"{where}: expected text as keys, got {_shown(key)}; put it in quotes")
        self._values = values
        self.where = where
        self._asked: list[str] = []

    def __contains__(self, key: str) -> bool:
        """Whether the file gives this key."""
        return key in self._values

    def names(self) -> list[str]:
        """The keys of a section whose keys are names, such as joints; marks all as asked for."""
        self._asked.extend(self._values)
        return list(self._values)

    def value(self, key: str, default: Any = _REQUIRED) -> Any:
        """The value as it stands in the file."""
        self._asked.append(key)
        if key in self._values:
            return self._values[key]
        if default is _REQUIRED:
            raise ConfigurationError(f"{self.where}: missing key {key!r}")
        return default

    def number(
        self,
        key: str,
        default: Any = _REQUIRED,
        *,
        above: float | None = None,
        at_least: float | None = None,
        at_most: float | None = None,
        unit: str = "",
    ) -> float:
        """A finite number, optionally bounded; the unit is for the message about `at_most`."""
        value = self.value(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ConfigurationError(f"{self.where}.{key}: expected a finite number, got {_shown(value)}")
        if above is not None and value <= above:
            raise ConfigurationError(f"{self.where}.{key}: expected a number above {above:g}, got {value:g}")
        if at_least is not None and value < at_least:
            raise ConfigurationError(f"{self.where}.{key}: expected a number of at least {at_least:g}, got {value:g}")
        if at_most is not None and value > at_most:
            bound = f"{at_most:g} {unit}".strip()
            raise ConfigurationError(f"{self.where}.{key}: expected a number of at most {bound}, got {value:g}")
        return float(value)

    def optional_number(self, key: str, **bounds: Any) -> float | None:
        """A finite number, or None where the key is absent."""
        return self.number(key, **bounds) if key in self else self.value(key, None)

    def numbers(self, key: str, count: int, default: Any = _REQUIRED) -> tuple[float, ...]:
        """A list of `count` finite numbers."""
        value = self.value(key, default)
        good = isinstance(value, (list, tuple)) and len(value) == count
        good = good and all(isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in value)
        if not good:
            raise ConfigurationError(
                f"{self.where}.{key}: expected a list of {count} finite numbers, got {_shown(value)}"
            )
        return tuple(float(v) for v in value)

    def text(self, key: str, default: Any = _REQUIRED) -> str:
        """A string."""
        value = self.value(key, default)
        if not isinstance(value, str) or not value:
            raise ConfigurationError(f"{self.where}.{key}: expected text, got {_shown(value)}")
        return value

    def choice(self, key: str, allowed: Iterable[str], default: Any = _REQUIRED) -> str:
        """One of a few words."""
        allowed = tuple(allowed)
        value = self.value(key, default)
        if value is False:  # YAML 1.1 reads a bare `off` as false
            value = "off"
        if value not in allowed:
            raise UnknownName.of("value", value, allowed, f"for {self.where}.{key}")
        return str(value)

    def texts(self, key: str, default: Any = _REQUIRED) -> tuple[str, ...]:
        """A list of strings."""
        value = self.value(key, default)
        if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
            raise ConfigurationError(f"{self.where}.{key}: expected a list of names, got {_shown(value)}")
        return tuple(value)

    def section(self, key: str, default: Any = _REQUIRED) -> Section:
        """A nested mapping."""
        value = self.value(key, default)
        return Section({} if value is None else value, f"{self.where}.{key}")

    def finish(self) -> None:
        """Refuses keys that nobody asked for."""
        for key in self._values:
            if key not in self._asked:
                raise UnknownName.of("key", key, dict.fromkeys(self._asked), f"in {self.where}")


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
