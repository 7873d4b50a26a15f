"""What a task is: goals, observations, rewards and ends, as pure numpy over RobotState of any leading batch shape."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from robot_rl.camera_spec import CameraSpec
from robot_rl.errors import ConfigurationError, MissingSensor, UnknownName
from robot_rl.observation import ObservationLayout, build_layout, quantity_of
from robot_rl.observation_parts import ObservationParts
from robot_rl.observation_settings import ObservationSettings
from robot_rl.robot import RobotState, Start
from robot_rl.spec import RobotSpec
from robot_rl.spec_file import builtin_robots, load_robot
from robot_rl.stepping import Stepping

Array = NDArray[Any]

Kind = TypeVar("Kind", bound="Task")


class Step(NamedTuple):
    """One control tick as a reward sees it."""

    before: RobotState
    action: Array
    """(..., d), what the policy asked for."""
    previous_action: Array
    """(..., d), what it asked for one tick earlier."""
    after: RobotState
    goal: Array
    """(..., g)."""


@dataclass(frozen=True)
class RewardTerm:
    """One named summand of the reward."""

    weight: float
    value: Callable[[Step], Array]
    """(...,), before weighting."""


class Task(ABC):
    """Base of all tasks. A subclass fills in the class attributes and methods; it never knows where the robot lives."""

    name: str = ""
    goal_labels: tuple[str, ...] = ()
    """Name of each component of the goal."""
    current: tuple[str, ...] = ()
    """Quantities observed once; see `robot_rl.observation.QUANTITIES`."""
    history: tuple[str, ...] = ()
    """Quantities observed at each of the last `history_length` ticks."""
    history_length: int = 1
    seen: tuple[str, ...] | None = None
    """Observed once instead of what is known of objects, where a camera shows them; None where it cannot be."""
    time_limit: float = 20.0
    """s."""
    reward_needs: tuple[str, ...] = ()
    """Quantities of RobotState that the reward and the end of an episode read."""
    objects: int | None = None
    """How many the robot must have; None for any number."""
    fixed_base: bool = False
    """Whether the robot's base must be fixed."""
    end_is_failure: bool = True
    """Whether an evaluation episode that ends before its time has failed; False where arriving is what ends it."""
    stepping: Stepping | None = None
    """What the joints do by themselves, which actions are added to; its clock is among the observations."""

    def __init__(self, spec: RobotSpec) -> None:
        """Checks the robot.

        Args:
            spec: the robot.

        Raises:
            MissingSensor: the task observes what the robot lacks.
            ConfigurationError: the task is for another number of objects, or for a fixed base.
        """
        self.spec = spec
        self.camera: CameraSpec | None = None
        self.hidden: tuple[str, ...] = ()
        self.layout = self._new_layout()
        self._check_kind()
        self.terms: Mapping[str, RewardTerm] = self.reward_terms()
        self._weighted = [(name, term.weight, term.value) for name, term in self.terms.items()]

    def _check_kind(self) -> None:
        """Refuses a robot that the task can do nothing with, which its sensors alone do not tell."""
        spec = self.spec
        if self.objects is not None and len(spec.objects) != self.objects:
            given = ", ".join(spec.objects) or "none"
            raise ConfigurationError(
                f"task {self.name!r} is for a robot with {self.objects} of 'objects'; robot {spec.name!r} has "
                f"{len(spec.objects)}: {given}"
            )
        if self.fixed_base and spec.base != "fixed":
            raise ConfigurationError(
                f"task {self.name!r} is for a robot with a fixed base; that of robot {spec.name!r} is {spec.base}"
            )

    def _new_layout(self) -> ObservationLayout:
        for name in (*self.current, *self.history):
            quantity_of(name, self.spec)
        return build_layout(self.spec, self.goal_labels, self.current, self.history, self.history_length)

    def observing(self: Kind, settings: ObservationSettings) -> Kind:
        """The same task with another observation.

        Args:
            settings: what differs from the task's own choice.

        Raises:
            UnknownName: a quantity is to be stacked that the task does not observe; lists those that it does.
            ConfigurationError: the robot has no camera, or the task can do nothing with one.
        """
        task = copy.copy(self)
        if settings.camera:
            task._look()
        if settings.history_of is not None:
            observed = (*task.current, *task.history)
            for name in settings.history_of:
                if name not in observed:
                    raise UnknownName.of("quantity", name, observed, f"in observation.history_of of task {self.name!r}")
            task.history = tuple(dict.fromkeys(settings.history_of))
            task.current = tuple(name for name in observed if name not in task.history)
        if settings.history is not None:
            task.history_length = settings.history
        task.layout = task._new_layout()
        return task

    def _look(self) -> None:
        """Observes the camera, and no objects beside it."""
        if self.spec.camera is None:
            having = [name for name in builtin_robots() if load_robot(name).camera is not None]
            raise ConfigurationError(
                f"observation.camera: robot {self.spec.name!r} has no camera; robots with one: {', '.join(having)}, or "
                "any whose file has a section 'camera'"
            )
        if self.seen is None:
            raise ConfigurationError(f"observation.camera: task {self.name!r} has no objects to look at")
        self.camera = self.spec.camera
        observed = (*self.current, *self.history)
        self.hidden = tuple(name for name in observed if "objects" in quantity_of(name, self.spec).sensors)
        self.current, self.history = (
            tuple(name for name in names if name not in self.hidden) for names in (self.current, self.history)
        )
        self.current = (*self.seen, *self.current)

    @property
    def parts(self) -> ObservationParts:
        """What an observation is made of."""
        return ObservationParts(self.layout.size, self.camera.shape if self.camera else None)

    def check_robot(self, provides: frozenset[str]) -> None:
        """Refuses a robot that cannot give what the reward needs.

        Args:
            provides: `Robot.provides`.
        """
        if self.camera is not None and "camera" not in provides:
            raise MissingSensor(
                f"task {self.name!r} observes the camera, and this {self.spec.name!r} gives no pictures"
            )
        for name in self.reward_needs:
            if name not in provides:
                raise MissingSensor(
                    f"the reward of task {self.name!r} needs {name!r}, which robot {self.spec.name!r} does not provide "
                    f"here; it provides: {', '.join(sorted(provides))}"
                )

    @abstractmethod
    def reward_terms(self) -> Mapping[str, RewardTerm]:
        """The reward's summands by name."""

    def reward(self, step: Step) -> tuple[Array, dict[str, Array]]:
        """The reward (...,) and its weighted terms by name, each (...,)."""
        return self.weigh(self.values(step))

    def values(self, step: Step) -> dict[str, Array]:
        """The terms by name before weighting, each (...,)."""
        return {name: value(step) for name, _, value in self._weighted}

    def weigh(self, values: Mapping[str, Array]) -> tuple[Array, dict[str, Array]]:
        """The reward and its weighted terms, from `values`; see `reward`."""
        terms = {name: weight * values[name] for name, weight, _ in self._weighted}
        return sum(terms.values()), terms  # type: ignore[return-value]

    def terminated(self, state: RobotState, goal: Array) -> Array:
        """(...,) bool: whether the task has ended for good; a time limit is not an end."""
        return np.zeros(state.joint_position.shape[:-1], dtype=bool)

    @property
    def goal_ranges(self) -> Mapping[str, tuple[float, float]]:
        """Least and greatest value of each goal component in training, by its label."""
        return {}

    def sample_goal(self, rng: np.random.Generator) -> Array:
        """A goal for one episode, (g,), uniform in the goal ranges."""
        return np.array([rng.uniform(*self.goal_ranges[label]) for label in self.goal_labels])

    def sample_start(self, rng: np.random.Generator) -> Start:
        """A start for one episode."""
        return Start(joint_position=self.spec.home)

    def success(self, steps: Mapping[str, Array]) -> bool | None:
        """Whether an evaluation episode counts as a success; None where the task has no such notion.

        An episode that ended early, by a fall or a drop, is a failure whatever this says, unless `end_is_failure` is
        False.

        Args:
            steps: what `measure` gave at every tick, stacked, (T, ...).
        """
        return None

    def measure(self, state: RobotState, goal: Array) -> dict[str, Array]:
        """What a person wants to know of a state, in SI, for evaluation; each (...,)."""
        return {}

    def summarise(self, steps: Mapping[str, Array]) -> dict[str, float]:
        """Figures of one evaluation episode from the stacked measures, (T, ...)."""
        return {name: float(np.mean(values)) for name, values in steps.items()}
