"""Push an object on a table to a line, or to the place where two lines cross, for a planar arm with one object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from robot_rl.arrays import components, sqrt, squared_norm
from robot_rl.errors import ConfigurationError, MissingSensor
from robot_rl.kinematics import SerialLegs
from robot_rl.robot import RobotState, Start
from robot_rl.settings import check, check_ranges
from robot_rl.spec import RobotSpec
from robot_rl.task import RewardTerm, Task
from robot_rl.tasks.rewards import nearness

Array = NDArray[np.floating]

AXES: Mapping[str, tuple[float, float]] = {"x": (1.0, 0.0), "y": (0.0, 1.0), "both": (0.5, 0.5)}
"""What each line is worth by the setting `axes`; "both" is the mean of the two others."""


@dataclass(frozen=True)
class PushSettings:
    """Where the object is to go and where it starts."""

    axes: str = "both"
    """x: to the line of that x, y: to the line of that y, both: to where they cross."""
    x: tuple[float, float] = (0.38, 0.38)
    """m, range of the goal line's x."""
    y: tuple[float, float] = (0.14, 0.14)
    """m, range of the goal line's y."""
    start_x: tuple[float, float] = (0.2, 0.36)
    """m, range of the object's x at the start of an episode."""
    start_y: tuple[float, float] = (-0.12, 0.12)
    """m, range of the object's y at the start of an episode."""
    start_noise: float = 0.9
    """rad, largest displacement of a joint from home at the start of an episode."""
    clearance: float = 0.08
    """m, least distance of the object's centre from the arm's middle line at the start of an episode."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        allowed = f"one of {', '.join(AXES)}"
        check_ranges(self, "task push", "x", "y", "start_x", "start_y")
        check(self, "task push", axes=(self.axes in AXES, allowed), start_noise=(self.start_noise >= 0, "0 or more"))
        check(self, "task push", clearance=(self.clearance >= 0, "0 or more"))


class Push(Task):
    """Bring the object's x to a line, its y to a line, or both: two skills and what is made of them.

    The reward of "both" is the mean of the rewards of "x" and "y", in every state. All three observe the same.

    Source: the pushing task of Haarnoja et al. 2018 (arXiv 1803.06773); the rewards are ours.
    """

    name = "push"
    goal_labels = ("x m", "y m")
    current = ("object_position", "object_linear_velocity", "goal", "link_heading")
    history = ("joint_position", "joint_velocity", "previous_action")
    time_limit = 6.0
    objects = 1
    fixed_base = True
    reward_needs = ("objects",)
    tolerance = 0.03
    """m, error that counts as done."""
    near = 0.08
    """m, distance from a line at which its reward has fallen to a half."""

    def __init__(self, spec: RobotSpec, settings: PushSettings | None = None) -> None:
        """Args: spec: a robot with one object and the kinematics of its tip; settings: lines and starts."""
        if not isinstance(spec.legs, SerialLegs):
            raise MissingSensor(
                f"task 'push' needs to know where the tip of robot {spec.name!r} is: the key 'legs', of kind serial"
            )
        self.settings = settings or PushSettings()
        self._legs = legs = spec.legs
        # A hinge is the tip of the chain before it.
        self._to_hinges = [
            replace(legs, joints=legs.joints[:, :k], origins=legs.origins[:, :k], axes=legs.axes[:, :k], tips=end)
            for k, end in enumerate(np.moveaxis(legs.origins, 1, 0)[1:], start=1)
        ]
        self._object = spec.objects[0] if spec.objects else ""
        super().__init__(spec)

    @property
    def goal_ranges(self) -> Mapping[str, tuple[float, float]]:
        """Those of the settings."""
        return dict(zip(self.goal_labels, (self.settings.x, self.settings.y), strict=True))

    def sample_start(self, rng: np.random.Generator) -> Start:
        """Arm and object anywhere in their ranges, but apart.

        What a skill has not seen it cannot judge, and a composition asks both skills wherever either leads.
        """
        settings, spec = self.settings, self.spec
        for _ in range(1000):
            noise = settings.start_noise * rng.uniform(-1.0, 1.0, spec.joints)
            position = np.clip(spec.home + noise, spec.lower, spec.upper)
            place = np.array([rng.uniform(*settings.start_x), rng.uniform(*settings.start_y)])
            if self._distance(position, place) > settings.clearance:
                return Start(position, object_position={self._object: (float(place[0]), float(place[1]))})
        raise ConfigurationError(
            f"task 'push': no start with the object {settings.clearance:g} m from the arm was found in 1000 draws; "
            "choose other ranges of start_x, start_y or start_noise, or less clearance"
        )

    def _distance(self, joint_position: Array, place: Array) -> float:
        """Distance of a place on the table from the arm's middle line, m."""
        ends = [chain.kinematics(joint_position).position[0, :2] for chain in (*self._to_hinges, self._legs)]
        nearest = np.inf
        for start, end in pairwise([self._legs.origins[0, 0, :2], *ends]):
            along = end - start
            share = np.clip((place - start) @ along / (along @ along), 0.0, 1.0)
            nearest = min(nearest, float(np.linalg.norm(start + share * along - place)))
        return nearest

    def errors(self, state: RobotState, goal: Array) -> tuple[Array, Array]:
        """How far the object is from the two lines, m, (...,) each."""
        x, y, _ = components(state.objects[self._object].position)
        goal_x, goal_y = components(goal)
        return abs(x - goal_x), abs(y - goal_y)

    def gap(self, state: RobotState) -> Array:
        """Distance between the centres of the tip and the object, in the plane, m, (...,)."""
        tip = components(self._legs.kinematics(state.joint_position).position[..., 0, :])
        place = components(state.objects[self._object].position)
        return sqrt((tip[0] - place[0]) ** 2 + (tip[1] - place[1]) ** 2)

    def reward_terms(self) -> Mapping[str, RewardTerm]:
        """A tick with the object where it is to be is worth 1; nearness of tip and object guides the first steps."""
        x, y = AXES[self.settings.axes]

        def at_line(index: int) -> RewardTerm:
            weight = (x, y)[index]
            return RewardTerm(weight, lambda step: nearness(self.errors(step.after, step.goal)[index], self.near))

        return {
            "x": at_line(0),
            "y": at_line(1),
            "reach": RewardTerm(-0.5, lambda step: self.gap(step.after)),
            "speed": RewardTerm(-0.001, lambda step: squared_norm(step.after.joint_velocity)),
        }

    def measure(self, state: RobotState, goal: Array) -> dict[str, Array]:
        """Distances in m: of the object from the lines, and from the tip."""
        x, y = self.errors(state, goal)
        return {"x_error_m": x, "y_error_m": y, "gap_m": self.gap(state)}

    def summarise(self, steps: Mapping[str, Array]) -> dict[str, float]:
        """Where the object ends."""
        return {f"final_{name}": float(steps[name][-1]) for name in ("x_error_m", "y_error_m")}

    def success(self, steps: Mapping[str, Array]) -> bool | None:
        """Whether the object ends within the tolerance of every line that counts."""
        weights = zip(("x_error_m", "y_error_m"), AXES[self.settings.axes], strict=True)
        return all(bool(steps[name][-1] < self.tolerance) for name, weight in weights if weight > 0)
