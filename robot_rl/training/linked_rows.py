"""A ring of transitions in memory that holds each observation once.

Within an episode the next observation of a transition is the observation of the one that follows, so a link to that row
is enough: for Go2 that is 252 bytes a transition instead of 440. Whether a row follows is not told but seen: its
observation has the very bits that the other awaits. So it does not matter how many environments take turns, or in which
order their rows come, and what finds no successor (the end of an episode, the newest rows) keeps a copy of its own.
"""

from __future__ import annotations

import numpy as np

_FIRST_COPIES = 1024


class LinkedRows:
    """`capacity` rows of float32, of which two equally long parts are an observation and the next one.

    Attributes:
        width: numbers in a row.
    """

    def __init__(self, capacity: int, width: int, observation: slice, next_observation: slice) -> None:
        """Reserves the ring; memory is taken as it fills.

        Args:
            capacity: rows.
            width: numbers in a row.
            observation: its columns; the first ones.
            next_observation: its columns.
        """
        self.capacity = capacity
        self.width = width
        self._size = observation.stop  # O
        self._next_columns = next_observation
        self._own_columns = np.delete(np.arange(width), next_observation)
        self._own = np.empty((capacity, width - self._size), dtype=np.float32)  # all but the next observation
        self._next = np.zeros(capacity, dtype=np.int32)  # the row that follows, or ~index of a copy
        self._copies = np.empty((min(_FIRST_COPIES, capacity), self._size), dtype=np.float32)
        self._free = list(range(len(self._copies)))
        self._waiting: dict[bytes, int] = {}

    @property
    def memory(self) -> int:
        """Bytes once the ring is full, with as many copies as there are room for now."""
        return self._own.nbytes + self._next.nbytes + self._copies.nbytes

    def write(self, start: int, rows: np.ndarray) -> None:
        """Places rows, (N, width), from position `start` on, over the oldest; N is at most the capacity.

        A row is linked to one of the call before or of this one, so that calls with one row of each environment and
        calls with many rows of one environment find each other.
        """
        own = rows[:, self._own_columns]
        before, self._waiting = self._waiting, {}
        for index, following in enumerate(rows[:, self._next_columns]):
            here = (start + index) % self.capacity
            self._forget(here, before)
            self._own[here] = own[index]
            seen = own[index, : self._size].tobytes()
            awaiting = self._waiting.pop(seen, None)
            if awaiting is None:
                awaiting = before.pop(seen, None)
            if awaiting is not None:
                self._free.append(~int(self._next[awaiting]))
                self._next[awaiting] = here
            copy = self._free.pop() if self._free else self._grow()
            self._copies[copy] = following
            self._next[here] = ~copy
            self._waiting[following.tobytes()] = here

    def take(self, indices: np.ndarray) -> np.ndarray:
        """The rows at `indices`, (B,), whole: (B, width)."""
        rows = np.empty((len(indices), self.width), dtype=np.float32)
        rows[:, self._own_columns] = self._own.take(indices, axis=0)
        following = self._next.take(indices)  # (B,)
        next_observation = rows[:, self._next_columns]
        next_observation[:] = self._own.take(np.maximum(following, 0), axis=0)[:, : self._size]
        copied = np.flatnonzero(following < 0)
        next_observation[copied] = self._copies.take(~following[copied], axis=0)
        return rows

    def _forget(self, here: int, before: dict[bytes, int]) -> None:
        """Gives up what the row at `here`, about to be overwritten, keeps and awaits."""
        if self._next[here] >= 0:
            return
        copy = ~int(self._next[here])
        awaited = self._copies[copy].tobytes()
        for waiting in (self._waiting, before):
            if waiting.get(awaited) == here:
                del waiting[awaited]
        self._free.append(copy)

    def _grow(self) -> int:
        """Makes room for twice as many copies; the first new one."""
        count = len(self._copies)
        copies = np.empty((2 * count, self._size), dtype=np.float32)
        copies[:count] = self._copies
        self._copies = copies
        self._free = list(range(count + 1, 2 * count))
        return count
