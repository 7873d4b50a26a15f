"""Stand still at home, for any robot with a floating base."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from robot_rl.arrays import exp, squared_norm
from robot_rl.robot import RobotState, Start
from robot_rl.task import RewardTerm, Step, Task
from robot_rl.tasks.rewards import action_change, effort, tilt

Array = NDArray[np.floating]


class Stand(Task):
    """Keep the base level and the joints at home; a first task for a new robot."""

    name = "stand"
    history = ("gravity", "angular_velocity", "joint_position", "joint_velocity", "previous_action")
    time_limit = 5.0
    reward_needs = ("orientation",)

    def sample_start(self, rng: np.random.Generator) -> Start:
        """Home, displaced by up to .2 rad a joint."""
        position = self.spec.home + rng.uniform(-0.2, 0.2, self.spec.joints)
        return Start(np.clip(position, self.spec.lower, self.spec.upper))

    def reward_terms(self) -> Mapping[str, RewardTerm]:
        """At most 1 a tick."""
        home = self.spec.home

        def pose(step: Step) -> Array:
            return exp(-4.0 / home.size * squared_norm(step.after.joint_position - home))

        return {
            "pose": RewardTerm(1.0, pose),
            "level": RewardTerm(-1.0, tilt),
            "smoothness": RewardTerm(-0.01, action_change),
        } | ({"effort": RewardTerm(-1e-4, effort)} if "joint_effort" in self.spec.sensors else {})

    def measure(self, state: RobotState, goal: Array) -> dict[str, Array]:
        """Tilt and the largest joint displacement from home, rad."""
        return {
            "tilt_rad": np.arccos(np.clip(-state.gravity[..., 2], -1.0, 1.0)),
            "pose_error_rad": np.abs(state.joint_position - self.spec.home).max(-1),
        }
