"""Turn a valve to a commanded angle, for a hand with one object that turns about the vertical."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from robot_rl import rotation
from robot_rl.arrays import components
from robot_rl.robot import RobotState, Start
from robot_rl.spec import RobotSpec
from robot_rl.task import RewardTerm, Step, Task

Array = NDArray[np.floating]


class TurnValve(Task):
    """Bring the valve from a random angle to a goal angle and hold it there.

    The reward follows ROBEL's turn task: angle error, pose, speed, and bonuses for being close.
    """

    name = "turn_valve"
    goal_labels = ("valve angle rad",)
    # Three equal arms: for the fingers the valve looks the same after a third of a turn.
    current = ("object_third_turn", "angle_error")
    history = ("joint_position", "joint_velocity", "previous_action")
    time_limit = 8.0
    reward_needs = ("objects",)
    tolerance = 0.25
    """rad, error that counts as done."""

    def __init__(self, spec: RobotSpec) -> None:
        """Args: spec: a robot with one object."""
        self._object = spec.objects[0] if spec.objects else ""
        super().__init__(spec)

    @property
    def goal_ranges(self) -> Mapping[str, tuple[float, float]]:
        """Any angle."""
        return {self.goal_labels[0]: (-np.pi, np.pi)}

    def sample_start(self, rng: np.random.Generator) -> Start:
        """Home, the valve at any angle."""
        return Start(self.spec.home, object_yaw={self._object: float(rng.uniform(-np.pi, np.pi))})

    def error(self, state: RobotState, goal: Array) -> Array:
        """Angle left to turn, rad, (...,), in [-pi, pi)."""
        return rotation.wrap(components(goal)[0] - rotation.yaw(state.objects[self._object].orientation_xyzw))

    def reward_terms(self) -> Mapping[str, RewardTerm]:
        """ROBEL's weights, a fifth of them, so that a tick is worth about 12 at best."""
        home, share = self.spec.home, np.full(self.spec.joints, 1.0 / self.spec.joints)

        def error(step: Step) -> Array:
            return abs(self.error(step.after, step.goal))

        def pose(step: Step) -> Array:
            return np.abs(step.after.joint_position - home).dot(share)

        def speed(step: Step) -> Array:
            return np.maximum(np.abs(step.after.joint_velocity) - 0.5, 0.0).dot(share)

        return {
            "error": RewardTerm(-1.0, error),
            "pose": RewardTerm(-0.2, pose),
            "speed": RewardTerm(-0.2, speed),
            "close": RewardTerm(2.0, lambda step: (error(step) < self.tolerance) * 1.0),
            "closest": RewardTerm(5.0, lambda step: (error(step) < 0.1) * 1.0),
        }

    def measure(self, state: RobotState, goal: Array) -> dict[str, Array]:
        """Angle error in rad."""
        return {"angle_error_rad": np.abs(self.error(state, goal))}

    def summarise(self, steps: Mapping[str, Array]) -> dict[str, float]:
        """Angle error at the end and at its smallest."""
        error = steps["angle_error_rad"]
        return {"final_angle_error_rad": float(error[-1]), "smallest_angle_error_rad": float(error.min())}

    def success(self, steps: Mapping[str, Array]) -> bool | None:
        """Whether the valve ends within the tolerance."""
        return bool(steps["angle_error_rad"][-1] < self.tolerance)
