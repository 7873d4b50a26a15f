"""The pictures of a replay: one byte a number, and each kept once.

The picture after a transition is the picture before the next one of the same environment, so a transition keeps where
that is. Only the last picture of an episode, which no transition begins with, is kept beside.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


class Pictures:
    """The pictures of the last `capacity` transitions, which are numbered from 0 on as they come."""

    def __init__(self, capacity: int, pixels: int) -> None:
        """Reserves the memory, which is taken as it fills.

        Args:
            capacity: transitions held.
            pixels: numbers of a picture.
        """
        self._capacity = capacity
        self._before = np.empty((capacity, pixels), dtype=np.uint8)
        self._successor = np.full(capacity, -1, dtype=np.int64)  # number of the transition that begins where it ends
        self._after: dict[int, Picture] = {}  # by number, of transitions without a successor
        self._newest: dict[int, int] = {}  # number of the newest transition by environment

    @property
    def memory(self) -> int:
        """Bytes once it is full, but for the last pictures of episodes."""
        return self._before.nbytes + self._successor.nbytes

    def add(self, first: int, before: Picture, after: Picture, environment: NDArray[np.integer]) -> None:
        """Adds transitions in order.

        Args:
            first: number of the first of them.
            before: (N, pixels).
            after: (N, pixels).
            environment: which made each, (N,).
        """
        for index, which in enumerate(environment.tolist()):
            number = first + index
            slot = number % self._capacity
            # A successor is younger than what it follows, so it is never written over before it.
            self._after.pop(number - self._capacity, None)
            earlier = self._newest.get(which, -1)
            if earlier in self._after and np.array_equal(self._after[earlier], before[index]):
                self._successor[earlier % self._capacity] = number
                del self._after[earlier]
            self._before[slot] = before[index]
            self._successor[slot] = -1
            self._after[number] = after[index].copy()
            self._newest[which] = number

    def take(self, numbers: NDArray[np.integer]) -> tuple[Picture, Picture]:
        """The pictures before and after some transitions, (B, pixels) each."""
        slots = numbers % self._capacity
        successor = self._successor[slots]
        before, after = self._before[slots], self._before[successor % self._capacity]
        for index in np.flatnonzero(successor < 0):
            after[index] = self._after[int(numbers[index])]
        return before, after

    def span(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Transitions from `start` to the newest, before `stop`, as arrays for `put`."""
        slots = np.arange(start, stop) % self._capacity
        alone = np.array([number for number in range(start, stop) if number in self._after], dtype=np.int64)
        return {
            "before": self._before[slots],
            "successor": self._successor[slots],
            "alone": alone,
            "after": self.take(alone)[1],
        }

    def put(self, start: int, span: dict[str, np.ndarray], skip: int = 0) -> None:
        """Takes back what `span` gave for transitions from `start` on, without the first `skip`."""
        count = len(span["before"])
        slots = np.arange(start + skip, start + count) % self._capacity
        for number in range(start + skip, start + count):
            self._after.pop(number - self._capacity, None)
        self._before[slots] = span["before"][skip:]
        self._successor[slots] = span["successor"][skip:]
        for number, after in zip(span["alone"].tolist(), span["after"], strict=True):
            if number >= start + skip:
                self._after[number] = after.copy()
