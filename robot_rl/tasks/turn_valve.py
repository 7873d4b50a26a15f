"""Turn a valve to an angle, spare effort, or both, for a hand with one object that turns about the vertical."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_rl import rotation
from robot_rl.arrays import components, squared_norm
from robot_rl.robot import RobotState, Start
from robot_rl.settings import check, check_ranges
from robot_rl.spec import RobotSpec
from robot_rl.task import RewardTerm, Step, Task

Array = NDArray[np.floating]


AIMS: Mapping[str, tuple[float, float]] = {"turn": (1.0, 0.0), "calm": (0.0, 1.0), "both": (0.5, 0.5)}
"""What turning and little effort are worth by the setting `aim`; "both" is the mean of the two others."""


@dataclass(frozen=True)
class TurnValveSettings:
    """What is rewarded."""

    aim: str = "turn"
    """turn: bring the valve to its goal; calm: little effort, whatever the valve does; both: the mean of these."""
    goal: tuple[float, float] = (-math.pi, math.pi)
    """rad, range of the angle to turn to; equal ends for one goal in all episodes."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        check_ranges(self, "task turn_valve", "goal")
        check(
            self,
            "task turn_valve",
            aim=(self.aim in AIMS, f"one of {', '.join(AIMS)}"),
            goal=(-math.pi <= self.goal[0] and self.goal[1] <= math.pi, "within -pi and pi"),
        )


class TurnValve(Task):
    """Bring the valve from a random angle to a goal angle and hold it there, spare effort, or both.

    The reward of turning follows ROBEL's turn task: angle error, pose, speed, and bonuses for being close. The reward
    of "both" is the mean of the rewards of "turn" and "calm", in every state. All three observe the same.
    """

    name = "turn_valve"
    goal_labels = ("valve angle rad",)
    # Three equal arms: for the fingers the valve looks the same after a third of a turn.
    current = ("object_third_turn", "angle_error")
    history = ("joint_position", "joint_velocity", "previous_action")
    seen = ("goal_heading",)
    time_limit = 8.0
    objects = 1
    reward_needs = ("objects",)
    tolerance = 0.25
    """rad, error that counts as done."""
    gentle = 0.1
    """Share of the effort limits, in all joints, at which effort costs 2 a tick."""

    def __init__(self, spec: RobotSpec, settings: TurnValveSettings | None = None) -> None:
        """Args: spec: a robot with one object; settings: what is rewarded."""
        self.settings = settings or TurnValveSettings()
        self._object = spec.objects[0] if spec.objects else ""
        super().__init__(spec)

    @property
    def goal_ranges(self) -> Mapping[str, tuple[float, float]]:
        """That of the settings."""
        return {self.goal_labels[0]: self.settings.goal}

    def sample_start(self, rng: np.random.Generator) -> Start:
        """Home, the valve at any angle."""
        return Start(self.spec.home, object_yaw={self._object: float(rng.uniform(-np.pi, np.pi))})

    def error(self, state: RobotState, goal: Array) -> Array:
        """Angle left to turn, rad, (...,), in [-pi, pi)."""
        return rotation.wrap(components(goal)[0] - rotation.yaw(state.objects[self._object].orientation_xyzw))

    def effort(self, state: RobotState) -> Array:
        """Mean over the joints of the squared effort as a share of its limit, (...,), from 0 to 1.

        The effort is what the joint controllers ask for, so that a robot needs no sensor for it.
        """
        spec = self.spec
        asked = spec.kp * (state.applied - state.joint_position) - spec.kd * state.joint_velocity
        share = np.minimum(np.abs(asked / spec.effort_limit), 1.0)
        return squared_norm(share) / spec.joints

    def reward_terms(self) -> Mapping[str, RewardTerm]:
        """ROBEL's weights for turning, a fifth of them, so that a tick is worth 7 at best."""
        turn, calm = AIMS[self.settings.aim]
        home, share = self.spec.home, np.full(self.spec.joints, 1.0 / self.spec.joints)

        def error(step: Step) -> Array:
            return abs(self.error(step.after, step.goal))

        def pose(step: Step) -> Array:
            return np.abs(step.after.joint_position - home).dot(share)

        def speed(step: Step) -> Array:
            return np.maximum(np.abs(step.after.joint_velocity) - 0.5, 0.0).dot(share)

        # All of them, whatever the aim: skills of different aims learn from each other's replay by the terms' values.
        return {
            "error": RewardTerm(-1.0 * turn, error),
            "pose": RewardTerm(-0.2 * turn, pose),
            "speed": RewardTerm(-0.2 * turn, speed),
            "close": RewardTerm(2.0 * turn, lambda step: (error(step) < self.tolerance) * 1.0),
            "closest": RewardTerm(5.0 * turn, lambda step: (error(step) < 0.1) * 1.0),
            "effort": RewardTerm(-2.0 * calm / self.gentle**2, lambda step: self.effort(step.after)),
        }

    def measure(self, state: RobotState, goal: Array) -> dict[str, Array]:
        """Angle error in rad, and effort as a share of its limits."""
        return {"angle_error_rad": np.abs(self.error(state, goal)), "effort_share": np.sqrt(self.effort(state))}

    def summarise(self, steps: Mapping[str, Array]) -> dict[str, float]:
        """Angle error at the end and at its smallest, and the root mean square of the effort."""
        error, effort = steps["angle_error_rad"], steps["effort_share"]
        return {
            "final_angle_error_rad": float(error[-1]),
            "smallest_angle_error_rad": float(error.min()),
            "effort_share": float(np.sqrt(np.square(effort).mean())),
        }

    def success(self, steps: Mapping[str, Array]) -> bool | None:
        """Whether the valve ends within the tolerance, where that is asked for."""
        if self.settings.aim == "calm":
            return None
        return bool(steps["angle_error_rad"][-1] < self.tolerance)
