"""From names to objects. The only module that imports simulators, and only when asked."""

from __future__ import annotations

import importlib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.robot import BatchRobot, Robot
from robot_rl.ros_spec import RosSettings
from robot_rl.settings import from_mapping
from robot_rl.spec import RobotSpec, load_robot
from robot_rl.task import Task
from robot_rl.tasks import TASKS

if TYPE_CHECKING:
    from hardware.bag import Bag
    from hardware.bag_replay import BagTransitions, ReplayReport
    from hardware.deployment import Deployment
    from hardware.doctor import Doctor
    from hardware.guard import Guard
    from hardware.pause_services import PauseServices
    from hardware.topic_tap import TopicRecording
    from hardware.twin import Twin
    from robot_rl.algorithms.learner import Learner
    from robot_rl.env import RobotEnv, RobotVectorEnv

BACKENDS = ("mujoco", "ros")
"""Where a robot can live."""


@dataclass(frozen=True)
class Algorithm:
    """Where a learner is found; torch is imported with it, so not before it is needed."""

    module: str
    learner: str
    settings: str
    description: str

    def load(self, name: str) -> Any:
        """A member of the algorithm's module."""
        try:
            return getattr(importlib.import_module(self.module), name)
        except ModuleNotFoundError as error:
            raise missing_package(error, "train") from error


ALGORITHMS: Mapping[str, Algorithm] = {
    "sac": Algorithm(
        "robot_rl.algorithms.sac", "SAC", "SACSettings", "soft actor-critic, twin critics, automatic temperature"
    ),
    "sac_value": Algorithm(
        "robot_rl.algorithms.sac_value",
        "SACValue",
        "SACValueSettings",
        "soft actor-critic as first published: a value network, one critic (v1) or two (v2), a reward scale",
    ),
    "soft_q": Algorithm(
        "robot_rl.algorithms.soft_q",
        "SoftQ",
        "SoftQSettings",
        "soft Q-learning: a sampler network that follows exp(Q / alpha), for policies of several modes",
    ),
    "td3": Algorithm(
        "robot_rl.algorithms.td3", "TD3", "TD3Settings", "DDPG with twin critics, a delayed actor, smoothed targets"
    ),
    "ddpg": Algorithm(
        "robot_rl.algorithms.ddpg", "DDPG", "DDPGSettings", "a deterministic actor that climbs its critic"
    ),
    "ppo": Algorithm(
        "robot_rl.algorithms.ppo", "PPO", "PPOSettings", "proximal policy optimisation, clipped or with a price on KL"
    ),
    "trpo": Algorithm(
        "robot_rl.algorithms.trpo", "TRPO", "TRPOSettings", "natural gradient steps that keep to a limit of KL"
    ),
    "npg": Algorithm("robot_rl.algorithms.npg", "NPG", "NPGSettings", "natural policy gradient with steps of given KL"),
    "acktr": Algorithm(
        "robot_rl.algorithms.acktr",
        "ACKTR",
        "ACKTRSettings",
        "natural gradient of actor and critic by Kronecker factors, within a trust region",
    ),
    "a3c": Algorithm(
        "robot_rl.algorithms.a3c", "A3C", "A3CSettings", "processes with a robot each that share one policy"
    ),
    "reinforce": Algorithm(
        "robot_rl.algorithms.reinforce",
        "Reinforce",
        "ReinforceSettings",
        "policy gradient with a critic and entropy, or its importance-sampled surrogate",
    ),
}


def missing_package(error: ModuleNotFoundError, extra: str) -> ConfigurationError:
    """What to tell a person whose installation lacks a package of an extra."""
    return ConfigurationError(
        f"the Python package {error.name!r} is not installed; install robot_rl with the extra {extra!r}: "
        f"pip install -c constraints.txt -e '.[{extra}]'"
    )


def robot_spec(robot: str | Path | RobotSpec) -> RobotSpec:
    """A spec as it is, or read by name or from a YAML file."""
    return robot if isinstance(robot, RobotSpec) else load_robot(robot)


def make_robot(
    robot: str | Path | RobotSpec, backend: str = "mujoco", noise: bool = True, ros: RosSettings | None = None
) -> Robot:
    """A robot ready to reset.

    Args:
        robot: built-in name, path of a YAML file, or a spec.
        backend: where it lives; one of BACKENDS.
        noise: whether simulated sensors carry the spec's noise.
        ros: how to speak to a robot of backend `ros`.

    Raises:
        UnknownName: no such robot or backend; lists those that exist.
        ConfigurationError: the robot's file or model is wrong.
        RobotFault: over ROS: the robot does not answer, or is commanded already.
    """
    spec = robot_spec(robot)
    _check_backend(backend)
    if ros is not None and backend != "ros":
        raise ConfigurationError(f"settings of ROS do not apply to the backend {backend!r}")
    if backend == "ros":
        try:
            from hardware.ros_robot import RosRobot
        except ModuleNotFoundError as error:
            raise missing_package(error, "ros") from error
        return RosRobot(spec, ros)
    try:
        from sim.mujoco_robot import MujocoRobot
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    return MujocoRobot(spec, noise=noise)


