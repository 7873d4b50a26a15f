"""What there is to say of one run of a policy: punctuality, safety, and how well it did its task."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_rl.robot import RobotState
from robot_rl.task import Step, Task
from robot_rl.timing import TimingLog

Array = NDArray[np.floating]


@dataclass(frozen=True)
class EpisodeReport:
    """One run of a policy, from its first action to its last."""

    seconds: float
    """Of robot time: control ticks times the control period."""
    ticks: int
    rate: float
    """Hz that were achieved."""
    overruns: int
    """Ticks that came one period late or more."""
    timing: Mapping[str, Mapping[str, float]]
    """p50, p95, p99 and max of period, compute and state age, s."""
    figures: Mapping[str, float]
    """Means of the task's own figures, in SI; `return` and `distance` (m) where they are known."""
    safety: Mapping[str, int] = field(default_factory=dict)
    """Ticks on which each check failed."""
    stopped: str = ""
    """Why it was stopped; empty where it was not."""

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "seconds": self.seconds,
            "ticks": self.ticks,
            "rate_hz": self.rate,
            "overruns": self.overruns,
            "timing_s": {name: dict(values) for name, values in self.timing.items()},
            "figures": dict(self.figures),
            "safety": dict(self.safety),
            "stopped": self.stopped,
        }

    def line(self) -> str:
        """The punctuality, in one line."""
        if not self.timing:
            return "the policy did not run"
        quantities = [
            f"{name.replace('_', ' ')} p50 {1e3 * of['p50']:.1f}, p95 {1e3 * of['p95']:.1f}, "
            f"p99 {1e3 * of['p99']:.1f}, max {1e3 * of['max']:.1f} ms"
            for name, of in self.timing.items()
        ]
        return f"{self.seconds:.1f} s at {self.rate:.1f} Hz, {self.overruns} overruns; {'; '.join(quantities)}"


class EpisodeMeter:
    """Measures a run tick by tick, without keeping the ticks."""

    def __init__(self, control_dt: float, task: Task | None = None, provides: frozenset[str] = frozenset()) -> None:
        """Begins with nothing.

        Args:
            control_dt: s.
            task: what the policy is for, to measure how well it does it.
            provides: what the robot's states hold; without what the task's reward reads, there is no return.
        """
        self._dt = control_dt
        self._task = task if task is not None and set(task.reward_needs) <= provides else None
        self._sums: dict[str, float] = {}
        self._first: Array | None = None
        self._last: Array | None = None
        self._begun = time.monotonic()
        self._return = 0.0
        self.ticks = 0

    @property
    def mean(self) -> dict[str, float]:
        """Means of the task's figures so far, in SI."""
        return {name: value / self.ticks for name, value in self._sums.items()} if self.ticks else {}

    def begin(self, state: RobotState) -> None:
        """The state that the first action answers."""
        self._begun = time.monotonic()
        self._first = self._last = state.base_position

    def add(self, step: Step) -> None:
        """One tick of the policy."""
        self.ticks += 1
        self._last = step.after.base_position
        if self._task is None:
            return
        self._return += float(self._task.reward(step)[0])
        for name, value in self._task.measure(step.after, step.goal).items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)

    def report(self, timing: TimingLog, safety: Mapping[str, int], stopped: str) -> EpisodeReport:
        """All of it."""
        figures = self.mean
        if self._task is not None and self.ticks:
            figures["return"] = self._return
        if self._first is not None and self._last is not None:
            figures["distance"] = float(np.linalg.norm((self._last - self._first)[:2]))
        # Standing and ramping out count for the rate, as they do for the timing.
        rate = timing.ticks / (time.monotonic() - self._begun) if self.ticks else 0.0
        return EpisodeReport(
            seconds=self.ticks * self._dt,
            ticks=self.ticks,
            rate=rate,
            overruns=timing.overruns if self.ticks else 0,
            timing=timing.summary() if self.ticks else {},
            figures=figures,
            safety=dict(safety),
            stopped=stopped,
        )
