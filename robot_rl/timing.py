"""Time for control loops: clocks that can be injected, deadlines that do not drift, a log of punctuality."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from robot_rl.errors import ConfigurationError


class Clock(Protocol):
    """Where a loop takes its time from."""

    def now(self) -> float:
        """s, since any fixed moment; never runs backwards."""

    def sleep_until(self, moment: float) -> None:
        """Returns at `moment`, at once if it has passed."""


class WallClock:
    """The machine's own clock, the one that no date correction moves."""

    def now(self) -> float:
        """s."""
        return time.monotonic()

    def sleep_until(self, moment: float) -> None:
        """Sleeps; the kernel wakes a loop some 50 us late."""
        left = moment - time.monotonic()
        if left > 0:
            time.sleep(left)


class FakeClock:
    """A clock for tests: sleeping takes no time, and work takes as much as `advance` says."""

    def __init__(self) -> None:
        """Starts at 0 s."""
        self.time = 0.0

    def now(self) -> float:
        """s."""
        return self.time

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        self.time += seconds

    def sleep_until(self, moment: float) -> None:
        """Jumps there."""
        self.time = max(self.time, moment)


class Rate:
    """Absolute deadlines: tick k is due k periods after the start, however late the ticks before it were.

    A loop that misses whole periods does not hurry to make up for them: those ticks are left out and counted.
    """

    def __init__(self, period: float, clock: Clock | None = None) -> None:
        """Args: period: s; clock: the wall's by default."""
        self.period = period
        self.clock = clock or WallClock()
        self._due = self.clock.now()
        self.missed = 0
        """Ticks left out so far."""

    def start(self) -> None:
        """Begins anew: the first tick is due one period from now."""
        self._due = self.clock.now()

    def wait(self) -> float:
        """Sleeps until the next tick is due.

        Returns:
            s by which it came late; below 0 never.
        """
        self._due += self.period
        self.clock.sleep_until(self._due)
        late = max(0.0, self.clock.now() - self._due)
        if late >= self.period:
            skipped = int(late / self.period)
            self.missed += skipped
            self._due += skipped * self.period
        return late


class TimingLog:
    """How punctual a loop was: a few numbers for every tick, in s, and their percentiles.

    Keeps the newest `capacity` ticks.
    """

    def __init__(self, names: tuple[str, ...] = ("period", "compute", "state_age"), capacity: int = 100_000) -> None:
        """Args: names: what is noted for each tick; capacity: ticks kept."""
        self.names = names
        self._values = np.zeros((capacity, len(names)))
        self.ticks = 0
        self.overruns = 0
        """Ticks that came one period late or more."""

    def add(self, *values: float, overrun: bool = False) -> None:
        """Notes one tick; as many values as there are names."""
        self._values[self.ticks % len(self._values)] = values
        self.ticks += 1
        self.overruns += overrun

    def column(self, name: str) -> np.ndarray:
        """The kept values of one name, s, (ticks,), in no particular order once the log is full."""
        return self._values[: min(self.ticks, len(self._values)), self.names.index(name)].copy()

    def trace(self) -> TimingTrace:
        """The kept ticks in the order in which they happened."""
        capacity = len(self._values)
        rows = self._values[np.arange(max(0, self.ticks - capacity), self.ticks) % capacity]
        columns = {name: rows[:, self.names.index(name)] for name in TRACE_COLUMNS if name in self.names}
        zeros = np.zeros(len(rows))
        return TimingTrace(*(columns.get(name, zeros).copy() for name in TRACE_COLUMNS))

    def summary(self, newest: int | None = None) -> Mapping[str, Mapping[str, float]]:
        """p50, p95, p99 and max of each name, in s; empty before the first tick.

        Args:
            newest: how many ticks to look at; all that are kept by default.
        """
        if self.ticks == 0:
            return {}
        found = {}
        for name in self.names:
            values = self.column(name) if newest is None else self._newest(name, newest)
            p50, p95, p99 = np.percentile(values, [50, 95, 99])
            found[name] = {"p50": float(p50), "p95": float(p95), "p99": float(p99), "max": float(values.max())}
        return found

    def _newest(self, name: str, count: int) -> np.ndarray:
        count = min(count, self.ticks, len(self._values))
        rows = np.arange(self.ticks - count, self.ticks) % len(self._values)
        return self._values[rows, self.names.index(name)]


TRACE_COLUMNS = ("period", "compute", "state_age")


@dataclass(frozen=True)
class TimingTrace:
    """The timing of a control loop tick by tick, as it was measured; each (ticks,), in s."""

    period: np.ndarray
    """From the tick before to this one."""
    compute: np.ndarray
    """From the reading to the command."""
    state_age: np.ndarray
    """Of the newest reading at the tick."""

    def to_csv(self) -> str:
        """The trace as a table with the names of the columns in its first line."""
        rows = zip(self.period, self.compute, self.state_age, strict=True)
        return "\n".join([",".join(TRACE_COLUMNS), *(",".join(f"{v:.7f}" for v in row) for row in rows)]) + "\n"


def read_timing(path: str | Path) -> TimingTrace:
    """Reads a timing log.

    Args:
        path: a CSV file with the columns `period`, and optionally `compute` and `state_age`, in s.

    Raises:
        ConfigurationError: no such file, a column that is missing, no ticks, or what is no time.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read timing log {path}: {error}") from error
    rows = list(csv.DictReader(text.splitlines()))
    if not rows:
        raise ConfigurationError(f"timing log {path} has no ticks")
    if "period" not in rows[0]:
        raise ConfigurationError(f"timing log {path} has no column 'period'; it has: {', '.join(map(str, rows[0]))}")
    columns = []
    for name in TRACE_COLUMNS:
        try:
            column = np.array([float(row.get(name) or 0.0) for row in rows])
        except ValueError as error:
            raise ConfigurationError(f"timing log {path}, column {name!r}: {error}") from error
        least = 1e-6 if name == "period" else 0.0
        if not np.isfinite(column).all() or (column < least).any():
            worst = column[~(np.isfinite(column) & (column >= least))][0]
            raise ConfigurationError(f"timing log {path}, column {name!r}: {worst:g} s is no time")
        columns.append(column)
    return TimingTrace(*columns)
