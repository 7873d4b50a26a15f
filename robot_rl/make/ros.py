"""Programs around a robot over ROS 2: twin, policy node, guard, doctor, recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robot_rl.errors import ConfigurationError
from robot_rl.make.environments import make_task
from robot_rl.make.packages import missing_for_bags, missing_package
from robot_rl.make.robots import make_robot, robot_spec
from robot_rl.robot import Robot
from robot_rl.spec import RobotSpec
from robot_rl.task import Task

if TYPE_CHECKING:
    from hardware.deployment import Deployment
    from hardware.doctor import Doctor
    from hardware.guard import Guard
    from hardware.pause_services import PauseServices
    from hardware.topic_tap import TopicRecording
    from hardware.twin import Twin


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
        raise missing_for_bags(error) from error
    return TopicRecording(folder, robot_spec(robot), namespace, topics, everything, part)


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
