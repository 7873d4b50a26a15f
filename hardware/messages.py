"""ROS messages to arrays and back; pure functions, no node and no clock.

Joints are paired by name, never by position. What cannot be right is refused with InvalidInput: a message that names a
joint twice or lacks one, arrays of unequal length, numbers that are not finite.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import WrenchStamped
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Float64MultiArray, MultiArrayDimension
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from robot_rl import rotation
from robot_rl.errors import InvalidInput
from robot_rl.robot import ObjectState

Array = NDArray[np.floating]

NANOSECONDS = 1_000_000_000


def seconds(stamp: Time) -> float:
    """A stamp in s."""
    return stamp.sec + 1e-9 * stamp.nanosec


def stamp_of(time: float) -> Time:
    """The stamp of a time in s, to the nanosecond."""
    whole = round(time * NANOSECONDS)
    return Time(sec=whole // NANOSECONDS, nanosec=whole % NANOSECONDS)


class JointOrder:
    """Brings the joints of a message into the order of the robot's spec.

    A message may name joints in any order and may have others besides. The order of the last message is remembered, for
    a robot hardly ever changes it.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Args: names: of the robot's joints, in the order wanted."""
        self.names = tuple(names)
        self._given: list[str] = []
        self._index: NDArray[np.intp] = np.zeros(0, dtype=np.intp)

    def index(self, given: Sequence[str]) -> NDArray[np.intp]:
        """Where each joint lies in the message, (n,).

        Raises:
            InvalidInput: a joint is missing or named twice.
        """
        if given != self._given:
            if len(set(given)) != len(given):
                twice = sorted({name for name in given if given.count(name) > 1})
                raise InvalidInput(f"names joints twice: {', '.join(twice)}")
            missing = [name for name in self.names if name not in given]
            if missing:
                raise InvalidInput(f"lacks the joints {', '.join(missing)}; it names: {', '.join(given) or 'none'}")
            self._index = np.array([given.index(name) for name in self.names])
            self._given = list(given)
        return self._index

    def ordered(self, label: str, given: Sequence[str], values: Sequence[float]) -> Array:
        """The numbers that a message has of its joints, (n,), in the order wanted.

        Args:
            label: what they are, for messages.
            given: names of the message's joints.
            values: one for each of them.

        Raises:
            InvalidInput: a joint is missing or named twice, a number is missing or not finite.
        """
        index = self.index(given)
        if len(values) != len(given):
            raise InvalidInput(f"has {len(values)} numbers of {label} for {len(given)} joints")
        ordered = np.array(values, dtype=np.float64)[index]
        if not math.isfinite(ordered.dot(ordered)):
            bad = [name for name, value in zip(self.names, ordered, strict=True) if not math.isfinite(value)]
            raise InvalidInput(f"has a {label} that is not finite: {', '.join(bad)}")
        return ordered


def read_joints(message: JointState, order: JointOrder) -> tuple[Array, Array, Array | None]:
    """Position (n,) in rad, velocity (n,) in rad/s and effort (n,) in N m, None where the message has none.

    Raises:
        InvalidInput: joints missing, twice, or numbers missing or not finite.
    """
    names = message.name
    position = order.ordered("position", names, message.position)
    velocity = order.ordered("velocity", names, message.velocity)
    effort = order.ordered("effort", names, message.effort) if len(message.effort) else None
    return position, velocity, effort


def write_joints(time: float, names: Sequence[str], position: Array, velocity: Array, effort: Array) -> JointState:
    """The message of joint readings, each (n,)."""
    message = JointState()
    message.header.stamp = stamp_of(time)
    message.name = list(names)
    message.position = array("d", position.tolist())
    message.velocity = array("d", velocity.tolist())
    message.effort = array("d", effort.tolist())
    return message


def read_imu(message: Imu) -> tuple[Array, Array, Array]:
    """Orientation (4,) xyzw, angular velocity (3,) in rad/s and linear acceleration (3,) in m/s^2, both in the body.

    Raises:
        InvalidInput: a number is not finite, or the quaternion is not of length 1.
    """
    q, w, a = message.orientation, message.angular_velocity, message.linear_acceleration
    return (
        _quaternion((q.x, q.y, q.z, q.w)),
        _vector((w.x, w.y, w.z), "angular velocity"),
        _vector((a.x, a.y, a.z), "linear acceleration"),
    )


def write_imu(
    time: float, frame: str, orientation: Array, angular_velocity: Array, linear_acceleration: Array | None
) -> Imu:
    """The message of an IMU's readings; without an accelerometer its covariance says so, as REP 145 asks."""
    message = Imu()
    message.header.stamp = stamp_of(time)
    message.header.frame_id = frame
    _put(message.orientation, "xyzw", orientation)
    _put(message.angular_velocity, "xyz", angular_velocity)
    if linear_acceleration is None:
        message.linear_acceleration_covariance[0] = -1.0
    else:
        _put(message.linear_acceleration, "xyz", linear_acceleration)
    return message


def read_base(message: Odometry) -> tuple[Array, Array]:
    """Position (3,) in m in the world and linear velocity (3,) in m/s in the base frame.

    Raises:
        InvalidInput: a number is not finite.
    """
    p, v = message.pose.pose.position, message.twist.twist.linear
    return _vector((p.x, p.y, p.z), "position"), _vector((v.x, v.y, v.z), "velocity")


def write_base(
    time: float, position: Array, orientation: Array, linear_velocity: Array, angular_velocity: Array
) -> Odometry:
    """The message of the base's motion, frames odom and base; velocities in the base frame."""
    return _odometry(time, "odom", "base", position, orientation, linear_velocity, angular_velocity)


