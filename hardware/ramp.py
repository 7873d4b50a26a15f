"""A slow way from one joint pose to another, tick by tick."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

BLEND_TIME = 0.3
"""s in which the commands of a policy that takes over grow from rest to full size, where nobody says otherwise."""


class Ramp:
    """Straight lines in joint space, all joints arriving together, then a rest."""

    def __init__(self, first: Array, last: Array, speed: float, period: float, settle_time: float = 0.0) -> None:
        """Plans the way.

        Args:
            first: (n,), rad or m.
            last: (n,), where to.
            speed: rad/s or m/s of the joint with the longest way.
            period: s between ticks.
            settle_time: s of standing still at the end.
        """
        self.last = np.array(last)
        self._first, self._way = np.array(first), last - first
        self._moving = max(1, int(np.ceil(np.abs(self._way).max() / (speed * period) - 1e-9)))
        self._ticks = self._moving + round(settle_time / period)
        self._tick = 0

    @property
    def finished(self) -> bool:
        """Whether the last target has been given."""
        return self._tick >= self._ticks

    def next(self) -> Array:
        """The target of the next tick, (n,); the last one for ever at the end."""
        self._tick = min(self._tick + 1, self._ticks)
        return self._first + self._way * min(1.0, self._tick / self._moving)
