"""What sits between commands and motors on the robot's own side: limits, a watchdog, the latch of an emergency stop.

The twin runs it as a robot's motor controller would; it knows nothing of ROS.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_rl.spec import RobotSpec

Array = NDArray[np.floating]


class Drive(NamedTuple):
    """What the motors shall do now."""

    mode: str
    """position, velocity or effort (follow such a target), damp (resist motion only) or limp (no torque)."""
    target: Array
    """(n,), in the unit of the mode."""
    reason: str
    """Why it is not following commands; empty while it is."""


class MotorController:
    """Follows the newest command while commands keep coming; all times in s of any one clock.

    An emergency stop or a loss of power stays until `clear`. Silence ends with the next command, as with most motor
    controllers: who has to stay stopped after a silence is the policy's side, which latches.
    """

    def __init__(self, spec: RobotSpec, behaviour: str, timeout: float) -> None:
        """Begins by holding home.

        Args:
            spec: the robot.
            behaviour: hold, damp or limp, when stopped.
            timeout: s without a command until it stops.
        """
        self._kind, limits = {
            "velocity": ("velocity", (-spec.velocity_limit, spec.velocity_limit)),
            "effort": ("effort", (-spec.effort_limit, spec.effort_limit)),
        }.get(spec.ros.command, ("position", (spec.lower, spec.upper)))
        self._lower, self._upper = limits
        self._behaviour = behaviour
        self._timeout = timeout
        self._lock = threading.Lock()
        self._target = np.array(spec.home)
        self._commanded: float | None = None
        self._latched = ""
        self._held: Array | None = None

    def command(self, target: Array, now: float) -> str:
        """Takes a command, (n,) in the unit of `ros.command`; returns why it is not followed, or an empty text."""
        with self._lock:
            if not self._latched:
                self._target = np.clip(target, self._lower, self._upper)
                self._commanded = now
            return self._latched

    def stop(self, reason: str) -> None:
        """Stops until `clear`; the first reason counts."""
        with self._lock:
            self._latched = self._latched or reason

    def clear(self, joint_position: Array) -> None:
        """Ends a stop; holds where the joints are until the next command."""
        with self._lock:
            self._latched = ""
            self._target, self._commanded, self._held = np.array(joint_position), None, None

    @property
    def latched(self) -> str:
        """Why it is stopped until `clear`; empty if it is not."""
        return self._latched

    def drive(self, joint_position: Array, now: float) -> Drive:
        """What the motors shall do.

        Args:
            joint_position: (n,), where the joints are.
            now: s.
        """
        with self._lock:
            reason = self._latched
            if not reason and self._commanded is not None and now - self._commanded > self._timeout:
                reason = f"no command for {now - self._commanded:.3f} s"
            if not reason:
                self._held = None
                # Before the first command it holds the position it has, whatever kind of command is to come.
                return Drive("position" if self._commanded is None else self._kind, self._target, "")
            if self._held is None:
                self._held = np.array(joint_position)
            mode = "position" if self._behaviour == "hold" else self._behaviour
            return Drive(mode, self._held, reason)
