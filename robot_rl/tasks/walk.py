"""Walk with a commanded velocity, for any robot with a floating base and feet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_rl.arrays import at_least, components, cos_sin, exp, sqrt, squared_norm
from robot_rl.robot import RobotState, Start
from robot_rl.settings import check, check_ranges
from robot_rl.spec import RobotSpec
from robot_rl.stepping import stepping
from robot_rl.task import RewardTerm, Step, Task
from robot_rl.tasks.rewards import action_change, tilt

Array = NDArray[np.floating]


PARTS: Mapping[str, tuple[float, float]] = {"forward": (1.0, 0.0), "left": (0.0, 1.0), "mean": (0.5, 0.5)}
"""How much each part of the commanded velocity is pursued alone, by the setting `pursue`."""
SLOW = 0.6
"""m/s, command above which an error is judged by its share of the command, so that standing still is worth nothing."""
TOLERABLE = 0.3
"""m/s, error of a part pursued alone at which its reward has fallen from 1 to 0."""


@dataclass(frozen=True)
class WalkSettings:
    """Commands and reward weights."""

    pursue: str = "command"
    """command: the commanded velocity; forward, left: that part of it, whatever the other; mean: the mean of the
    rewards of these two."""
    forward: tuple[float, float] = (0.6, 0.6)
    """m/s, range of the commanded forward velocity."""
    lateral: tuple[float, float] = (0.0, 0.0)
    """m/s, range of the commanded velocity to the left."""
    turn: tuple[float, float] = (0.0, 0.0)
    """rad/s, range of the commanded yaw rate, positive to the left."""
    cadence: tuple[float, float] = (2.0, 2.0)
    """Hz, range of the commanded strides per second."""
    start_noise: float = 0.05
    """rad, largest joint displacement at the start of an episode."""
    step_height: float = 0.0
    """m, height to which the feet are lifted in turn by themselves, at the cadence; actions are added to that."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        allowed = ("command", *PARTS)
        check_ranges(self, "task walk", "forward", "lateral", "turn", "cadence")
        check(
            self,
            "task walk",
            pursue=(self.pursue in allowed, f"one of {', '.join(allowed)}"),
            step_height=(0.0 <= self.step_height < np.inf, "0 or more, and finite"),
        )


