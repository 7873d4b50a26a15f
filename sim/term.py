"""What a term of randomisation is: numbers drawn at the reset of an episode, and what they do to a robot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import ConfigurationError
from robot_rl.section import Section
from sim.distributions import Distribution, read_distribution
from sim.parts import Indices, Parts

if TYPE_CHECKING:
    from sim.varied_copy import VariedCopy

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Bound:
    """A term made ready for one model."""

    labels: tuple[str, ...]
    """Name of each number; empty text where the term has a single one."""
    draw: Callable[[np.random.Generator], Array]
    """A value of each number, (k,), in the unit that the label or the term's table says."""
    apply: Callable[[VariedCopy, Array], None]
    """Writes the values, (k,), into a copy of the robot that has everything at its nominal value."""
    fields: tuple[str, ...] = ()
    """Arrays of MjModel that `apply` writes; they are put back before every reset."""
    inertial: bool = False
    """Whether MuJoCo must compute anew what follows from masses, inertias and gains."""


@dataclass(frozen=True)
class Term:
    """A kind of term."""

    bind: Callable[[Section, Parts], Bound]
    """Reads its settings and finds its parts; raises NoPart where the robot has none."""
    main: str = ""
    """The setting that a bare distribution is meant for; empty where there is none."""


@dataclass(frozen=True)
class Draws:
    """How many numbers are drawn of a distribution."""

    distribution: Distribution
    count: int
    each: bool
    """Whether every part has its own."""

    def __call__(self, rng: np.random.Generator) -> Array:
        """(count,) values, or a single one."""
        return self.distribution.sample(rng, self.count if self.each else 1)


def draws(
    section: Section, key: str, names: Sequence[str], each: bool, **bounds: float
) -> tuple[Draws, tuple[str, ...]]:
    """Reads a distribution and the key `each`; returns how to draw from it, and the labels.

    Args:
        section: of the term.
        key: of the distribution.
        names: of the parts.
        each: whether every part draws its own where the file does not say.
        bounds: see `read_distribution`.
    """
    distribution = read_distribution(section.value(key), f"{section.where}.{key}", **bounds)
    own = flag(section, "each", each)
    return Draws(distribution, len(names), own), tuple(names) if own else ("",)


def flag(section: Section, key: str, default: bool) -> bool:
    """A key that is true or false."""
    value = section.value(key, default)
    if not isinstance(value, bool):
        raise ConfigurationError(f"{section.where}.{key}: expected true or false, got {value!r}")
    return value


def one_of(section: Section, *keys: str) -> str:
    """Which of several keys the section gives, exactly one."""
    given = [key for key in keys if key in section]
    for key in keys:
        if key not in given:
            section.value(key, None)  # so that it is listed among the keys that there are
    if len(given) != 1:
        raise ConfigurationError(f"{section.where}: expected exactly one of {', '.join(keys)}, got {given or 'none'}")
    return given[0]


def optional(section: Section, key: str, default: Any, **bounds: float) -> Distribution:
    """A distribution that need not be there."""
    return read_distribution(section.value(key, default), f"{section.where}.{key}", **bounds)


def chosen_bodies(section: Section, parts: Parts, default: Indices) -> Indices:
    """The bodies that `bodies` names, or the default ones."""
    names = section.texts("bodies", ())
    return parts.bodies_named(names, f"{section.where}.bodies") if names else default


def chosen_joints(section: Section, parts: Parts, default: Indices) -> Indices:
    """Degrees of freedom of the joints that `joints` names, or the default ones."""
    names = section.texts("joints", ())
    return parts.joints_named(names, f"{section.where}.joints") if names else default
