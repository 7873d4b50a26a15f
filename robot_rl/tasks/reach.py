"""Bring an arm's tip to the best of several places: skills that agree on what neither likes best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_rl.arrays import components, sqrt, squared_norm
from robot_rl.errors import MissingSensor
from robot_rl.kinematics import SerialLegs
from robot_rl.robot import RobotState, Start
from robot_rl.settings import check
from robot_rl.spec import RobotSpec
from robot_rl.task import RewardTerm, Task

Array = NDArray[np.floating]

PLACES: Mapping[str, tuple[float, float]] = {"left": (0.7, 0.85), "middle": (0.45, 0.0), "right": (0.7, -0.85)}
"""Distance from the base as a share of the arm's length, and direction, rad, positive to the left."""
WORTH: Mapping[str, tuple[float, float]] = {"left": (1.0, -0.5), "right": (-0.5, 1.0), "both": (0.25, 0.25)}
"""Of the left and the right place, by the setting `prefer`; "both" is the mean of the two others."""


@dataclass(frozen=True)
class ReachSettings:
    """What the places are worth."""

    prefer: str = "both"
    """left: the left place is worth 1, the right one costs a half; right: the other way round; both: their mean."""
    middle: float = 0.7
    """What the place in the middle is worth, to all of them."""
    start_noise: float = 1.2
    """rad, largest displacement of a joint from home at the start of an episode."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        check(self, "task reach", prefer=(self.prefer in WORTH, f"one of {', '.join(WORTH)}"))
        check(self, "task reach", start_noise=(self.start_noise >= 0, "0 or more"))


class Reach(Task):
    """Bring the tip to one of three places, which ends the episode and pays what the place is worth.

    "left" and "right" each know a place that the other shuns, and both like the one in the middle, though less. Their
    mean is worth most in the middle. The average of their values knows better: between the places it promises both
    skills the one that each likes best, more than the middle pays, so it stays there and arrives nowhere. A pair to
    see that on, and its repair.

    Source: the incompatible tasks of Hunt et al. 2019 (arXiv 1812.02216); places and rewards are ours.
    """

    name = "reach"
    history = ("joint_position", "joint_velocity", "previous_action")
    time_limit = 4.0
    fixed_base = True
    end_is_failure = False
    near = 0.05
    """m, distance from a place that counts as there."""

    def __init__(self, spec: RobotSpec, settings: ReachSettings | None = None) -> None:
        """Args: spec: a robot with the kinematics of its tip; settings: worths and starts."""
        if not isinstance(spec.legs, SerialLegs):
            raise MissingSensor(
                f"task 'reach' needs to know where the tip of robot {spec.name!r} is: the key 'legs', of kind serial"
            )
        self.settings = settings or ReachSettings()
        self._legs = legs = spec.legs
        self._base = legs.origins[0, 0, :2]
        self._length = float(np.linalg.norm(legs.origins[0, 1:], axis=1).sum() + np.linalg.norm(legs.tips[0]))
        super().__init__(spec)

    def place(self, name: str) -> Array:
        """One of the places, (2,), m, in the plane of the arm's base frame."""
        share, direction = PLACES[name]
        return self._base + share * self._length * np.array([np.cos(direction), np.sin(direction)])

    def sample_start(self, rng: np.random.Generator) -> Start:
        """The arm anywhere in its range; an object of the robot lies where the arm does not reach."""
        spec, noise = self.spec, self.settings.start_noise * rng.uniform(-1.0, 1.0, self.spec.joints)
        position = np.clip(spec.home + noise, spec.lower, spec.upper)
        x, y = self._base + 1.1 * self._length * np.array([-np.sqrt(0.5), np.sqrt(0.5)])
        return Start(position, object_position={name: (float(x), float(y)) for name in spec.objects})

    def distance(self, state: RobotState, name: str) -> Array:
        """Of the tip from a place, m, (...,)."""
        x, y, _ = components(self._legs.kinematics(state.joint_position).position[..., 0, :])
        there = self.place(name)
        return sqrt((x - there[0]) ** 2 + (y - there[1]) ** 2)

    def there(self, state: RobotState, name: str) -> NDArray[np.bool_]:
        """Whether the tip is at a place, (...,) bool."""
        return self.distance(state, name) < self.near

    def terminated(self, state: RobotState, goal: Array) -> Array:
        """At any of the places."""
        return np.any([self.there(state, name) for name in PLACES], axis=0)

    def reward_terms(self) -> Mapping[str, RewardTerm]:
        """What the place is worth, once; time and fast joints cost a little."""
        left, right = WORTH[self.settings.prefer]

        def at(name: str, worth: float) -> RewardTerm:
            return RewardTerm(worth, lambda step: 1.0 * self.there(step.after, name))

        return {
            "left": at("left", left),
            "middle": at("middle", self.settings.middle),
            "right": at("right", right),
            "time": RewardTerm(-0.02, lambda step: np.ones(step.action.shape[:-1])),
            "speed": RewardTerm(-0.001, lambda step: squared_norm(step.after.joint_velocity)),
        }

    def measure(self, state: RobotState, goal: Array) -> dict[str, Array]:
        """Distance of the tip from each place, m."""
        return {f"{name}_m": self.distance(state, name) for name in PLACES}

    def summarise(self, steps: Mapping[str, Array]) -> dict[str, float]:
        """Where the tip ends."""
        return {f"final_{name}": float(steps[name][-1]) for name in (f"{name}_m" for name in PLACES)}

    def success(self, steps: Mapping[str, Array]) -> bool | None:
        """Whether the tip ends at the place that is worth most."""
        worth = dict(zip(("left", "right"), WORTH[self.settings.prefer], strict=True), middle=self.settings.middle)
        best = max(worth, key=lambda name: worth[name])
        return bool(steps[f"{best}_m"][-1] < self.near)
