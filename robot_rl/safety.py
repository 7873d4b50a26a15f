"""The supervisor between a policy and its actuators; the same code in simulation and on the robot.

Each check has a response: `off`, `warn` (count it), `clamp` (count it and keep the command inside) or `stop` (latch
until reset).
"""

from __future__ import annotations

import math
import threading
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_rl.arrays import components, every, frozen, squared_norm
from robot_rl.robot import RobotState
from robot_rl.spec import RobotSpec

Array = NDArray[Any]


class Verdict(NamedTuple):
    """What the supervisor says of one tick."""

    stop: Array
    """(...,) bool: whether a check with response `stop` failed."""
    counts: dict[str, Array]
    """(...,) bool by check, for the checks that failed somewhere."""


class SafetySupervisor:
    """Limits commands and watches states against a robot's safety section. Arrays have any leading batch shape."""

    def __init__(self, spec: RobotSpec) -> None:
        """Args: spec: the robot."""
        safety = spec.safety
        self._safety = safety
        self._limit_position = safety.joint_position in ("clamp", "stop")
        self._limit_step = safety.command_step in ("clamp", "stop")
        self._lower, self._upper = spec.lower, spec.upper
        self._step_down, self._step_up = -safety.command_step_limit, safety.command_step_limit
        self._per_velocity = 1.0 / spec.velocity_limit
        self._level = -math.cos(safety.tilt_limit)
        self._false = frozen(np.zeros((), dtype=bool))
        self._watch_velocity = safety.joint_velocity != "off"
        self._watch_tilt = safety.tilt != "off"
        self._watch_height = safety.height != "off"
        self._watch_effort = safety.joint_effort != "off"
        self._watch_workspace = safety.workspace != "off"
        self._per_effort = 1.0 / (safety.joint_effort_limit * spec.effort_limit)

    def limit(self, wanted: Array, previous: Array) -> tuple[Array, dict[str, Array]]:
        """Keeps a command inside the joint limits and near the previous one.

        Args:
            wanted: (..., n), rad or m.
            previous: (..., n), the command in force.

        Returns:
            The command to apply, (..., n), `wanted` itself where nothing is wrong with it; and for each failed check
            which rows failed it, (...,) bool.
        """
        inside = np.minimum(np.maximum(wanted, self._lower), self._upper)
        change = wanted - previous
        # Equal bytes, the usual case, are found several times faster than equal numbers.
        if inside.tobytes() == wanted.tobytes() and self._small(change).tobytes() == change.tobytes():
            return wanted, {}
        within_range = inside if self._limit_position else wanted
        change = within_range - previous
        small = self._small(change)
        checks = {
            "joint_position": (self._safety.joint_position, inside != wanted),
            "command_step": (self._safety.command_step, small != change),
        }
        failed = {name: joints.any(-1) for name, (response, joints) in checks.items() if response != "off"}
        applied = np.where(small == change, within_range, previous + small) if self._limit_step else within_range
        return applied, {name: rows for name, rows in failed.items() if rows.any()}

    def _small(self, change: Array) -> Array:
        return np.minimum(np.maximum(change, self._step_down), self._step_up)

    def watch(self, state: RobotState, failed: dict[str, Array]) -> Verdict:
        """Checks a state. A reading that is not a number fails its check.

        Args:
            state: the reading after the command.
            failed: what `limit` reported for the command of this tick.
        """
        found = dict(failed)
        if self._watch_velocity:
            share = state.joint_velocity * self._per_velocity
            # While the sum of squares is below 1 no joint is at its limit: the cheap test for the usual case.
            if not every(squared_norm(share) <= 1.0):
                fast = np.logical_not((np.abs(share) <= 1.0).all(-1))
                if fast.any():
                    found["joint_velocity"] = fast
        if self._watch_tilt and state.orientation_xyzw is not None:
            level = components(state.gravity)[2] <= self._level
            if not every(level):
                found["tilt"] = np.logical_not(level)
        if self._watch_height and state.base_position is not None:
            high = components(state.base_position)[2] >= self._safety.height_limit
            if not every(high):
                found["height"] = np.logical_not(high)
        if self._watch_effort and state.joint_effort is not None:
            strong = np.logical_not((np.abs(state.joint_effort * self._per_effort) <= 1.0).all(-1))
            if strong.any():
                found["joint_effort"] = strong
        if self._watch_workspace and state.base_position is not None:
            lower, upper = self._safety.workspace_limit
            outside = np.logical_not(((lower <= state.base_position) & (state.base_position <= upper)).all(-1))
            if outside.any():
                found["workspace"] = outside
        stop = self._nobody(state.joint_position.shape[:-1])
        for name, rows in found.items():
            if getattr(self._safety, name) == "stop":
                stop = stop | rows
        return Verdict(stop, found)

    def _nobody(self, shape: tuple[int, ...]) -> Array:
        if self._false.shape != shape:
            self._false = frozen(np.zeros(shape, dtype=bool))
        return self._false


