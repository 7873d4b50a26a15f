"""What a term of randomisation is: numbers drawn at the reset of an episode, and what they do to a robot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.section import Section
from sim.distributions import Distribution, is_distribution, read_distribution
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
    """How numbers are drawn: of one distribution, or for each part of its own."""

    distributions: tuple[Distribution, ...]
    """One for all parts, or as many as there are parts."""
    count: int
    each: bool
    """Whether every part has its own number."""

    def __call__(self, rng: np.random.Generator) -> Array:
        """(count,) values, or a single one."""
        if len(self.distributions) == 1:
            return self.distributions[0].sample(rng, self.count if self.each else 1)
        return np.array([one.one(rng) for one in self.distributions])


def draws(
    section: Section,
    key: str,
    names: Sequence[str],
    each: bool,
    nominal: float | Sequence[float] = 1.0,
    **bounds: float,
) -> tuple[Draws, tuple[str, ...]]:
    """Reads a distribution, or one for each part by its name, and the key `each`.

    Args:
        section: of the term.
        key: of the distribution.
        names: of the parts.
        each: whether every part draws its own where the file does not say.
        nominal: what parts stay at that are not named where distributions are given by name; one, or of each part.
        bounds: see `read_distribution`.

    Returns:
        How to draw, and the labels.
    """
    value, where = section.value(key), f"{section.where}.{key}"
    if isinstance(value, Mapping) and not is_distribution(value):
        if not flag(section, "each", True):
            raise ConfigurationError(f"{section.where}.each: numbers by name are of each part; each cannot be false")
        for name in value:
            if name not in names:
                raise UnknownName.of("part", name, names, f"in {where}")
        kept = np.broadcast_to(np.asarray(nominal, dtype=np.float64), len(names)).tolist()
        own = {name: read_distribution(value[name], f"{where}.{name}", **bounds) for name in value}
        found = tuple(
            own[name] if name in own else read_distribution(stays, where)
            for name, stays in zip(names, kept, strict=True)
        )
        return Draws(found, len(names), True), tuple(names)
    distribution = read_distribution(value, where, **bounds)
    each = flag(section, "each", each)
    return Draws((distribution,), len(names), each), tuple(names) if each else ("",)


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
