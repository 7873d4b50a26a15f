"""From names to objects. The only module that imports simulators, and only when asked."""

from __future__ import annotations

import importlib
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.joint_log import JointLog
from robot_rl.motion_log import MotionLog
from robot_rl.observation_settings import ObservationSettings
from robot_rl.privileged import Privileged
from robot_rl.robot import BatchRobot, Robot
from robot_rl.ros_spec import RosSettings
from robot_rl.settings import from_mapping
from robot_rl.spec import RobotSpec, load_robot
from robot_rl.task import Task
from robot_rl.tasks import TASKS

if TYPE_CHECKING:
    import gymnasium

    from hardware.bag import Bag
    from hardware.bag_replay import BagTransitions, ReplayReport
    from hardware.bag_timing import BagTiming
    from hardware.deployment import Deployment
    from hardware.doctor import Doctor
    from hardware.guard import Guard
    from hardware.pause_services import PauseServices
    from hardware.topic_tap import TopicRecording
    from hardware.twin import Twin
    from robot_rl.algorithms.learner import Learner
    from robot_rl.env import RobotEnv, RobotVectorEnv
    from sim.identified import Identification
    from sim.randomization import Randomization
    from sim.suite import SuiteEnv

SIMULATORS = ("mujoco", "pybullet")
"""Engines that a robot can be simulated in."""
BACKENDS = (*SIMULATORS, "ros")
"""Where a robot can live."""
SUITE = "dm_control/"
"""What names of tasks of the dm_control suite begin with."""


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


PARTED = ("sac",)
"""Algorithms for observations of several parts: pictures, and what only critics get."""


def missing_package(error: ModuleNotFoundError, extra: str) -> ConfigurationError:
    """What to tell a person whose installation lacks a package of an extra."""
    return ConfigurationError(
        f"the Python package {error.name!r} is not installed; install robot_rl with the extra {extra!r}: "
        f"pip install -c constraints.txt -e '.[{extra}]'"
    )


def robot_spec(robot: str | Path | RobotSpec) -> RobotSpec:
    """A spec as it is, or read by name or from a YAML file."""
    return robot if isinstance(robot, RobotSpec) else load_robot(robot)


def load_randomization(given: str | Path | Mapping[str, Any], robot: str | Path | RobotSpec) -> Randomization:
    """What differs from episode to episode in simulation; see `sim.randomization`.

    Args:
        given: name of a preset (`mild`, `strong`), path of a YAML file, or settings by term.
        robot: built-in name, path of a YAML file, or a spec.

    Raises:
        UnknownName: an unknown preset, term or setting.
        ConfigurationError: a value that cannot be, or a term that the robot has no part for.
    """
    try:
        from sim import randomization
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    return randomization.load_randomization(given, robot_spec(robot))


def make_robot(
    robot: str | Path | RobotSpec,
    backend: str = "mujoco",
    noise: bool = True,
    ros: RosSettings | None = None,
    randomization: Randomization | None = None,
) -> Robot:
    """A robot ready to reset.

    Args:
        robot: built-in name, path of a YAML file, or a spec.
        backend: where it lives; one of BACKENDS.
        noise: whether simulated sensors carry the spec's noise.
        ros: how to speak to a robot of backend `ros`.
        randomization: what differs from episode to episode, for the backend `mujoco`.

    Raises:
        UnknownName: no such robot or backend; lists those that exist.
        ConfigurationError: the robot's file or model is wrong.
        RobotFault: over ROS: the robot does not answer, or is commanded already.
    """
    spec = robot_spec(robot)
    _check_backend(backend)
    if ros is not None and backend != "ros":
        raise ConfigurationError(f"settings of ROS do not apply to the backend {backend!r}")
    _check_randomization(backend, randomization)
    if backend == "ros":
        try:
            from hardware.ros_robot import RosRobot
        except ModuleNotFoundError as error:
            raise missing_package(error, "ros") from error
        return RosRobot(spec, ros)
    if backend == "pybullet":
        try:
            from sim.pybullet_robot import PyBulletRobot
        except ModuleNotFoundError as error:
            raise _missing_for_pybullet(error) from error
        return PyBulletRobot(spec, noise=noise)
    try:
        from sim.mujoco_robot import MujocoRobot
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    return MujocoRobot(spec, noise=noise, randomization=randomization)


def _missing_for_pybullet(error: ModuleNotFoundError) -> ConfigurationError:
    if error.name != "pybullet":
        return missing_package(error, "train")
    return ConfigurationError(f"{missing_package(error, 'pybullet')} (there are wheels up to Python 3.11)")


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


def bag_joint_logs(bag: Bag, spec: RobotSpec) -> list[JointLog]:
    """What the joints were told and did in a bag's episodes; see `hardware.bag_joints`."""
    try:
        from hardware.bag_joints import joint_logs
    except ModuleNotFoundError as error:
        raise _missing_for_bags(error) from error
    return joint_logs(bag, spec)


