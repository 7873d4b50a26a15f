"""Tasks by name, and what a robot and a task make together; tasks of the dm_control suite."""

from __future__ import annotations

import importlib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.make.packages import missing_package
from robot_rl.make.robots import make_batch, make_camera, make_robot, robot_spec
from robot_rl.observation_settings import ObservationSettings
from robot_rl.privileged import Privileged
from robot_rl.robot import BatchRobot, Robot
from robot_rl.ros_spec import RosSettings
from robot_rl.settings import check, from_mapping
from robot_rl.spec import RobotSpec
from robot_rl.task import Task
from robot_rl.tasks import TASKS

if TYPE_CHECKING:
    from robot_rl.env import RobotEnv, RobotVectorEnv
    from sim.randomization import Randomization
    from sim.suite import SuiteEnv

SUITE = "dm_control/"
"""What names of tasks of the dm_control suite begin with."""


@dataclass(frozen=True)
class SuiteSettings:
    """Settings of the tasks of the dm_control suite."""

    repeat: int = 1
    """Control steps of the suite for which an action is held; 2 in most published results, which count them all."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        check(self, "task of the suite", repeat=(self.repeat >= 1, "at least 1"))


def task_class(name: str) -> type[Task]:
    """The class of a task; raises UnknownName with those that exist."""
    if name not in TASKS:
        raise UnknownName.of("task", name, TASKS)
    return TASKS[name]


def task_settings_class(name: str) -> type | None:
    """The settings class of a task, or None where it has none."""
    if is_suite_task(name):
        return SuiteSettings
    hint = typing.get_type_hints(task_class(name).__init__).get("settings")
    kinds = [kind for kind in typing.get_args(hint) or (hint,) if kind is not type(None)]
    return kinds[0] if kinds and kinds[0] is not None else None


def make_task(
    name: str,
    robot: str | Path | RobotSpec,
    settings: Mapping[str, Any] | None = None,
    observation: ObservationSettings | Mapping[str, Any] | None = None,
) -> Task:
    """A task for a robot.

    Args:
        name: one of `robot_rl.tasks.TASKS`.
        robot: built-in name, path of a YAML file, or a spec.
        settings: the task's settings that differ from their defaults, by name.
        observation: what is observed, where it is not the task's own choice; settings, or some of them by name.

    Raises:
        UnknownName: no such task or setting; lists those that exist.
        MissingSensor: the task observes what the robot lacks.
    """
    kind, spec = task_class(name), robot_spec(robot)
    settings_class = task_settings_class(name)
    if settings_class is None:
        if settings:
            raise ConfigurationError(f"task {name!r} has no settings, got: {', '.join(settings)}")
        task = kind(spec)
    else:
        task = kind(spec, from_mapping(settings_class, settings or {}, "task"))  # type: ignore[call-arg]
    if not observation:
        return task
    if not isinstance(observation, ObservationSettings):
        observation = from_mapping(ObservationSettings, observation, "observation")
    return task.observing(observation)


def make_env(
    robot: str | Path | RobotSpec | Robot,
    task: str | Task,
    settings: Mapping[str, Any] | None = None,
    *,
    backend: str = "mujoco",
    ros: RosSettings | None = None,
    randomization: Randomization | None = None,
    time_limit: float | None = None,
    render_mode: str | None = None,
    privileged: Privileged | None = None,
) -> RobotEnv:
    """A robot with a task as a Gymnasium environment: `make_env("go2", "walk")`.

    Args:
        robot: built-in name, path of a YAML file, a spec, or a robot that is already there.
        task: name, or a task made for the same robot.
        settings: of the task, where it is given by name.
        backend: where the robot lives, where it is not given.
        ros: how to speak to a robot of backend `ros`.
        randomization: what differs from episode to episode, where the robot is not given; see `load_randomization`.
        time_limit: s; the task's own by default.
        render_mode: `rgb_array` for frames from `render()`.
        privileged: what is observed for critics alone; see `make_privileged`.

    Raises:
        ConfigurationError: a name, a setting or the combination is wrong; says what is allowed.
    """
    if not isinstance(robot, Robot):
        robot = make_robot(robot, backend, ros=ros, randomization=randomization)
    if isinstance(task, str):
        task = make_task(task, robot.spec, settings)
    try:
        from robot_rl.env import RobotEnv
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    camera = make_camera if render_mode else None
    return RobotEnv(_with_sight(robot, task), task, time_limit, render_mode, camera=camera, privileged=privileged)


def make_vector_env(
    robot: str | Path | RobotSpec | BatchRobot,
    task: str | Task,
    count: int = 2,
    settings: Mapping[str, Any] | None = None,
    *,
    backend: str = "mujoco",
    randomization: Randomization | None = None,
    threads: int | None = None,
    time_limit: float | None = None,
    privileged: Privileged | None = None,
) -> RobotVectorEnv:
    """Many copies of a robot with one task, stepped together on all cores; see `make_env`."""
    if not isinstance(robot, BatchRobot):
        robot = make_batch(robot, count, backend, threads, randomization=randomization)
    if isinstance(task, str):
        task = make_task(task, robot.spec, settings)
    try:
        from robot_rl.env import RobotVectorEnv
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    return RobotVectorEnv(_with_sight(robot, task), task, time_limit, privileged)


def _with_sight(robot: Any, task: Task) -> Any:
    """The robot, seeing where the task observes its camera."""
    if task.camera is None or "camera" in robot.provides:
        return robot
    try:
        from sim.camera import seeing
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    return seeing(robot, task.camera)


def make_privileged(task: Task, randomization: Randomization | None = None) -> Privileged:
    """What critics may know of a task in simulation; give it to the environment and to the learner alike.

    Args:
        task: as it is observed.
        randomization: what differs from episode to episode.
    """
    return Privileged.of(task, randomization.spread() if randomization else {})


def is_suite_task(name: str | None) -> bool:
    """Whether a name is that of a task of the dm_control suite, which brings its own body instead of a robot."""
    return name is not None and name.startswith(SUITE)


def suite_tasks() -> list[str]:
    """Names of all tasks of the dm_control suite."""
    return [SUITE + name for name in _suite().names()]


def make_suite_env(
    name: str,
    pixels: tuple[int, int] | None = None,
    camera: int = 0,
    render_mode: str | None = None,
    repeat: int = 1,
) -> SuiteEnv:
    """A task of the dm_control suite as a Gymnasium environment: `make_suite_env("dm_control/quadruped-walk")`.

    Args:
        name: as `suite_tasks` has it.
        pixels: height and width of a picture to observe instead of numbers.
        camera: of the pictures.
        render_mode: `rgb_array` for frames from `render()`.
        repeat: control steps of the suite for which an action is held.

    Raises:
        UnknownName: no such task; lists those that exist.
        ConfigurationError: the suite is not installed.
    """
    suite = _suite()
    return suite.SuiteEnv(name.removeprefix(SUITE), pixels, camera, render_mode, repeat)


def _suite() -> Any:
    try:
        return importlib.import_module("sim.suite")
    except ModuleNotFoundError as error:
        extra = "suite" if error.name and error.name.startswith(("dm_control", "dm_env")) else "train"
        raise missing_package(error, extra) from error
