"""Turn a cube in the hand about the vertical."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from robot_rl import rotation
from robot_rl.arrays import components, squared_norm
from robot_rl.robot import RobotState, Start
from robot_rl.spec import RobotSpec
from robot_rl.task import RewardTerm, Step, Task
from robot_rl.tasks.rewards import action_change, effort

Array = NDArray[np.floating]


class RotateCube(Task):
    """Keep the cube in the hand and turn it counter-clockwise as seen from above; dropping it ends the episode."""

    name = "rotate_cube"
    # A cube looks the same after a quarter turn: what is learnt about one face then serves all four.
    current = (
        "object_position",
        "object_quarter_turn",
        "object_up",
        "object_linear_velocity",
        "object_angular_velocity",
    )
    history = ("joint_position", "joint_velocity", "previous_action")
    history_length = 1
    time_limit = 20.0
    objects = 1
    reward_needs = ("objects", "joint_effort")
    fastest = 0.5
    """rad/s, speed beyond which turning earns no more: slow enough that it does not pay to throw the cube."""
    lowest = 0.17
    """m, height of the cube's centre below which it counts as dropped."""

    def __init__(self, spec: RobotSpec) -> None:
        """Args: spec: a robot with one free object."""
        self._object = spec.objects[0] if spec.objects else ""
        super().__init__(spec)

    def sample_start(self, rng: np.random.Generator) -> Start:
        """Home, slightly displaced, the cube slightly turned."""
        position = self.spec.home + rng.uniform(-0.03, 0.03, self.spec.joints)
        position = np.clip(position, self.spec.lower, self.spec.upper)
        return Start(position, object_yaw={self._object: float(rng.uniform(-0.2, 0.2))})

    def turned(self, before: RobotState, after: RobotState) -> Array:
        """Turn about the vertical between two states, rad, (...,)."""
        start, end = before.objects[self._object], after.objects[self._object]
        return rotation.wrap(rotation.yaw(end.orientation_xyzw) - rotation.yaw(start.orientation_xyzw))

    def reward_terms(self) -> Mapping[str, RewardTerm]:
        """Turning is worth 1 a tick at its best."""
        rate, home, name = self.spec.control_rate, self.spec.home, self._object

        def turning(step: Step) -> Array:
            speed = self.turned(step.before, step.after) * rate
            # The floor is far down: with a near one, letting the cube snap back would cost less than turning it forward
            # had earned; with none, a cube that tumbles out of the hand would drown everything else.
            return np.clip(speed / self.fastest, -10.0, 1.0)

        def slip(step: Step) -> Array:
            x, y, z = components(step.after.objects[name].linear_velocity)
            return abs(x) + abs(y) + abs(z)

        return {
            "turning": RewardTerm(1.0, turning),
            "dropped": RewardTerm(-20.0, lambda step: self._dropped(step.after) * 1.0),
            "slip": RewardTerm(-0.3, slip),
            "pose": RewardTerm(-0.1, lambda step: squared_norm(step.after.joint_position - home) / home.size),
            "smoothness": RewardTerm(-0.005, action_change),
            "effort": RewardTerm(-0.05, effort),
        }

    def _dropped(self, state: RobotState) -> Array:
        return np.asarray(components(state.objects[self._object].position)[2] < self.lowest)

    def terminated(self, state: RobotState, goal: Array) -> Array:
        """Whether the cube has left the hand: it lies lower than the palm."""
        return self._dropped(state)

    def measure(self, state: RobotState, goal: Array) -> dict[str, Array]:
        """The cube's yaw, rad, and height, m."""
        item = state.objects[self._object]
        return {"cube_yaw_rad": rotation.yaw(item.orientation_xyzw), "cube_height_m": item.position[..., 2]}

    def summarise(self, steps: Mapping[str, Array]) -> dict[str, float]:
        """Turns of the cube, counted through the wrap-around."""
        yaw = np.unwrap(steps["cube_yaw_rad"], axis=0)
        return {"turned_rad": float(yaw[-1] - yaw[0]), "lowest_m": float(steps["cube_height_m"].min())}

    def success(self, steps: Mapping[str, Array]) -> bool | None:
        """Whether the cube turned by at least half a revolution."""
        return self.summarise(steps)["turned_rad"] >= np.pi