def make_twin(
    robot: str | Path | RobotSpec,
    namespace: str = "",
    lock_step: bool = False,
    rate: float | None = None,
    speed: float = 1.0,
    seed: int = 0,
    odometry: bool = True,
) -> Twin:
    """A simulated robot behind ROS topics; see `hardware.twin`.

    Args:
        robot: built-in name, path of a YAML file, or a spec.
        namespace: before all relative topic names.
        lock_step: whether it waits for a command after each reading.
        rate: Hz of its readings, where it does not wait; divides the physics rate.
        speed: of its clock against the wall's.
        seed: of sensor noise and random faults.
        odometry: whether it sends that topic; without it, its user estimates the base's motion from the legs.
    """
    spec = robot_spec(robot)
    try:
        from hardware.twin import Twin, TwinSettings, twin_spec
    except ModuleNotFoundError as error:
        raise missing_package(error, "ros") from error
    simulated = make_robot(twin_spec(spec, lock_step, rate))
    return Twin(simulated, spec, TwinSettings(namespace, lock_step, speed, seed, odometry))


def make_doctor(
    robot: str | Path | RobotSpec,
    namespace: str = "",
    lock_step: bool = False,
    seconds: float = 2.0,
    amplitude: float = 0.08,
) -> Doctor:
    """An examination of whatever answers on a robot's topics; see `hardware.doctor`.

    Args:
        robot: built-in name, path of a YAML file, or a spec.
        namespace: before all relative topic names.
        lock_step: whether the other side is a simulator that waits for each command.
        seconds: of listening before anything moves.
        amplitude: rad, of each bend.
    """
    spec = robot_spec(robot)
    try:
        from hardware.doctor import Doctor, DoctorSettings
    except ModuleNotFoundError as error:
        raise missing_package(error, "ros") from error
    return Doctor(spec, DoctorSettings(namespace, lock_step, seconds, amplitude))


def make_recording(
    folder: str | Path,
    robot: str | Path | RobotSpec,
    namespace: str = "",
    topics: Sequence[str] = (),
    everything: bool = False,
    part: float = 60.0,
) -> TopicRecording:
    """A recording of a robot's topics into a bag; see `hardware.topic_tap`."""
    try:
        from hardware.topic_tap import TopicRecording
    except ModuleNotFoundError as error:
        raise _missing_for_bags(error) from error
    return TopicRecording(folder, robot_spec(robot), namespace, topics, everything, part)


def open_bag(path: str | Path) -> Bag:
    """A bag to read; raises ConfigurationError where there is none."""
    try:
        from hardware.bag import Bag
    except ModuleNotFoundError as error:
        raise _missing_for_bags(error) from error
    return Bag(path)


def bag_transitions(
    bags: Sequence[Bag], task: Task, goal: Sequence[float] | None = None
) -> tuple[BagTransitions, ReplayReport]:
    """What a task makes of recorded episodes, with their own goals or a given one; see `hardware.bag_replay`."""
    import numpy as np

    try:
        from hardware.bag_replay import transitions
    except ModuleNotFoundError as error:
        raise _missing_for_bags(error) from error
    return transitions(bags, task, None if goal is None else np.array(goal, dtype=np.float64))


def _missing_for_bags(error: ModuleNotFoundError) -> ConfigurationError:
    return missing_package(error, "bags" if error.name and error.name.startswith("rosbags") else "ros")


def make_pause_services(robot: Robot) -> PauseServices:
    """Services `train/pause` and `train/resume` beside a robot over ROS."""
    from hardware.pause_services import PauseServices
    from hardware.ros_robot import RosRobot

    assert isinstance(robot, RosRobot)
    return PauseServices(robot.node)


def make_deployment(parameters: Mapping[str, Any], namespace: str = "") -> Deployment:
    """A policy node in this process, unconfigured; see `hardware.policy_node`.

    Args:
        parameters: of the node, by name.
        namespace: before all relative topic names.
    """
    try:
        from hardware.deployment import Deployment
    except ModuleNotFoundError as error:
        raise missing_package(error, "ros") from error

    def task_of(contract: Any, spec: RobotSpec) -> Task | None:
        try:
            return make_task(contract.task.name, spec, contract.task.settings)
        except ConfigurationError:  # a task from elsewhere runs as well; it is only not measured
            return None

    return Deployment(parameters, namespace, task_of)


def make_guard(robot: str | Path | RobotSpec, namespace: str = "", estop_button: int = 1) -> Guard:
    """A watchdog between a policy and a robot's motor controller; see `hardware.guard`."""
    try:
        from hardware.guard import Guard
    except ModuleNotFoundError as error:
        raise missing_package(error, "ros") from error
    return Guard(robot_spec(robot), namespace, estop_button)