def bag_motion_logs(bag: Bag, spec: RobotSpec, base: str | None = None) -> list[MotionLog]:
    """What a robot was told and did in a bag, with the moment of everything; see `hardware.bag_motion`."""
    try:
        from hardware.bag_motion import motion_logs
    except ModuleNotFoundError as error:
        raise _missing_for_bags(error) from error
    return motion_logs(bag, spec, base)


def excitation(spec: RobotSpec, base: str, seconds: float, amplitude: float | None = None, seed: int = 0) -> Any:
    """Commands that show what a robot is made of, (K, n) rad, one row a control tick; see `sim.excitation`.

    Args:
        spec: the robot.
        base: held or standing.
        seconds: how long.
        amplitude: rad held, ratio standing; the usual by default.
        seed: of the motion.
    """
    from sim import excitation

    kind = {"held": excitation.held_motion, "standing": excitation.standing_motion}[base]
    return kind(spec, seconds, seed=seed, **({} if amplitude is None else {"amplitude": amplitude}))


def excited_robot(
    spec: RobotSpec,
    base: str,
    backend: str = "mujoco",
    randomize: str | Mapping[str, Any] | None = None,
    ros: RosSettings | None = None,
) -> Robot:
    """A robot to be moved for an identification: held, it has no floating base, whichever its file says.

    Args:
        spec: the robot.
        base: held or standing.
        backend: see `make_robot`.
        randomize: how a simulated robot differs from its file; see `load_randomization`.
        ros: see `make_robot`.
    """
    try:
        from sim.mujoco_model import held_spec
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    spec = held_spec(spec) if base == "held" else spec
    return make_robot(spec, backend, ros=ros, randomization=load_randomization(randomize, spec) if randomize else None)


@dataclass(frozen=True)
class IdentifiedRobot:
    """What logs tell of a robot, and the file that training reads."""

    identification: Identification
    terms: Mapping[str, Any]
    yaml: str

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        found = self.identification
        names, correlation = found.correlation
        return {
            "robot": found.robot,
            "seconds": found.seconds,
            "parameters": [{**vars(one), "identified": one.identified} for one in found.found],
            "validation": [vars(one) for one in found.validation],
            "correlation": {"names": list(names), "matrix": correlation.tolist()},
            "randomize": dict(self.terms),
        }


def identify_robot(
    spec: RobotSpec,
    logs: Sequence[MotionLog],
    kinds: Sequence[str] | None = None,
    threads: int = 1,
    fixed: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> IdentifiedRobot:
    """Fits a robot's simulation to logs; see `sim.identification.identify`.

    Args:
        spec: the robot.
        logs: of it.
        kinds: what to identify; all that the logs may show by default.
        threads: simulations at once.
        fixed: whether the file has single numbers instead of distributions.
        progress: told what is done.
    """
    try:
        from sim.identification import identify
        from sim.identified_terms import terms_of, to_yaml
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    found = identify(spec, logs, kinds, threads, progress)
    sources = ", ".join(Path(log.source).name for log in logs)
    return IdentifiedRobot(found, terms_of(found, spec, fixed), to_yaml(found, spec, sources, fixed))


def bag_timing(bag: Bag) -> BagTiming:
    """The timing of the control loop that a bag was recorded with; see `hardware.bag_timing`."""
    from hardware.bag_timing import bag_timing

    return bag_timing(bag)


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
            return make_task(contract.task.name, spec, contract.task.settings, contract.observation_settings)
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
    robot: str | Path | RobotSpec,
    count: int,
    backend: str = "mujoco",
    threads: int | None = None,
    noise: bool = True,
    randomization: Randomization | None = None,
) -> BatchRobot:
    """Several copies of a robot that step together; `threads` None takes all cores, of which PyBullet uses one.

    See `make_robot`.
    """
    spec = robot_spec(robot)
    _check_backend(backend)
    if backend == "ros":
        raise ConfigurationError("several robots in step exist in simulation only; over ROS train one (robots: 1)")
    _check_randomization(backend, randomization)
    if backend == "pybullet":
        try:
            from sim.pybullet_batch import PyBulletBatch
        except ModuleNotFoundError as error:
            raise _missing_for_pybullet(error) from error
        return PyBulletBatch(spec, count, noise=noise)
    try:
        from sim.mujoco_batch import MujocoBatch
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    return MujocoBatch(spec, count, threads=threads, noise=noise, randomization=randomization)


def _check_randomization(backend: str, randomization: Randomization | None) -> None:
    if randomization is not None and backend != "mujoco":
        raise ConfigurationError(f"randomisation is for robots simulated by MuJoCo, not for the backend {backend!r}")


def _check_backend(backend: str) -> None:
    if backend not in BACKENDS:
        raise UnknownName.of("backend", backend, BACKENDS)


