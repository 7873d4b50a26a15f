"""Noise for sensor readings, drawn for many ticks at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_DRAWN_AHEAD = 64
"""Readings of one robot."""


class SensorNoise:
    """Normal noise of given standard deviations for each reading of `count` robots.

    A generator takes as long to begin as to draw a hundred numbers, so noise is drawn some ticks ahead.
    """

    def __init__(self, deviations: Array, count: int | None = None) -> None:
        """Args: deviations: (k,); count: robots that are read together, None for a single one without that axis."""
        self._deviations = deviations
        self._shape = (deviations.size,) if count is None else (count, deviations.size)
        self._ahead = max(1, _DRAWN_AHEAD // (count or 1))
        self._rng = np.random.default_rng(0)
        self._drawn = np.zeros((0, *self._shape))
        self._next = 0

    def begin(self, rng: np.random.Generator) -> None:
        """Forgets what was drawn ahead and draws from `rng` from now on."""
        self.use(rng)
        self._drawn, self._next = self._drawn[:0], 0

    def use(self, rng: np.random.Generator) -> None:
        """Draws from `rng` once what was drawn ahead is used up."""
        self._rng = rng

    def of_first(self, *rows: int) -> Array:
        """Noise of a reading after a reset, (*rows, k), drawn at once."""
        return self._rng.standard_normal((*rows, self._deviations.size)) * self._deviations

    def of_next(self) -> Array:
        """Noise of one reading of all robots, (k,) or (count, k)."""
        if self._next == len(self._drawn):
            self._drawn = self._rng.standard_normal((self._ahead, *self._shape)) * self._deviations
            self._next = 0
        self._next += 1
        return self._drawn[self._next - 1]

    def snapshot(self) -> Array:
        """What was drawn ahead and not used yet."""
        return self._drawn[self._next :].copy()

    def restore(self, ahead: Array) -> None:
        """Puts a snapshot back."""
        self._drawn, self._next = np.array(ahead).reshape(-1, *self._shape), 0
