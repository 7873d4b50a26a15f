"""A training run's configuration with every setting in it, and what it makes: robot, task, environment, learner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from robot_rl.errors import ConfigurationError
from robot_rl.make import (
    SIMULATORS,
    load_randomization,
    make_env,
    make_learner,
    make_privileged,
    make_suite_env,
    make_task,
    make_vector_env,
)
from robot_rl.ros_spec import RosSettings
from robot_rl.settings import from_mapping
from robot_rl.spec import RobotSpec
from robot_rl.spec_file import load_robot
from robot_rl.task import Task

if TYPE_CHECKING:
    from robot_rl.algorithms.learner import Learner
    from robot_rl.make.robots import Randomization
    from robot_rl.privileged import Privileged


@dataclass(frozen=True)
class TrainingConfig:
    """A resolved configuration; every setting has its value."""

    robot: str | None
    """Built-in name, or absolute path of a YAML file; None for a task that brings its own body."""
    task: str
    task_settings: Mapping[str, Any]
    algorithm: str
    algorithm_settings: Mapping[str, Any]
    trainer: Mapping[str, Any]
    robots: int
    """Copies simulated in step."""
    seed: int
    robot_digest: str | None
    """SHA-256 of what the robot's file says; None without one."""
    on: str = "mujoco"
    """Where the robot lives, one of `robot_rl.make.BACKENDS`."""
    ros: Mapping[str, Any] = field(default_factory=dict)
    """Of `RosSettings`; empty where the robot lives elsewhere."""
    real_time: Mapping[str, Any] = field(default_factory=dict)
    """Of `RealTimeSettings`; empty where time waits for the learner."""
    randomize: Mapping[str, Any] | None = None
    """Terms of randomisation with their settings, whole, so that a run depends on no other file; None for none."""
    observation: Mapping[str, Any] = field(default_factory=dict)
    """Of `ObservationSettings`; empty for a task that brings its own body."""
    encoder: Mapping[str, Any] = field(default_factory=dict)
    """Of `EncoderSettings`; empty without a camera."""
    ray: Mapping[str, Any] = field(default_factory=dict)
    """Of `RaySettings`; empty without workers on Ray."""
    begin_with: str | None = None
    """Run whose newest checkpoint the learner begins as; None for a new one."""

    def to_dict(self) -> dict[str, Any]:
        """The form that files have."""
        robot = {} if self.robot is None else {"robot": self.robot, "robot_digest": self.robot_digest}
        found = robot | {
            "robots": self.robots,
            "on": self.on,
            "task": {"name": self.task, **self.task_settings},
            "algorithm": self.algorithm,
            self.algorithm: dict(self.algorithm_settings),
            "trainer": dict(self.trainer),
            "seed": self.seed,
        }
        if self.begin_with is not None:
            found["begin_with"] = self.begin_with
        others = ("observation", "encoder", "ros", "real_time", "randomize", "ray")
        return found | {name: dict(values) for name in others if (values := getattr(self, name))}

    @property
    def title(self) -> str:
        """What is learnt, for a person."""
        return self.task if self.robot is None else f"{self.task} on {self.spec().name}"

    def spec(self) -> RobotSpec:
        """The robot, unchanged since the run was configured.

        Raises:
            ConfigurationError: it has changed, or the task is one without a robot.
        """
        if self.robot is None:
            raise ConfigurationError(
                f"{self.task} has no robot: it is trained and evaluated, and its policy stays in the run"
            )
        spec = load_robot(self.robot)
        if spec.digest != self.robot_digest:
            raise ConfigurationError(
                f"robot file {self.robot} has changed since this run began; put it back, or train a new run"
            )
        return spec

    @property
    def engine(self) -> str:
        """What simulates the robot where one is simulated: for training, and for evaluation always."""
        return self.on if self.on in SIMULATORS else SIMULATORS[0]

    def make_task(self) -> Task:
        """The task on its robot."""
        return make_task(self.task, self.spec(), self.task_settings, self.observation)

    def make_learner(self) -> Learner:
        """The learner, new."""
        chosen = (self.algorithm_settings, self.seed)
        if self.robot is None:
            return make_learner(self.algorithm, self.make_suite_env(), *chosen)
        task = self.make_task()
        return make_learner(self.algorithm, task, *chosen, self.make_privileged(task), self.encoder)

    def make_suite_env(self, render_mode: str | None = None) -> Any:
        """The environment of a task that brings its own body."""
        return make_suite_env(self.task, render_mode=render_mode, **self.task_settings)

    def make_privileged(self, task: Task) -> Privileged | None:
        """What the critics get beside what the policy observes; None for nothing."""
        return make_privileged(task, self.randomization()) if self.observation.get("privileged") else None

    def make_env(self, task: Task) -> Any:
        """The environment to train on the robot in, or on several in step."""
        seconds = self.trainer["episode_seconds"]
        if self.robots != 1:
            return make_vector_env(
                self.spec(),
                task,
                self.robots,
                backend=self.engine,
                time_limit=seconds,
                randomization=self.randomization(),
                privileged=self.make_privileged(task),
            )
        ros = from_mapping(RosSettings, self.ros, "ros") if self.on == "ros" else None
        return make_env(
            self.spec(),
            task,
            backend=self.on,
            ros=ros,
            time_limit=seconds,
            randomization=self.randomization(),
            privileged=self.make_privileged(task),
        )

    def randomization(self) -> Randomization | None:
        """What differs from episode to episode of training."""
        return load_randomization(self.randomize, self.spec()) if self.randomize else None
