"""Distributions of what is not known exactly, as a YAML file writes them.

| in the file | meaning |
|---|---|
| `0.8` | always this |
| `[0.8, 1.2]` | uniform between the two |
| `{log_uniform: [0.5, 2.0]}` | uniform in the logarithm |
| `{normal: [1.0, 0.1]}` | mean and standard deviation, cut at three of them |
| `{exponential: 0.002}` | of this mean |
| `{choice: [0.0, 0.01, 0.04]}` | one of these, each as likely |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import ConfigurationError

Array = NDArray[np.floating]

KINDS = ("log_uniform", "normal", "exponential", "choice")
_CUT = 3.0
"""Standard deviations at which a normal distribution is cut."""


@dataclass(frozen=True)
class Distribution:
    """A distribution over numbers."""

    sample: Callable[[np.random.Generator, int], Array]
    """(generator, k) -> (k,) independent draws."""
    low: float
    """Least value that can be drawn."""
    high: float
    """Greatest value that can be drawn."""
    given: Any
    """As the file writes it."""

    def one(self, rng: np.random.Generator) -> float:
        """A single draw."""
        return float(self.sample(rng, 1)[0])

    def scaled(self, factor: float) -> Distribution:
        """The distribution of `factor` times a draw; factor > 0."""
        draw = self.sample
        return Distribution(lambda rng, k: factor * draw(rng, k), factor * self.low, factor * self.high, self.given)


def read_distribution(
    value: Any, where: str, at_least: float = -math.inf, at_most: float = math.inf, above: float = -math.inf
) -> Distribution:
    """Reads a distribution.

    Args:
        value: as in the module's table.
        where: file and dotted key, for messages.
        at_least: least value that may ever be drawn.
        at_most: greatest value that may ever be drawn.
        above: every value must be greater.

    Raises:
        ConfigurationError: no distribution, a range upside down, or values out of bounds.
    """
    found = _read(value, where)
    if found.low < at_least or found.high > at_most or found.low <= above:
        least = f"above {above:g}" if above > -math.inf else f"at least {at_least:g}" if at_least > -math.inf else ""
        most = f"at most {at_most:g}" if at_most < math.inf else ""
        allowed = " and ".join(part for part in (least, most) if part)
        raise ConfigurationError(f"{where}: values must be {allowed}, got {value!r}")
    return found


def is_distribution(value: Any) -> bool:
    """Whether a value of a file is meant as a distribution, not as a section of options."""
    return not isinstance(value, Mapping) or (len(value) == 1 and next(iter(value)) in KINDS)


def _read(value: Any, where: str) -> Distribution:
    if _is_number(value):
        constant = float(value)
        return Distribution(lambda rng, k: np.full(k, constant), constant, constant, value)
    if isinstance(value, (list, tuple)):
        low, high = _range(value, where)
        return Distribution(lambda rng, k: rng.uniform(low, high, k), low, high, list(value))
    if isinstance(value, Mapping) and len(value) == 1:
        kind, given = next(iter(value.items()))
        if kind == "log_uniform":
            low, high = _range(given, f"{where}.{kind}")
            if low <= 0.0:
                raise ConfigurationError(f"{where}.{kind}: values must be above 0, got {given!r}")
            a, b = math.log(low), math.log(high)
            return Distribution(lambda rng, k: np.exp(rng.uniform(a, b, k)), low, high, value)
        if kind == "normal":
            mean, deviation = _pair(given, f"{where}.{kind}", "a mean and a standard deviation")
            if deviation < 0.0:
                raise ConfigurationError(f"{where}.{kind}: expected a deviation of at least 0, got {deviation:g}")
            span = _CUT * deviation
            return Distribution(
                lambda rng, k: mean + np.clip(deviation * rng.standard_normal(k), -span, span),
                mean - span,
                mean + span,
                value,
            )
        if kind == "exponential":
            if not _is_number(given) or given <= 0.0:
                raise ConfigurationError(f"{where}.{kind}: expected a mean above 0, got {given!r}")
            scale = float(given)
            return Distribution(lambda rng, k: rng.exponential(scale, k), 0.0, math.inf, value)
        if kind == "choice":
            if not isinstance(given, (list, tuple)) or not given or not all(map(_is_number, given)):
                raise ConfigurationError(f"{where}.{kind}: expected a list of finite numbers, got {given!r}")
            options = np.array(given, dtype=np.float64)
            return Distribution(lambda rng, k: rng.choice(options, k), options.min(), options.max(), value)
    forms = ", ".join(f"{{{kind}: ...}}" for kind in KINDS)
    raise ConfigurationError(f"{where}: expected a number, a range [low, high], or one of {forms}; got {value!r}")


def _range(value: Any, where: str) -> tuple[float, float]:
    low, high = _pair(value, where, "a range [low, high]")
    if low > high:
        raise ConfigurationError(f"{where}: the range [{low:g}, {high:g}] is upside down; expected low first")
    return low, high


def _pair(value: Any, where: str, what: str) -> tuple[float, float]:
    if not isinstance(value, (list, tuple)) or len(value) != 2 or not all(map(_is_number, value)):
        raise ConfigurationError(f"{where}: expected {what}, two finite numbers, got {value!r}")
    return float(value[0]), float(value[1])


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
