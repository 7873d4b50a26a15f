"""What logs tell of a robot: numbers with their uncertainty, and how well they simulate what nothing was fitted to."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

CONFIDENCE = 0.95
"""Of the intervals."""


@dataclass(frozen=True)
class Found:
    """One number, and how well it is known."""

    name: str
    """As in `info["randomization"]`: `damping.FL_hip_joint`."""
    unit: str
    nominal: float
    """Of the robot's file."""
    value: float
    """NaN where it is not identified."""
    deviation: float
    """Standard deviation."""
    low: float
    """Of the interval of CONFIDENCE."""
    high: float
    reason: str = ""
    """Why it is not identified; empty where it is."""
    note: str = ""

    @property
    def identified(self) -> bool:
        """Whether the logs tell it."""
        return not self.reason


@dataclass(frozen=True)
class Validation:
    """Motion that nothing was fitted to, simulated with the robot's file and with what was found."""

    source: str
    sensor: str
    unit: str
    before: float
    """Root mean square of the difference, with the robot's file."""
    after: float
    noise: float
    """Standard deviation of the sensor's noise by the robot's file."""
    floor: float = 0.0
    """Root mean square below which no log is trusted."""


@dataclass(frozen=True)
class Identification:
    """All that logs tell of a robot."""

    robot: str
    found: tuple[Found, ...]
    validation: tuple[Validation, ...]
    correlation: tuple[tuple[str, ...], Array] = field(default_factory=lambda: ((), np.zeros((0, 0))))
    """Names, and correlation of their errors."""
    jitter: float = 0.0
    """s, deviation of the observation delay from reading to reading."""
    seconds: float = 0.0
    """Of motion that was fitted to."""

    def __getitem__(self, name: str) -> Found:
        """One of them by name."""
        return next(one for one in self.found if one.name == name)
