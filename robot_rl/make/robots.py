"""Robots by name and by where they live: simulated in an engine, or behind ROS topics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.make.packages import missing_for_pybullet, missing_package
from robot_rl.robot import BatchRobot, Robot
from robot_rl.ros_spec import RosSettings
from robot_rl.spec import RobotSpec
from robot_rl.spec_file import load_robot

if TYPE_CHECKING:
    from sim.randomization import Randomization

SIMULATORS = ("mujoco", "pybullet")
"""Engines that a robot can be simulated in."""
BACKENDS = (*SIMULATORS, "ros")
"""Where a robot can live."""


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
            raise missing_for_pybullet(error) from error
        return PyBulletRobot(spec, noise=noise)
    try:
        from sim.mujoco_robot import MujocoRobot
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    return MujocoRobot(spec, noise=noise, randomization=randomization)


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
            raise missing_for_pybullet(error) from error
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


def hold_home(spec: RobotSpec, watch: Callable[[Robot], None] | None = None) -> Any:
    """What a robot does that is told to stay at home, in MuJoCo: `sim.home.AtHome`.

    Args:
        spec: the robot.
        watch: called with the simulated robot after every tick.

    Raises:
        ConfigurationError: the robot's model is wrong.
        RobotFault: the simulation diverged.
    """
    try:
        from sim.home import hold_home as hold
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    return hold(spec, watch)


def measured_legs(spec: RobotSpec) -> str:
    """The section `legs` of a robot's file as its model has them, YAML.

    Raises:
        ConfigurationError: the model is wrong, or the robot has no such legs.
    """
    try:
        from sim.legs import measured_legs as measure
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    return measure(spec)


def make_camera(robot: Robot) -> Any:
    """A camera that follows a simulated robot; calling it renders a frame, see `sim.render.Camera`."""
    from sim.render import Camera

    return Camera(robot)


def make_video(path: str | Path, rate: float) -> Any:
    """An MP4 file to `add` frames to and to `close`; `rate` in frames per second."""
    try:
        from sim.render import Video
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    return Video(path, rate)
