"""What is on its way: commands to the motors and readings to the policy, each late by seconds, some lost."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.distributions import Distribution

Array = NDArray[np.floating]


@dataclass
class Latency:
    """How late messages of a channel are in one episode."""

    delay: float = 0.0
    """s, of every message."""
    jitter: Distribution | None = None
    """s, drawn anew for each message and added."""
    drop: float = 0.0
    """Probability that a message is lost."""

    def next(self, rng: np.random.Generator) -> float | None:
        """s by which the next message is late; None where it is lost."""
        if self.drop and rng.random() < self.drop:
            return None
        return self.delay if self.jitter is None else max(0.0, self.delay + self.jitter.one(rng))


class CommandChannel:
    """Commands between the policy and the motors. One that a later one has overtaken is ignored."""

    def __init__(self) -> None:
        """Empty; `begin` comes first."""
        self._coming: deque[tuple[float, Array]] = deque()
        self._in_force: Array = np.zeros(0)

    def begin(self, command: Array) -> None:
        """Forgets what was on its way; `command` (n,) is in force."""
        self._coming.clear()
        self._in_force = command

    def send(self, command: Array, arrival: float) -> None:
        """Puts a command on its way; it arrives at `arrival`, s."""
        while self._coming and self._coming[-1][0] >= arrival:
            self._coming.pop()
        self._coming.append((arrival, command))

    def over(self, start: float, end: float) -> Array:
        """The mean of the commands in force from `start` to `end`, s, (n,).

        A command that arrives between two steps of the physics so counts from its arrival on.
        """
        coming = self._coming
        if not coming or coming[0][0] >= end:
            return self._in_force
        total, since = np.zeros_like(self._in_force), start
        while coming and coming[0][0] < end:
            arrival, command = coming.popleft()
            arrival = max(arrival, since)
            if arrival > since:
                total += (arrival - since) * self._in_force
            self._in_force, since = command, arrival
        return self._in_force if since == start else (total + (end - since) * self._in_force) / (end - start)

    def snapshot(self) -> dict[str, Any]:
        """What is in force and on its way."""
        return {
            "in_force": self._in_force.copy(),
            "arrivals": np.array([arrival for arrival, _ in self._coming]),
            "commands": np.array([command for _, command in self._coming]),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Puts a snapshot back."""
        self._in_force = np.array(snapshot["in_force"])
        arrivals = np.asarray(snapshot["arrivals"]).tolist()
        self._coming = deque(zip(arrivals, (np.array(c) for c in snapshot["commands"]), strict=True))


class ReadingChannel:
    """Readings between the sensors and the policy: what was measured some time ago.

    Between two steps of the physics they are interpolated.
    """

    def __init__(self) -> None:
        """Empty; `begin` comes first."""
        self._measured: deque[tuple[float, Array]] = deque()

    def begin(self, time: float, raw: Array) -> None:
        """Forgets all before; `raw` is the first reading."""
        self._measured = deque([(time, raw)])

    def add(self, time: float, raw: Array) -> None:
        """Takes in what the sensors measure at `time`, s; the array must not change afterwards."""
        self._measured.append((time, raw))

    def at(self, wanted: float) -> tuple[float, Array]:
        """Time and values of the reading at `wanted`, s; never an older one than before."""
        measured = self._measured
        while len(measured) > 1 and measured[1][0] <= wanted:
            measured.popleft()
        before, old = measured[0]
        if wanted <= before or len(measured) == 1:
            return before, old
        after, new = measured[1]
        share = (wanted - before) / (after - before)
        between = old + share * (new - old)
        measured[0] = (wanted, between)
        return wanted, between

    def snapshot(self) -> dict[str, Any]:
        """All readings that may still be asked for."""
        return {
            "times": np.array([time for time, _ in self._measured]),
            "readings": np.array([raw for _, raw in self._measured]),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Puts a snapshot back."""
        times = np.asarray(snapshot["times"]).tolist()
        self._measured = deque(zip(times, (np.array(r) for r in snapshot["readings"]), strict=True))