class Walk(Task):
    """Follow a velocity command (forward, left, turn) in the base frame, trotting at a commanded cadence.

    The policy observes what a bare robot gives and a clock; the base velocity enters the reward alone.

    The settings `pursue` of forward and left are two skills to put together: each is about one part of the velocity
    and leaves the other free, so that both can be had at once.
    """

    name = "walk"
    goal_labels = ("forward m/s", "left m/s", "turn rad/s", "cadence Hz")
    current = ("goal", "gait_clock")
    history = ("gravity", "angular_velocity", "joint_position", "joint_velocity", "previous_action")
    history_length = 2
    time_limit = 10.0
    reward_needs = ("base_linear_velocity", "base_position", "orientation", "angular_velocity", "joint_effort")

    def __init__(self, spec: RobotSpec, settings: WalkSettings | None = None) -> None:
        """Args: spec: a robot with a floating base; settings: commands and weights."""
        self.settings = settings or WalkSettings()
        self._per_effort = 1.0 / spec.effort_limit
        if self.settings.step_height > 0:
            self.stepping = stepping(spec, self.settings.step_height)
        super().__init__(spec)

    @property
    def goal_ranges(self) -> Mapping[str, tuple[float, float]]:
        """Those of the settings."""
        settings = self.settings
        ranges = (settings.forward, settings.lateral, settings.turn, settings.cadence)
        return dict(zip(self.goal_labels, ranges, strict=True))

    def sample_start(self, rng: np.random.Generator) -> Start:
        """Home, a little displaced, facing any direction."""
        noise = self.settings.start_noise * rng.uniform(-1.0, 1.0, self.spec.joints)
        position = np.clip(self.spec.home + noise, self.spec.lower, self.spec.upper)
        return Start(joint_position=position, base_yaw=float(rng.uniform(-np.pi, np.pi)))

    def reward_terms(self) -> Mapping[str, RewardTerm]:
        """Following the command is worth 2 a tick at its best; the rest keeps the gait calm and the base level."""
        terms = {
            **self._velocity_tracking(),
            "turn": RewardTerm(0.5, _turn_tracking),
            "level": RewardTerm(-3.0, tilt),
            "bounce": RewardTerm(-0.5, _vertical_motion),
            "pose": RewardTerm(-0.2, self._pose),
            "effort": RewardTerm(-0.1, self._effort),
            "smoothness": RewardTerm(-0.005, action_change),
        }
        if len(self.spec.feet) == 4 and "contacts" in self.spec.sensors:
            terms["trot"] = RewardTerm(0.4, _trot)
        return terms

    def _velocity_tracking(self) -> Mapping[str, RewardTerm]:
        if self.settings.pursue == "command":
            return {"velocity": RewardTerm(2.0, _straight_tracking)}
        forward, left = PARTS[self.settings.pursue]
        return {
            "forward": RewardTerm(forward, lambda step: _squared_tracking(step, 0)),
            "left": RewardTerm(left, lambda step: _squared_tracking(step, 1)),
        }

    def _pose(self, step: Step) -> Array:
        """Mean squared joint displacement from home, rad^2."""
        away = step.after.joint_position - self.spec.home
        return squared_norm(away) * (1.0 / self.spec.joints)

    def _effort(self, step: Step) -> Array:
        """Mean squared share of the effort limit."""
        share = step.after.joint_effort * self._per_effort
        return squared_norm(share) * (1.0 / self.spec.joints)

    def terminated(self, state: RobotState, goal: Array) -> Array:
        """Never by itself: the supervisor's tilt and height limits decide what a fall is."""
        return np.zeros(state.joint_position.shape[:-1], dtype=bool)

    def measure(self, state: RobotState, goal: Array) -> dict[str, Array]:
        """Velocity and what was asked for, m/s, base frame."""
        velocity = state.base_linear_velocity
        assert velocity is not None
        parts = PARTS.get(self.settings.pursue, (1.0, 1.0))
        # A part that is not pursued may be anything: what it is counts as what was asked for.
        forward, left = (
            np.broadcast_to(goal[..., axis], velocity[..., 0].shape) if part else velocity[..., axis]
            for axis, part in enumerate(parts)
        )
        return {
            "forward_velocity": velocity[..., 0],
            "lateral_velocity": velocity[..., 1],
            "commanded_forward": forward,
            "commanded_lateral": left,
        }

    def summarise(self, steps: Mapping[str, Array]) -> dict[str, float]:
        """Mean velocity and its relative error, the first second left out."""
        settled = round(self.spec.control_rate)
        kept = {name: values[settled:] if len(values) > settled else values for name, values in steps.items()}
        figures = {name: float(np.mean(values)) for name, values in kept.items()}
        wanted = np.hypot(figures["commanded_forward"], figures["commanded_lateral"])
        if wanted:
            ahead = figures["forward_velocity"] - figures["commanded_forward"]
            aside = figures["lateral_velocity"] - figures["commanded_lateral"]
            figures["speed_error"] = float(np.hypot(ahead, aside) / wanted)
        return figures

    def success(self, steps: Mapping[str, Array]) -> bool | None:
        """Whether the mean velocity is within a fifth of the commanded one; None for a command to stay in place."""
        error = self.summarise(steps).get("speed_error")
        return None if error is None else error <= 0.2


def _straight_tracking(step: Step) -> Array:
    # Straight from standing to a sharp peak: every bit of speed is worth as much, the first one too, and no flat top
    # leaves the speed a tenth off. Standing still is worth nothing and not less: a fall is never the better way out.
    forward, left, _ = components(step.after.base_linear_velocity)
    goal = components(step.goal)
    dx, dy = forward - goal[0], left - goal[1]
    worthless = at_least(sqrt(goal[0] * goal[0] + goal[1] * goal[1]), SLOW)
    return 1.0 - sqrt(dx * dx + dy * dy) / worthless


def _squared_tracking(step: Step, axis: int) -> Array:
    error = components(step.after.base_linear_velocity)[axis] - components(step.goal)[axis]
    return 1.0 - error * error * (1.0 / TOLERABLE**2)


def _turn_tracking(step: Step) -> Array:
    return exp(-2.0 * abs(components(step.after.angular_velocity)[2] - components(step.goal)[2]))


def _vertical_motion(step: Step) -> Array:
    vertical = components(step.after.base_linear_velocity)[2]
    return vertical * vertical


def _trot(step: Step) -> Array:
    """Share of feet that are down in their half of the stride and up in the other; the diagonals alternate.

    Feet are in the order front left, front right, rear left, rear right.
    """
    _, phase = cos_sin(2.0 * np.pi * components(step.goal)[3] * step.after.stamp)
    # While the clock's sine is positive the first diagonal stands. Near its zeros both may: feet land and lift there.
    up, down = phase > -0.1, phase < 0.1
    good: Any = 0.0
    for force, (stands, swings) in zip(
        components(step.after.contacts), ((up, down), (down, up), (down, up), (up, down)), strict=True
    ):
        good = good + ((force > 1.0) & stands | (force <= 1.0) & swings)
    return 0.25 * good
