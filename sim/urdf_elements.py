"""The elements of a URDF file: links, joints and places, in as many digits as a float has."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import mujoco
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def add_joint(
    robot: ET.Element,
    name: str,
    kind: str,
    parent: str,
    child: str,
    position: Array,
    turn: Array,
    axis: Array | None = None,
    limits: dict[str, str] | None = None,
) -> None:
    """A joint between two links; `position` (3,) and `turn` (3, 3) of the child's frame in the parent's."""
    joint = ET.SubElement(robot, "joint", name=name, type=kind)
    add_origin(joint, position, turn)
    ET.SubElement(joint, "parent", link=parent)
    ET.SubElement(joint, "child", link=child)
    if axis is not None and limits is not None:
        ET.SubElement(joint, "axis", xyz=numbers(*axis))
        ET.SubElement(joint, "limit", limits)


def add_inertial(
    link: ET.Element,
    mass: float = 0.0,
    diagonal: Array | None = None,
    position: Array | None = None,
    turn: Array | None = None,
) -> None:
    """Mass and moments about principal axes at `position` (3,), turned by `turn` (3, 3); nothing by default."""
    inertial = ET.SubElement(link, "inertial")
    add_origin(inertial, np.zeros(3) if position is None else position, np.eye(3) if turn is None else turn)
    ET.SubElement(inertial, "mass", value=numbers(mass))
    moments = np.zeros(3) if diagonal is None else diagonal
    values = dict(zip(("ixx", "iyy", "izz"), map(numbers, moments), strict=True))
    ET.SubElement(inertial, "inertia", {**values, "ixy": "0", "ixz": "0", "iyz": "0"})


def add_origin(parent: ET.Element, position: Array, turn: Array) -> None:
    """A place (3,), m, and a rotation (3, 3)."""
    # R = Rz(yaw) Ry(pitch) Rx(roll). Each angle comes from what the ones before leave, so that nothing is lost where
    # the pitch is a right angle and yaw and roll turn about one axis.
    yaw = np.arctan2(turn[1, 0], turn[0, 0])
    rest = rotation_about(np.array([0.0, 0.0, 1.0]), -yaw) @ turn
    pitch = np.arctan2(-rest[2, 0], rest[0, 0])
    roll = np.arctan2(-rest[1, 2], rest[1, 1])
    ET.SubElement(parent, "origin", xyz=numbers(*position), rpy=numbers(roll, pitch, yaw))


def rotation_matrix(wxyz: Array) -> Array:
    """(3, 3) of a quaternion as MuJoCo orders it."""
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, np.asarray(wxyz, dtype=np.float64))
    return matrix.reshape(3, 3)


def rotation_about(axis: Array, angle: float) -> Array:
    """(3, 3) of a turn by `angle` rad about a unit vector."""
    quaternion = np.empty(4)
    mujoco.mju_axisAngle2Quat(quaternion, np.asarray(axis, dtype=np.float64), float(angle))
    return rotation_matrix(quaternion)


def numbers(*values: float) -> str:
    """Decimals that read back as the same floats."""
    return " ".join(repr(float(number)) for number in values)
