"""The safety supervisor on the policy's side of the wire: limits, checks, counts, and the latch of a stop."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import InvalidInput
from robot_rl.robot import RobotState
from robot_rl.safety import SafetySupervisor, StopLatch, explain
from robot_rl.spec import RobotSpec

Array = NDArray[np.floating]

Report = Callable[[str, str], None]
"""Takes a level, `warn` or `stop`, and a line that says what happened."""

_QUIET = 5.0
"""s between two lines about the same check; the next line says how often it failed since."""
MOVING_ONLY = ("height", "workspace")
"""Checks that make sense while the policy moves the robot, not while it gets up."""


class Supervision:
    """Watches one robot; `stop` may be called from any thread and stays until `reset`.

    Attributes:
        counts: ticks on which each check failed, since `begin`.
        said: the newest line about each check.
        previous: (n,), the command in force.
    """

    def __init__(self, spec: RobotSpec, report: Report, latch: StopLatch | None = None) -> None:
        """Begins, stopped if the latch is set.

        Args:
            spec: the robot.
            report: gets a line for every clip and stop, one in 5 s for each check.
            latch: of a stop that outlives this object; by default one of its own.
        """
        self.spec = spec
        self.counts: Counter[str] = Counter()
        self.said: dict[str, str] = {}
        self.previous: Array = np.array(spec.home)
        self._supervisor = SafetySupervisor(spec)
        self._latch = latch or StopLatch()
        self._report = report
        self._lock = threading.Lock()
        self._unsaid: Counter[str] = Counter()
        self._last_line: dict[str, float] = {}
        self._wanted: Array = self.previous
        self._before: Array = self.previous
        self._failed: dict[str, Array] = {}

    @property
    def stopped(self) -> str:
        """Why the robot is stopped; empty while it is not."""
        return self._latch.reason

    def begin(self, joint_position: Array) -> None:
        """Begins to watch a robot whose joints are there, (n,)."""
        self.counts.clear()
        self.previous = np.clip(joint_position, self.spec.lower, self.spec.upper)
        self._failed = {}

    def limit(self, wanted: Array) -> Array:
        """The command to send instead of `wanted`, (n,).

        Raises:
            InvalidInput: the wanted one is not finite.
        """
        if not np.isfinite(wanted).all():
            raise InvalidInput(f"the command for robot {self.spec.name!r} is not finite")
        applied, self._failed = self._supervisor.limit(wanted, self.previous)
        self._wanted, self._before, self.previous = wanted, self.previous, applied
        return applied

    def check(self, state: RobotState, late: float, moving: bool = True) -> None:
        """Checks what followed the command of the last `limit`.

        Args:
            state: the reading.
            late: s by which the tick came late.
            moving: whether a policy moves the robot; see `MOVING_ONLY`.
        """
        verdict = self._supervisor.watch(state, self._failed)
        for check in verdict.counts:
            if moving or check not in MOVING_ONLY:
                self._found(check, explain(check, self.spec, state, self._wanted, self._before))
        safety = self.spec.safety
        if safety.late_tick != "off" and late > safety.late_tick_limit:
            self._found("late_tick", f"a control tick came {late:.3f} s late, allowed {safety.late_tick_limit:g}")

    def check_temperature(self, joint: str, temperature: float) -> None:
        """Checks a motor's temperature, degrees Celsius; a reading that is not a number fails."""
        safety = self.spec.safety
        if safety.temperature != "off" and not temperature <= safety.temperature_limit:
            line = f"motor of {joint} is at {temperature:g} degrees Celsius, allowed {safety.temperature_limit:g}"
            self._found("temperature", line)

    def stop(self, check: str, reason: str) -> bool:
        """Stops; returns whether nothing had stopped it before.

        Args:
            check: what kind of reason.
            reason: for a person.
        """
        first = self._latch.set(reason)
        with self._lock:
            self.counts[check] += 1
            self.said[check] = reason
        if first:
            self._report("stop", f"stopped ({check}): {reason}")
        return first

    def warn(self, check: str, reason: str) -> None:
        """Counts something that is not as it should be."""
        now = time.monotonic()
        with self._lock:
            self.counts[check] += 1
            self.said[check] = reason
            self._unsaid[check] += 1
            if now - self._last_line.get(check, -np.inf) < _QUIET:
                return
            self._last_line[check] = now
            times = self._unsaid.pop(check)
        self._report("warn", f"{check}: {reason}" + (f" ({times} times since the last line)" if times > 1 else ""))

    def reset(self) -> str:
        """Ends a stop; returns what its reason was."""
        return self._latch.clear()

    def _found(self, check: str, reason: str) -> None:
        if getattr(self.spec.safety, check) == "stop":
            self.stop(check, reason)
        else:
            self.warn(check, reason)
