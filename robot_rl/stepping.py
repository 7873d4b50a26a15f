"""Stepping in place: a motion of the joints that actions are added to, so that a policy need not invent lifting a foot.

A walking policy that starts from nothing stands for thousands of steps before it lifts a foot. With this it trots on
the spot from the first tick on and learns where to put its feet. Two policies that do so step alike, so that an action
between theirs is a step between theirs.

Source: the idea of trajectory generators that a policy modulates, Iscen et al. 2018 (arXiv 1910.02812).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import ConfigurationError
from robot_rl.kinematics import Legs
from robot_rl.spec import RobotSpec

Array = NDArray[np.floating]

DIAGONALS = ((1.0, 0.0, 0.0, 1.0), (0.0, 1.0, 1.0, 0.0))
"""Share of feet front left, front right, rear left, rear right in each diagonal."""
CLOCK = "gait_clock[sin]"
"""Label of the observation that says where in the stride the legs are; what the policy sees is what moves them."""
ITERATIONS = 30
CLOSE_ENOUGH = 1e-6
"""m, of a foot from where it shall be lifted to."""


@dataclass(frozen=True)
class Stepping:
    """The diagonals lift their feet in turn: displacement = lift^T clip((-sin, sin), 0, 1).

    The first diagonal (front left, rear right) stands while the clock's sine is positive, the second swings then.
    """

    lift: Array
    """(2, n), rad or m: displacement of the joints at the top of each diagonal's swing."""

    def displacement(self, sine: Array) -> Array:
        """Of the joints, (..., n), for the sine of the gait clock, (...,)."""
        return np.clip(np.stack([-sine, sine], axis=-1), 0.0, 1.0) @ self.lift


class Strides:
    """The clock of the strides, which goes on from where the legs are when the cadence changes.

    Their phase is cadence x time, so by the robot's clock another cadence would throw them by any part of a stride.

    Attributes:
        ahead: s by which it is ahead of the robot's clock.
    """

    def __init__(self) -> None:
        """Begins together with the robot's clock."""
        self.ahead = 0.0
        self._cadence: float | None = None

    def at(self, time: float, cadence: float) -> float:
        """The time of the strides at a tick, s.

        Args:
            time: of the tick by the robot's clock, s.
            cadence: from this tick on, Hz.
        """
        if self._cadence is not None and cadence not in (0.0, self._cadence):
            # cadence' (t + ahead') = cadence (t + ahead)
            self.ahead = (time + self.ahead) * self._cadence / cadence - time
        self._cadence = cadence
        return time + self.ahead


def stepping(spec: RobotSpec, height: float) -> Stepping:
    """Lifts each foot of a quadruped straight up from where it stands at home.

    Args:
        spec: a robot with four feet, in the order front left, front right, rear left, rear right, and their kinematics.
        height: m, of the feet above the ground in the middle of their swing, > 0.

    Raises:
        ConfigurationError: the robot's file does not say where its feet are, or they cannot be lifted that far.
    """
    legs = spec.legs
    if legs is None or len(spec.feet) != 4:
        raise ConfigurationError(
            f"robot {spec.name!r} cannot step by itself: that needs four feet and the key 'legs' in its file; give "
            "step_height 0"
        )
    position = _lifted(legs, spec, height)
    outside = (position < spec.lower) | (position > spec.upper)
    if outside.any():
        joint = spec.joint_names[int(np.argmax(outside))]
        raise ConfigurationError(
            f"step_height {height:g} m: joint {joint!r} of robot {spec.name!r} would leave its limits"
        )
    owns = np.zeros((len(spec.feet), spec.joints))  # which joint is of which foot
    for foot, joints in enumerate(legs.joints):
        owns[foot, joints] = 1.0
    return Stepping((np.array(DIAGONALS) @ owns) * (position - spec.home))


def _lifted(legs: Legs, spec: RobotSpec, height: float) -> Array:
    """Joint positions with all feet lifted, (n,), by Newton's method."""
    position = spec.home.astype(np.float64)
    wanted = legs.kinematics(position).position + np.array([0.0, 0.0, height])  # (feet, 3)
    for _ in range(ITERATIONS):
        feet = legs.kinematics(position)
        error = (wanted - feet.position).ravel()
        if np.abs(error).max() < CLOSE_ENOUGH:
            return position
        position = position + np.linalg.pinv(feet.jacobian.reshape(-1, spec.joints), rcond=1e-3) @ error
    raise ConfigurationError(
        f"step_height {height:g} m: the feet of robot {spec.name!r} cannot be lifted that far straight up"
    )