def read_object(message: Odometry) -> ObjectState:
    """Where an object is and how it moves, all in the world frame.

    Raises:
        InvalidInput: a number is not finite, or the quaternion is not of length 1.
    """
    p, q = message.pose.pose.position, message.pose.pose.orientation
    v, w = message.twist.twist.linear, message.twist.twist.angular
    orientation = _quaternion((q.x, q.y, q.z, q.w))
    return ObjectState(
        position=_vector((p.x, p.y, p.z), "position"),
        orientation_xyzw=orientation,
        linear_velocity=rotation.rotate(orientation, _vector((v.x, v.y, v.z), "velocity")),
        angular_velocity=rotation.rotate(orientation, _vector((w.x, w.y, w.z), "angular velocity")),
    )


def write_object(time: float, name: str, state: ObjectState) -> Odometry:
    """The message of an object's motion; its twist is in the object's own frame, as nav_msgs/Odometry has it."""
    q = state.orientation_xyzw
    linear, angular = (rotation.rotate_inverse(q, v) for v in (state.linear_velocity, state.angular_velocity))
    return _odometry(time, "world", name, state.position, q, linear, angular)


def read_contact(message: WrenchStamped) -> float:
    """Normal force of one foot, N.

    Raises:
        InvalidInput: not finite.
    """
    force = message.wrench.force.z
    if not math.isfinite(force):
        raise InvalidInput(f"has a force that is not finite: {force}")
    return force


def write_contact(time: float, foot: str, force: float) -> WrenchStamped:
    """The message of one foot's normal force, N."""
    message = WrenchStamped()
    message.header.stamp = stamp_of(time)
    message.header.frame_id = foot
    message.wrench.force.z = float(force)
    return message


def write_command(values: Array, answered: float) -> Float64MultiArray:
    """A command in the robot's joint order.

    A Float64MultiArray has no stamp, and controllers do not look at its layout. So the label of its dimension tells the
    stamp of the state that the command answers; a simulator that waits for commands goes by it.

    Args:
        values: (n,), in the unit of the controller.
        answered: s, stamp of that state.
    """
    message = Float64MultiArray()
    message.layout.dim = [MultiArrayDimension(label=f"{answered:.9f}", size=len(values), stride=len(values))]
    message.data = array("d", values.tolist())
    return message


def write_trajectory(names: Sequence[str], position: Array, answered: float, duration: float) -> JointTrajectory:
    """A trajectory of one point to be reached after `duration` s; its stamp stays zero, which means at once.

    Args:
        names: of the joints.
        position: (n,), rad.
        answered: s, stamp of the state that the command answers; goes into the frame's name, where no controller looks.
        duration: s.
    """
    message = JointTrajectory()
    message.header.frame_id = f"{answered:.9f}"
    message.joint_names = list(names)
    whole = stamp_of(duration)
    point = JointTrajectoryPoint()
    point.positions = array("d", position.tolist())
    point.time_from_start.sec, point.time_from_start.nanosec = whole.sec, whole.nanosec
    message.points = [point]
    return message


def read_command(message: Float64MultiArray, count: int) -> tuple[Array, float | None]:
    """A command (n,), and the stamp of the state it answers where it tells.

    Raises:
        InvalidInput: another length, or not finite.
    """
    label = message.layout.dim[0].label if message.layout.dim else ""
    return _command(message.data, count), _answered(label)


def read_trajectory(message: JointTrajectory, order: JointOrder) -> tuple[Array, float | None]:
    """The first point of a trajectory, (n,) in rad, and the stamp of the state it answers where it tells.

    Raises:
        InvalidInput: joints missing, no point, another length, or not finite.
    """
    if not message.points:
        raise InvalidInput("has no point")
    index = order.index(message.joint_names)
    position = _command(message.points[0].positions, len(message.joint_names))[index]
    return position, _answered(message.header.frame_id)


def _command(values: Sequence[float], count: int) -> Array:
    command = np.array(values, dtype=np.float64)
    if command.shape != (count,):
        raise InvalidInput(f"has {len(values)} numbers for {count} joints")
    if not math.isfinite(command.dot(command)):
        raise InvalidInput("has numbers that are not finite")
    return command


def _answered(label: str) -> float | None:
    try:
        return float(label)
    except ValueError:
        return None


def _odometry(
    time: float, frame: str, child: str, position: Array, orientation: Array, linear: Array, angular: Array
) -> Odometry:
    message = Odometry()
    message.header.stamp = stamp_of(time)
    message.header.frame_id = frame
    message.child_frame_id = child
    _put(message.pose.pose.position, "xyz", position)
    _put(message.pose.pose.orientation, "xyzw", orientation)
    _put(message.twist.twist.linear, "xyz", linear)
    _put(message.twist.twist.angular, "xyz", angular)
    return message


def _put(part: Any, names: str, values: Array) -> None:
    for name, value in zip(names, values.tolist(), strict=True):
        setattr(part, name, value)


def _vector(values: tuple[float, ...], what: str) -> Array:
    if not math.isfinite(sum(v * v for v in values)):
        raise InvalidInput(f"has a {what} that is not finite: {values}")
    return np.array(values)


def _quaternion(values: tuple[float, ...]) -> Array:
    length = math.sqrt(sum(v * v for v in values))
    if not abs(length - 1.0) < 1e-2:
        raise InvalidInput(f"has an orientation that is no unit quaternion: {values}")
    return np.array(values) / length
