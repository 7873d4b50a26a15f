"""Which topics tell of a robot's sensors, how each is read, and the state that they make together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from geometry_msgs.msg import WrenchStamped
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from sensor_msgs.msg import Imu, JointState

from hardware import messages
from robot_rl.arrays import frozen
from robot_rl.robot import RobotState
from robot_rl.spec import RobotSpec

Array = NDArray[np.floating]

IMU_SENSORS = ("orientation", "angular_velocity", "linear_acceleration")
BASE_SENSORS = ("base_position", "base_linear_velocity")
ODOMETRY_WAIT = 1.0
"""s to wait for odometry after everything else has come, before a robot counts as one without."""


class Source(NamedTuple):
    """One topic of a robot, and how a message of it is read."""

    topic: str
    """As in the robot's file."""
    kind: type
    read: Callable[[Any], Any]


def sources(spec: RobotSpec) -> dict[str, Source]:
    """The topics of a robot's sensors by a short name; odometry, where the base floats, whether it is needed or not."""
    ros, sensors = spec.ros, spec.sensors
    order = messages.JointOrder(spec.joint_names)
    found = {"joint_states": Source(ros.joint_states, JointState, partial(messages.read_joints, order=order))}
    if any(name in sensors for name in IMU_SENSORS):
        found["imu"] = Source(ros.imu, Imu, messages.read_imu)
    if "contacts" in sensors:
        for foot in spec.feet:
            found[f"contact {foot}"] = Source(ros.contacts.format(foot=foot), WrenchStamped, messages.read_contact)
    if "objects" in sensors:
        for name in spec.objects:
            found[f"object {name}"] = Source(ros.objects.format(object=name), Odometry, messages.read_object)
    if spec.base == "floating":
        found["odometry"] = Source(ros.odometry, Odometry, messages.read_base)
    return found


def state_of(spec: RobotSpec, stamp: float, values: Mapping[str, Any], applied: Array) -> RobotState:
    """One state of what was read.

    Args:
        spec: the robot.
        stamp: s.
        values: what `Source.read` gave, by the names of `sources`.
        applied: (n,), the command in force.
    """
    position, velocity, effort = values["joint_states"]
    found: dict[str, Any] = {
        "stamp": stamp,
        "joint_position": frozen(position),
        "joint_velocity": frozen(velocity),
        "joint_effort": None if effort is None else frozen(effort),
        "applied": applied,
    }
    if "imu" in values:
        parts = zip(("orientation_xyzw", "angular_velocity", "linear_acceleration"), values["imu"], strict=True)
        found |= {name: frozen(value) for name, value in parts}
    if "odometry" in values:
        found |= {name: frozen(v) for name, v in zip(BASE_SENSORS, values["odometry"], strict=True)}
    if "contacts" in spec.sensors:
        found["contacts"] = frozen(np.array([values[f"contact {foot}"] for foot in spec.feet]))
    if "objects" in spec.sensors:
        found["objects"] = {name: values[f"object {name}"] for name in spec.objects}
    return RobotState(**found)
