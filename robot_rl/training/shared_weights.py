"""One vector of weights in shared memory, from the process that learns to the one that acts.

Two buffers take turns. The writer fills the one that nobody is told to read, then says so by the version; a reader
who is overtaken twice while it copies, or meets half a write, sees it by the version or the checksum of the buffer and
keeps the weights it has. So nobody waits, and nobody gets half of one version and half of another.
"""

from __future__ import annotations

import zlib
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np

_UNFINISHED = -1


class SharedWeights:
    """The newest version of a float32 vector; pickled into the other process when that is started."""

    def __init__(self, size: int, context: BaseContext) -> None:
        """Reserves the memory. Args: size: of the vector; context: that starts the other process."""
        self._size = size
        self._values_memory = context.RawArray("f", 2 * size)  # type: ignore[attr-defined]
        self._marks_memory = context.RawArray("q", 5)  # type: ignore[attr-defined]
        self._open()

    def _open(self) -> None:
        self._values = np.frombuffer(self._values_memory, dtype=np.float32).reshape(2, self._size)
        marks = np.frombuffer(self._marks_memory, dtype=np.int64)
        self._newest, self._versions, self._checks = marks[:1], marks[1:3], marks[3:]

    def __getstate__(self) -> dict[str, Any]:
        """The memory; the other process makes its own views of it."""
        return {name: vars(self)[name] for name in ("_size", "_values_memory", "_marks_memory")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Opens the same memory."""
        vars(self).update(state)
        self._open()

    @property
    def version(self) -> int:
        """Of the newest vector; 0 before the first."""
        return int(self._newest[0])

    def write(self, values: np.ndarray) -> None:
        """Publishes a vector, (size,); called by one process only."""
        version = self.version + 1
        buffer = version % 2
        self._versions[buffer] = _UNFINISHED
        self._values[buffer] = values
        self._checks[buffer] = _checksum(self._values[buffer], version)
        self._versions[buffer] = version
        self._newest[0] = version

    def read(self, known: int = 0) -> tuple[np.ndarray, int] | None:
        """A copy of the newest vector and its version.

        Args:
            known: the version that the caller has.

        Returns:
            None where there is nothing newer, or it was being written over: ask again later.
        """
        version = self.version
        if version <= known:
            return None
        buffer = version % 2
        values = self._values[buffer].copy()
        check = int(self._checks[buffer])
        if self._versions[buffer] != version or check != _checksum(values, version):
            return None
        return values, version


def _checksum(values: np.ndarray, version: int) -> int:
    return zlib.crc32(values.tobytes(), version & 0xFFFFFFFF)
