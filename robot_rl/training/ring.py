"""A queue of records in shared memory from one process to another, in which neither ever waits for the other.

The writer fills a slot, then counts it; the reader takes the slots that are counted. Each record carries its number
and a checksum, so a slot that is half written, or of the round before, is not taken, whatever order a processor gives
to the writes of another one. Records stay in their slots after they are read, until they are written over: when the
reader dies, the writer still has them.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np


class Ring:
    """The newest `slots` records; pickled into the other process when that is started.

    Attributes:
        slots: how many records there is room for.
    """

    def __init__(self, fields: Sequence[tuple[Any, ...]], slots: int, context: BaseContext) -> None:
        """Reserves the memory.

        Args:
            fields: of a record, as for `numpy.dtype`.
            slots: how many records may wait.
            context: that starts the other process.
        """
        self.slots = slots
        self._type = np.dtype([("number", np.int64), *fields, ("check", np.uint32)])
        self._memory = context.RawArray("b", self._type.itemsize * slots)  # type: ignore[attr-defined]
        self._counts_memory = context.RawArray("q", 2)  # type: ignore[attr-defined]
        self._open()

    def _open(self) -> None:
        self._records = np.frombuffer(self._memory, dtype=self._type)
        self._counts = np.frombuffer(self._counts_memory, dtype=np.int64)  # written, read
        self._own = np.zeros(1, dtype=self._type)

    def __getstate__(self) -> dict[str, Any]:
        """The memory; the other process makes its own views of it."""
        views = ("_records", "_counts", "_own")
        return {name: value for name, value in vars(self).items() if name not in views}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Opens the same memory."""
        vars(self).update(state)
        self._open()

    @property
    def written(self) -> int:
        """Records ever written."""
        return int(self._counts[0])

    @property
    def read(self) -> int:
        """Records ever read."""
        return int(self._counts[1])

    def push(self, **values: Any) -> bool:
        """Writes a record; called by one process only.

        Args:
            values: one for every field.

        Returns:
            False, and nothing is written, where the reader is a whole ring behind.
        """
        number = self.written
        if number - self.read >= self.slots:
            return False
        record = self._own[0]
        for name, value in values.items():
            record[name] = value
        record["number"] = number
        record["check"] = _checksum(self._own)
        self._records[number % self.slots] = record
        self._counts[0] = number + 1
        return True

    def pull(self, limit: int) -> np.ndarray:
        """Reads up to `limit` records in order; called by the other process only. Returns copies, (k,)."""
        first = self.read
        found = self._intact(first, min(self.written, first + limit))
        self._counts[1] = first + len(found)
        return found

    def kept(self, since: int) -> np.ndarray:
        """The records from number `since` on, read or not, as many as are still there; for the writer."""
        return self._intact(max(since, self.written - self.slots), self.written)

    def _intact(self, start: int, stop: int) -> np.ndarray:
        """Copies of records start to stop, up to the first that is not whole."""
        found = self._records.take(np.arange(start, stop) % self.slots)
        for index in range(len(found)):
            record = found[index : index + 1]
            if record["number"][0] != start + index or record["check"][0] != _checksum(record):
                return found[:index]
        return found


def _checksum(record: np.ndarray) -> int:
    """Of everything but the checksum itself, which comes last; `record` is (1,)."""
    return zlib.crc32(record.tobytes()[: -np.uint32().itemsize])
