"""What a policy is asked to do, from parameters and from velocity commands; no ROS in here."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import InvalidInput, UnknownName

Array = NDArray[np.floating]

VELOCITIES = ("forward m/s", "left m/s", "turn rad/s")
"""Labels of the goal components that a velocity command sets."""


class Goal(NamedTuple):
    """What is wanted now."""

    values: Array
    """(g,), in the units of the labels."""
    stand: bool
    """Whether to stand still instead of running the policy, which has never seen a velocity of zero."""


class Goals:
    """The goal of a policy while it runs; any thread may change it.

    A component may be set to any value that training saw. A velocity may also be zero. A stream of velocity commands
    rules from its first message until a component is set by name; when it ceases, all velocities are zero.

    Attributes:
        names: of the components, by which they are set: the label without its unit.
        ranges: least and greatest value of each, by label; absent where training did not say.
    """

    def __init__(self, labels: Sequence[str], ranges: Mapping[str, Sequence[float]], timeout: float) -> None:
        """Begins in the middle of every range.

        Args:
            labels: of the goal's components, such as `forward m/s`.
            ranges: of training, by label.
            timeout: s for which a velocity command counts.
        """
        self.labels = tuple(labels)
        self.names = tuple(_name(label) for label in labels)
        self.ranges: dict[str, tuple[float, float]] = {}
        self._timeout = timeout
        self._lock = threading.Lock()
        self.walks = all(label in self.labels for label in VELOCITIES)
        """Whether velocity commands make sense here."""
        self._zero_is_new = False
        self.retrain(ranges)
        self._values = np.array([sum(self.ranges.get(label, (0.0, 0.0))) / 2.0 for label in self.labels])
        self._twist: Array | None = None
        self._twist_time = 0.0

    @property
    def steered(self) -> bool:
        """Whether velocity commands rule, and not what was set."""
        return self._twist is not None

    def retrain(self, ranges: Mapping[str, Sequence[float]]) -> None:
        """Takes over what another policy saw in training; the goal stays, a velocity command is judged by it anew."""
        self.ranges = {label: (float(low), float(high)) for label, (low, high) in ranges.items()}
        self._zero_is_new = self.walks and any(not self._seen(label, 0.0) for label in VELOCITIES)

    def checked(self, name: str, value: float) -> float:
        """The value, if a component may have it.

        Raises:
            UnknownName: no such component.
            InvalidInput: training never saw it.
        """
        if name not in self.names:
            raise UnknownName.of("goal", name, self.names)
        label = self.labels[self.names.index(name)]
        if not np.isfinite(value) or not (self._seen(label, value) or (label in VELOCITIES and value == 0.0)):
            low, high = self.ranges.get(label, (-np.inf, np.inf))
            stop = ", or 0 to stand" if label in VELOCITIES and not low <= 0.0 <= high else ""
            raise InvalidInput(f"goal {label}: {value:g} is outside of what the policy saw: {low:g} to {high:g}{stop}")
        return float(value)

    def set(self, name: str, value: float) -> None:
        """Sets one component; see `checked`."""
        value = self.checked(name, value)
        with self._lock:
            self._values[self.names.index(name)] = value
            self._twist = None

    def command_velocity(self, forward: float, left: float, turn: float, now: float) -> bool:
        """Takes a velocity command; what lies outside of the ranges is brought to their edge, see `_meant`.

        Args:
            forward: m/s.
            left: m/s.
            turn: rad/s.
            now: s.

        Returns:
            Whether it was kept as it is.

        Raises:
            InvalidInput: not finite.
        """
        given = np.array([forward, left, turn])
        if not np.isfinite(given).all():
            raise InvalidInput(f"velocity command is not finite: {forward}, {left}, {turn}")
        with self._lock:
            self._twist, self._twist_time = given, now
        return bool((self._meant(given) == given).all())

    def _meant(self, given: Array) -> Array:
        """The velocities, (3,), that a command stands for: itself, or the edge of what training saw, or zero.

        No edge is taken of the other direction, nor one more than twice as fast: of a policy that only walks forward,
        neither a wish to go back, nor to turn on the spot, nor the drift of a joystick makes it walk. Then all
        velocities are zero.
        """
        low, high = np.array([self.ranges.get(label, (-np.inf, np.inf)) for label in VELOCITIES]).T
        kept = np.clip(given, low, high)
        turned_round = (kept * given < 0.0) | (np.abs(given) < 0.5 * np.abs(kept))
        return np.zeros(3) if turned_round.any() else kept

    def now(self, now: float) -> Goal:
        """The goal at a time, s."""
        with self._lock:
            values = self._values.copy()
            twist, age = self._twist, now - self._twist_time
        if not self.walks:
            return Goal(values, False)
        indices = [self.labels.index(label) for label in VELOCITIES]
        if twist is not None:
            values[indices] = self._meant(twist) if age <= self._timeout else 0.0
        return Goal(values, self._zero_is_new and not values[indices].any())

    def _seen(self, label: str, value: float) -> bool:
        low, high = self.ranges.get(label, (-np.inf, np.inf))
        return low - 1e-9 <= value <= high + 1e-9


def _name(label: str) -> str:
    """`forward m/s` -> `forward`."""
    words = label.split()
    return "_".join(words[:-1] if len(words) > 1 else words)
