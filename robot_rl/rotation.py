"""Rotations as unit quaternions in xyzw order; the only place that reorders quaternions.

ROS, PyBullet and SciPy write xyzw, MuJoCo writes wxyz. Inside this project every quaternion is xyzw and turns vectors
of the body frame into the world frame. All functions take any leading batch shape.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_rl.arrays import arctan2, components, from_components

Array = NDArray[np.floating]

WXYZ_TO_XYZW = (1, 2, 3, 0)
"""Where each component of an xyzw quaternion lies in a wxyz one."""
_YZX, _ZXY = np.array([1, 2, 0]), np.array([2, 0, 1])


def from_wxyz(quaternion: Array) -> Array:
    """Reorders (..., 4) from wxyz to xyzw."""
    return quaternion[..., WXYZ_TO_XYZW]


def to_wxyz(quaternion: Array) -> Array:
    """Reorders (..., 4) from xyzw to wxyz."""
    return quaternion[..., [3, 0, 1, 2]]


def gravity_in_body(quaternion: Array) -> Array:
    """Direction of gravity seen from the body.

    Args:
        quaternion: body orientation, xyzw, (..., 4).

    Returns:
        Unit vector in the body frame, (..., 3); (0, 0, -1) when upright.
    """
    return from_components(down(*components(quaternion)))


def rotate(quaternion: Array, vector: Array) -> Array:
    """Turns a body-frame vector (..., 3) into the world frame by an xyzw quaternion (..., 4)."""
    return from_components(turned(*components(quaternion), *components(vector)))


def rotate_inverse(quaternion: Array, vector: Array) -> Array:
    """Turns a world-frame vector (..., 3) into the body frame by an xyzw quaternion (..., 4)."""
    x, y, z, w = components(quaternion)
    return from_components(turned(-x, -y, -z, w, *components(vector)))


def turned(x: Any, y: Any, z: Any, w: Any, a: Any, b: Any, c: Any) -> tuple[Any, Any, Any]:
    """The vector (a, b, c) turned by the quaternion (x, y, z, w), by component: numbers or arrays of one shape."""
    # v + w t + q x t with t = 2 q x v.
    t0, t1, t2 = 2.0 * (y * c - z * b), 2.0 * (z * a - x * c), 2.0 * (x * b - y * a)
    return a + w * t0 + y * t2 - z * t1, b + w * t1 + z * t0 - x * t2, c + w * t2 + x * t1 - y * t0


def down(x: Any, y: Any, z: Any, w: Any) -> tuple[Any, Any, Any]:
    """The components of `gravity_in_body`: minus the third row of the rotation matrix."""
    return 2.0 * (w * y - x * z), -2.0 * (y * z + w * x), 2.0 * (x * x + y * y) - 1.0


def multiply(left: Array, right: Array) -> Array:
    """Composes two rotations: `right` first, then `left`; xyzw, (..., 4)."""
    ax, ay, az, aw = components(left)
    bx, by, bz, bw = components(right)
    return from_components(
        (
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        )
    )


def conjugate(quaternion: Array) -> Array:
    """Inverse rotation of a unit quaternion xyzw, (..., 4)."""
    return quaternion * np.array([-1.0, -1.0, -1.0, 1.0])


def yaw(quaternion: Array) -> Array:
    """Heading about the world's vertical in rad, (...,), in (-pi, pi]."""
    x, y, z, w = components(quaternion)
    return arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


def from_yaw(angle: Array | float) -> Array:
    """Quaternion xyzw (..., 4) of a turn about the vertical by `angle` rad (...,)."""
    half = 0.5 * np.asarray(angle, dtype=float)
    zero = np.zeros_like(half)
    return np.stack([zero, zero, np.sin(half), np.cos(half)], axis=-1)


def cross(left: Array, right: Array) -> Array:
    """Cross product of vectors (..., 3); for few vectors a small part of the time of NumPy's."""
    return left.take(_YZX, -1) * right.take(_ZXY, -1) - left.take(_ZXY, -1) * right.take(_YZX, -1)


def wrap(angle: Array) -> Array:
    """Wraps rad to [-pi, pi)."""
    return (angle + np.pi) % (2.0 * np.pi) - np.pi
