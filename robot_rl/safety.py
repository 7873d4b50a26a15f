"""The supervisor between a policy and its actuators; the same code in simulation and on the robot.

Each check has a response: `off`, `warn` (count it), `clamp` (count it and keep the command inside) or `stop` (latch until reset).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_rl.robot import RobotState
from robot_rl.spec import RobotSpec

Array = NDArray[np.floating]


def any_true(rows: Array) -> bool:
    """Whether any row is true; (...,) bool. For a single row this is several times faster than `rows.any()`."""
    return bool(rows) if rows.ndim == 0 else bool(rows.any())


@dataclass(frozen=True)
class Verdict:
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
        self._step = safety.command_step_limit
        self._per_velocity = 1.0 / spec.velocity_limit
        self._upright = -np.cos(safety.tilt_limit)

    def limit(self, wanted: Array, previous: Array) -> tuple[Array, dict[str, Array]]:
        """Keeps a command inside the joint limits and near the previous one.

        Args:
            wanted: (..., n), rad or m.
            previous: (..., n), the command in force.

        Returns:
            The command to apply, (..., n), and for each failed check which rows failed it, (...,) bool.
        """
        safety = self._safety
        inside = np.minimum(np.maximum(wanted, self._lower), self._upper)
        near = np.minimum(np.maximum(inside, previous - self._step), previous + self._step)
        # Equal bytes, the usual case, are found several times faster than equal numbers.
        if near.tobytes() == wanted.tobytes():
            return near, {}
        failed = {}
        if safety.joint_position != "off":
            failed["joint_position"] = (inside != wanted).any(-1)
        if safety.command_step != "off":
            failed["command_step"] = (near != inside).any(-1)
        applied = wanted
        if self._limit_position:
            applied = inside
        if self._limit_step:
            applied = np.minimum(np.maximum(applied, previous - self._step), previous + self._step)
        return applied, {name: rows for name, rows in failed.items() if any_true(rows)}

    def watch(self, state: RobotState, failed: dict[str, Array]) -> Verdict:
        """Checks a state.

        Args:
            state: the reading after the command.
            failed: what `limit` reported for the command of this tick.
        """
        safety = self._safety
        found = dict(failed)
        if safety.joint_velocity != "off":
            share = state.joint_velocity * self._per_velocity
            # While the sum of squares is below 1 no joint is at its limit: the cheap test for the usual case.
            if np.vdot(share, share) > 1.0:
                fast = (np.abs(share) > 1.0).any(-1)
                if any_true(fast):
                    found["joint_velocity"] = fast
        if safety.tilt != "off" and state.orientation_xyzw is not None:
            tilted = state.gravity[..., 2] > self._upright
            if any_true(tilted):
                found["tilt"] = tilted
        if safety.height != "off" and state.base_position is not None:
            low = state.base_position[..., 2] < safety.height_limit
            if any_true(low):
                found["height"] = low
        stop = np.zeros(state.joint_position.shape[:-1], dtype=bool)
        for name, rows in found.items():
            if getattr(safety, name) == "stop":
                stop = stop | rows
        return Verdict(stop, found)