def is_suite_task(name: str | None) -> bool:
    """Whether a name is that of a task of the dm_control suite, which brings its own body instead of a robot."""
    return name is not None and name.startswith(SUITE)


def suite_tasks() -> list[str]:
    """Names of all tasks of the dm_control suite."""
    return [SUITE + name for name in _suite().names()]


def make_suite_env(
    name: str, pixels: tuple[int, int] | None = None, camera: int = 0, render_mode: str | None = None
) -> SuiteEnv:
    """A task of the dm_control suite as a Gymnasium environment: `make_suite_env("dm_control/quadruped-walk")`.

    Args:
        name: as `suite_tasks` has it.
        pixels: height and width of a picture to observe instead of numbers.
        camera: of the pictures.
        render_mode: `rgb_array` for frames from `render()`.

    Raises:
        UnknownName: no such task; lists those that exist.
        ConfigurationError: the suite is not installed.
    """
    suite = _suite()
    return suite.SuiteEnv(name.removeprefix(SUITE), pixels, camera, render_mode)


def _suite() -> Any:
    try:
        return importlib.import_module("sim.suite")
    except ModuleNotFoundError as error:
        extra = "suite" if error.name and error.name.startswith(("dm_control", "dm_env")) else "train"
        raise missing_package(error, extra) from error


def task_class(name: str) -> type[Task]:
    """The class of a task; raises UnknownName with those that exist."""
    if name not in TASKS:
        raise UnknownName.of("task", name, TASKS)
    return TASKS[name]


def task_settings_class(name: str) -> type | None:
    """The settings class of a task, or None where it has none."""
    if is_suite_task(name):
        return None
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


def make_camera(robot: Robot) -> Any:
    """A camera that follows a simulated robot; calling it renders a frame, see `sim.render.Camera`."""
    from sim.render import Camera

    return Camera(robot)


def make_learner(
    algorithm: str,
    task: Task | gymnasium.Env,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    privileged: Privileged | None = None,
    encoder: Mapping[str, Any] | None = None,
) -> Learner:
    """A learner for a task, its observations normalised by the typical values that the layout gives.

    Args:
        algorithm: one of ALGORITHMS.
        task: what it learns; or an environment without a robot, whose observations it takes as they are.
        settings: of the algorithm that differ from their defaults, by name.
        seed: of its weights and draws.
        privileged: what critics get beside; see `make_privileged`.
        encoder: settings of the network that looks at pictures, by name, where the task observes a camera.

    Raises:
        UnknownName: no such algorithm or setting; lists those that exist.
        ConfigurationError: the algorithm is not for pictures, or not for critics that know more.
    """
    known = algorithm_of(algorithm)
    chosen = from_mapping(known.load(known.settings), settings or {}, algorithm)
    if isinstance(task, Task) and (task.camera or privileged):
        return _parted_learner(algorithm, task, chosen, seed, privileged, encoder or {})
    from robot_rl.training.normalizer import Normalizer

    if isinstance(task, Task):
        sizes = (task.layout.size, task.spec.action.size)
        normalizer = Normalizer(task.layout.offset, task.layout.scale)
    else:
        shapes = (task.observation_space.shape, task.action_space.shape)
        if None in shapes or any(len(shape) != 1 for shape in shapes if shape is not None):
            raise ConfigurationError(f"a learner takes vectors of observations and actions, not shapes {shapes}")
        sizes = tuple(shape[0] for shape in shapes if shape is not None)  # type: ignore[assignment]
        normalizer = Normalizer.identity(sizes[0])
    return known.load(known.learner)(*sizes, chosen, seed, normalizer)


def _parted_learner(
    algorithm: str,
    task: Task,
    settings: Any,
    seed: int,
    privileged: Privileged | None,
    encoder: Mapping[str, Any],
) -> Learner:
    """The learner of observations of several parts."""
    if algorithm not in PARTED:
        raise ConfigurationError(
            f"algorithm {algorithm!r} has no use for a camera or for what only the simulation knows; "
            f"algorithms that have: {', '.join(PARTED)}"
        )
    import numpy as np

    from robot_rl.algorithms.encoder import EncoderSettings
    from robot_rl.algorithms.parted_sac import PartedSAC
    from robot_rl.training.normalizer import Normalizer

    parts = replace(task.parts, privileged=privileged.size if privileged else 0)
    middle = np.full(parts.pixels, 127.5)  # pixels to [-1, 1]
    more = (privileged.offset, privileged.scale) if privileged else (np.zeros(0), np.zeros(0))
    normalizer = Normalizer(
        np.concatenate([task.layout.offset, middle, more[0]]), np.concatenate([task.layout.scale, middle, more[1]])
    )
    looks = from_mapping(EncoderSettings, encoder, "encoder")
    return PartedSAC(parts, task.spec.action.size, settings, seed, normalizer, looks)


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