def make_batch(
    robot: str | Path | RobotSpec, count: int, backend: str = "mujoco", threads: int | None = None, noise: bool = True
) -> BatchRobot:
    """Several copies of a robot that step together; `threads` None takes all cores. See `make_robot`."""
    spec = robot_spec(robot)
    _check_backend(backend)
    if backend == "ros":
        raise ConfigurationError("several robots in step exist in simulation only; over ROS train one (robots: 1)")
    try:
        from sim.mujoco_batch import MujocoBatch
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    return MujocoBatch(spec, count, threads=threads, noise=noise)


def _check_backend(backend: str) -> None:
    if backend not in BACKENDS:
        raise UnknownName.of("backend", backend, BACKENDS)


def task_class(name: str) -> type[Task]:
    """The class of a task; raises UnknownName with those that exist."""
    if name not in TASKS:
        raise UnknownName.of("task", name, TASKS)
    return TASKS[name]


def task_settings_class(name: str) -> type | None:
    """The settings class of a task, or None where it has none."""
    hint = typing.get_type_hints(task_class(name).__init__).get("settings")
    kinds = [kind for kind in typing.get_args(hint) or (hint,) if kind is not type(None)]
    return kinds[0] if kinds and kinds[0] is not None else None


def make_task(name: str, robot: str | Path | RobotSpec, settings: Mapping[str, Any] | None = None) -> Task:
    """A task for a robot.

    Args:
        name: one of `robot_rl.tasks.TASKS`.
        robot: built-in name, path of a YAML file, or a spec.
        settings: the task's settings that differ from their defaults, by name.

    Raises:
        UnknownName: no such task or setting; lists those that exist.
        MissingSensor: the task observes what the robot lacks.
    """
    kind, spec = task_class(name), robot_spec(robot)
    settings_class = task_settings_class(name)
    if settings_class is None:
        if settings:
            raise ConfigurationError(f"task {name!r} has no settings, got: {', '.join(settings)}")
        return kind(spec)
    return kind(spec, from_mapping(settings_class, settings or {}, "task"))  # type: ignore[call-arg]


def make_env(
    robot: str | Path | RobotSpec | Robot,
    task: str | Task,
    settings: Mapping[str, Any] | None = None,
    *,
    backend: str = "mujoco",
    ros: RosSettings | None = None,
    time_limit: float | None = None,
    render_mode: str | None = None,
) -> RobotEnv:
    """A robot with a task as a Gymnasium environment: `make_env("go2", "walk")`.

    Args:
        robot: built-in name, path of a YAML file, a spec, or a robot that is already there.
        task: name, or a task made for the same robot.
        settings: of the task, where it is given by name.
        backend: where the robot lives, where it is not given.
        ros: how to speak to a robot of backend `ros`.
        time_limit: s; the task's own by default.
        render_mode: `rgb_array` for frames from `render()`.

    Raises:
        ConfigurationError: a name, a setting or the combination is wrong; says what is allowed.
    """
    if not isinstance(robot, Robot):
        robot = make_robot(robot, backend, ros=ros)
    if isinstance(task, str):
        task = make_task(task, robot.spec, settings)
    try:
        from robot_rl.env import RobotEnv
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    return RobotEnv(robot, task, time_limit, render_mode, camera=make_camera if render_mode else None)


def make_vector_env(
    robot: str | Path | RobotSpec | BatchRobot,
    task: str | Task,
    count: int = 2,
    settings: Mapping[str, Any] | None = None,
    *,
    backend: str = "mujoco",
    threads: int | None = None,
    time_limit: float | None = None,
) -> RobotVectorEnv:
    """Many copies of a robot with one task, stepped together on all cores; see `make_env`."""
    if not isinstance(robot, BatchRobot):
        robot = make_batch(robot, count, backend, threads)
    if isinstance(task, str):
        task = make_task(task, robot.spec, settings)
    try:
        from robot_rl.env import RobotVectorEnv
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    return RobotVectorEnv(robot, task, time_limit)


def make_camera(robot: Robot) -> Any:
    """A camera that follows a simulated robot; calling it renders a frame, see `sim.render.Camera`."""
    from sim.render import Camera

    return Camera(robot)


def make_learner(algorithm: str, task: Task, settings: Mapping[str, Any] | None = None, seed: int = 0) -> Learner:
    """A learner for a task, its observations normalised by the typical values that the layout gives.

    Raises:
        UnknownName: no such algorithm or setting; lists those that exist.
    """
    known = algorithm_of(algorithm)
    chosen = from_mapping(known.load(known.settings), settings or {}, algorithm)
    from robot_rl.training.normalizer import Normalizer

    layout = task.layout
    normalizer = Normalizer(layout.offset, layout.scale)
    return known.load(known.learner)(layout.size, task.spec.action.size, chosen, seed, normalizer)


def algorithm_of(name: str) -> Algorithm:
    """An algorithm by name; raises UnknownName with those that exist."""
    if name not in ALGORITHMS:
        raise UnknownName.of("algorithm", name, ALGORITHMS)
    return ALGORITHMS[name]


def make_video(path: str | Path, rate: float) -> Any:
    """An MP4 file to `add` frames to and to `close`; `rate` in frames per second."""
    try:
        from sim.render import Video
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    return Video(path, rate)