def explain(check: str, spec: RobotSpec, state: RobotState, wanted: Array, previous: Array) -> str:
    """Why one robot failed a check, for a person: what was found and what is allowed.

    Args:
        check: name of the check.
        spec: the robot.
        state: the reading after the command.
        wanted: (n,), the command before limits.
        previous: (n,), the command in force before it.
    """
    safety = spec.safety
    if check == "joint_position":
        beyond = np.maximum(spec.lower - wanted, wanted - spec.upper)
        return _worst(spec, beyond, wanted, "command", f"limits {_pair(spec.lower, spec.upper, beyond)}")
    if check == "command_step":
        share = np.abs(wanted - previous) / safety.command_step_limit
        return _worst(spec, share, wanted - previous, "command step", _least(safety.command_step_limit, share))
    if check == "joint_velocity":
        share = np.abs(state.joint_velocity) / spec.velocity_limit
        return _worst(spec, share, state.joint_velocity, "velocity", _least(spec.velocity_limit, share))
    if check == "joint_effort":
        share = np.abs(state.joint_effort) / spec.effort_limit
        limit = safety.joint_effort_limit * spec.effort_limit
        return _worst(spec, share, state.joint_effort, "effort", _least(limit, share))
    if check == "tilt":
        tilt = math.acos(max(-1.0, min(1.0, -float(state.gravity[2]))))
        return f"tilted by {tilt:.2f} rad, allowed {safety.tilt_limit:g}"
    if check == "height":
        return f"base at {float(state.base_position[2]):.3f} m, allowed from {safety.height_limit:g}"
    if check == "workspace":
        x, y, z = state.base_position
        lower, upper = safety.workspace_limit.tolist()
        return f"base at ({x:.2f}, {y:.2f}, {z:.2f}) m, allowed from {lower} to {upper}"
    return check


def _worst(spec: RobotSpec, share: Array, values: Array, what: str, allowed: str) -> str:
    index = int(np.argmax(np.where(np.isnan(share), np.inf, share)))
    return f"{what} of {spec.joint_names[index]} is {values[index]:.3f}, {allowed}"


def _least(limit: Array, share: Array) -> str:
    return f"allowed {limit[int(np.argmax(np.where(np.isnan(share), np.inf, share)))]:g}"


def _pair(lower: Array, upper: Array, beyond: Array) -> str:
    index = int(np.argmax(beyond))
    return f"{lower[index]:g} to {upper[index]:g}"


class StopLatch:
    """A stop that stays until somebody resets it; any thread may set it."""

    def __init__(self) -> None:
        """Begins open."""
        self._lock = threading.Lock()
        self.reason = ""
        """Why it is set, the first reason; empty while it is not."""

    def set(self, reason: str) -> bool:
        """Stops; returns whether this was the first reason."""
        with self._lock:
            first = not self.reason
            self.reason = self.reason or reason
            return first

    def clear(self) -> str:
        """Ends the stop; returns what its reason was."""
        with self._lock:
            reason, self.reason = self.reason, ""
            return reason
