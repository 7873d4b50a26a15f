"""Where the feet are, from joint positions alone: the `legs` section of a robot's file, without a simulator.

Two kinds of leg: a chain of hinges, and a five-bar of two motors at one hip whose lower links meet in the foot. Frames:
x forward, y left, z up; everything is seen from the base. Arrays have any leading batch shape, written `...`; n is the
number of the robot's joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from robot_rl import rotation
from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.section import Section

Array = NDArray[np.floating]

class Feet(NamedTuple):
    """Where the centres of the feet are and how the joints move them; base frame."""

    position: Array
    """(..., feet, 3), m."""
    jacobian: Array
    """(..., feet, 3, n), m/rad: velocity of a centre = jacobian @ joint_velocity."""
    turning: Array
    """(..., feet, 3, n): angular velocity of a foot's link = turning @ joint_velocity."""


class Legs(Protocol):
    """All legs of one robot, in the order of its feet; each foot is a ball."""

    @property
    def feet(self) -> tuple[str, ...]:
        """Their names."""

    @property
    def joints(self) -> NDArray[np.intp]:
        """(feet, k), which of the robot's joints move each foot."""

    @property
    def radius(self) -> Array:
        """(feet,), m, of the balls."""

    def kinematics(self, joint_position: Array) -> Feet:
        """The feet for joint positions (..., n) in rad."""


@dataclass(frozen=True)
class SerialLegs:
    """Hinges one after the other, as many in each leg."""

    feet: tuple[str, ...]
    radius: Array
    joints: NDArray[np.intp]
    """From the base outwards."""
    origins: Array
    """(feet, k, 3), m, of each hinge in the frame of the one before."""
    axes: Array
    """(feet, k, 3), unit axis of each hinge, in the same frame."""
    tips: Array
    """(feet, 3), m, of the foot's centre in the frame of the last hinge."""

    def kinematics(self, joint_position: Array) -> Feet:
        """See `Legs`."""
        turns = self._turns(joint_position[..., self.joints])  # (..., feet, k, 3, 3)
        hinges, axes = np.empty(turns.shape[:-1]), np.empty(turns.shape[:-1])  # (..., feet, k, 3)
        frame, place = turns[..., 0, :, :], self.origins[:, 0]
        hinges[..., 0, :], axes[..., 0, :] = place, self.axes[:, 0]
        for k in range(1, self.joints.shape[1]):
            place = place + _times(frame, self.origins[:, k])
            hinges[..., k, :], axes[..., k, :] = place, _times(frame, self.axes[:, k])
            frame = frame @ turns[..., k, :, :]
        centre = place + _times(frame, self.tips)
        jacobian = rotation.cross(axes, centre[..., None, :] - hinges)
        n = joint_position.shape[-1]
        return Feet(centre, _by_joint(jacobian, self.joints, n), _by_joint(axes, self.joints, n))

    def _turns(self, angles: Array) -> Array:
        """Rotation of each hinge, (..., feet, k, 3, 3)."""
        skew, square = self._generators
        # Rodrigues: R = 1 + sin(q) K + (1 - cos(q)) K^2
        return np.eye(3) + np.sin(angles)[..., None, None] * skew + (1.0 - np.cos(angles))[..., None, None] * square

    @cached_property
    def _generators(self) -> tuple[Array, Array]:
        skew = np.cross(np.eye(3), self.axes[..., None, :])  # K v = axis x v
        return skew, skew @ skew


@dataclass(frozen=True)
class FiveBarLegs:
    """Two motors on one axis along y turn an upper link each; the lower links are of one length and meet in the foot.

    Angles of links are counted about y from straight up: a link of angle t points along u(t) = (sin t, 0, cos t).
    """

    feet: tuple[str, ...]
    radius: Array
    joints: NDArray[np.intp]
    """(feet, 2); the motor to whose lower link the foot is fixed comes first."""
    signs: Array
    """(feet, 2): angle of each upper link = sign * joint position."""
    hips: Array
    """(feet, 3), m, of the motors' axis."""
    upper: Array
    """(feet,), m."""
    lower: Array
    """(feet,), m."""

    def kinematics(self, joint_position: Array) -> Feet:
        """See `Legs`."""
        angles = self.signs * joint_position[..., self.joints]  # (..., feet, 2)
        first, second = angles[..., 0], angles[..., 1]
        middle, half = 0.5 * (first + second), 0.5 * (first - second)
        # The kite: foot = hip - r u(middle), r = -l1 cos(half) + sqrt(l2^2 - l1^2 sin(half)^2).
        s, c = np.sin(half), np.cos(half)
        rest = np.sqrt(self.lower**2 - (self.upper * s) ** 2)
        r = rest - self.upper * c
        slope = self.upper * s - self.upper**2 * s * c / rest  # dr / dhalf
        up_x, up_z = np.sin(middle), np.cos(middle)
        x, z = -r * up_x, -r * up_z
        # The lower link of the first motor carries the foot: w = foot - knee = l2 u(angle).
        knee_x, knee_z = self.upper * np.sin(first), self.upper * np.cos(first)
        wx, wz = x - knee_x, z - knee_z
        jacobian, turning = np.zeros((*angles.shape, 3)), np.zeros((*angles.shape, 3))
        # half grows with the first link and shrinks with the second; middle grows by half of either.
        for which, (change, carried) in enumerate(((slope, 1.0), (-slope, 0.0))):
            dx, dz = 0.5 * (z - change * up_x), 0.5 * (-x - change * up_z)
            jacobian[..., which, 0], jacobian[..., which, 2] = dx, dz
            # A turn about y by t moves w by t (wz, -wx), so t = (wz dwx - wx dwz) / l2^2.
            turning[..., which, 1] = (wz * (dx - carried * knee_z) - wx * (dz + carried * knee_x)) / self.lower**2
        centre = np.stack([x, np.zeros_like(x), z], axis=-1) + self.hips
        n, signs = joint_position.shape[-1], self.signs[..., None]
        return Feet(centre, _by_joint(signs * jacobian, self.joints, n), _by_joint(signs * turning, self.joints, n))


def _times(matrix: Array, vector: Array) -> Array:
    """Matrices (..., 3, 3) times vectors (..., 3)."""
    return (matrix @ vector[..., None])[..., 0]


def _by_joint(columns: Array, joints: NDArray[np.intp], count: int) -> Array:
    """Columns of the feet's own joints, (..., feet, k, 3), in matrices of all joints, (..., feet, 3, count)."""
    rows = np.zeros((*columns.shape[:-2], count, 3))
    rows[..., np.arange(len(joints))[:, None], joints, :] = columns
    return np.swapaxes(rows, -1, -2)


def read_legs(section: Section, joint_names: tuple[str, ...], feet: tuple[str, ...]) -> Legs | None:
    """Checks the section and builds the legs.

    Args:
        section: the key `kind` (serial, the default, or five_bar), and the key of each foot; may be empty.
        joint_names: of the robot.
        feet: of the robot.

    Returns:
        The legs; None for a robot whose file does not describe them.

    Raises:
        ConfigurationError: a number is wrong, a foot has no leg, or the legs differ in their number of joints.
        UnknownName: a foot or joint that the robot does not have.
    """
    kind = section.choice("kind", ("serial", "five_bar"), "serial")
    given = [name for name in section.names() if name != "kind"]
    for name in given:
        if name not in feet:
            raise UnknownName.of("foot", name, feet, f"in {section.where}")
    if not given:
        return None
    missing = [name for name in feet if name not in given]
    if missing:
        raise ConfigurationError(f"{section.where}: describes no leg of the feet {', '.join(missing)}")
    read = _read_serial if kind == "serial" else _read_five_bar
    rows: list[dict[str, Any]] = []
    for foot in feet:
        leg = section.section(foot)
        listed = leg.section("joints")
        for name in listed.names():
            if name not in joint_names:
                raise UnknownName.of("joint", name, joint_names, f"in {listed.where}")
        row: dict[str, Any] = {"radius": leg.number("radius", at_least=0.0)}
        row["joints"] = [joint_names.index(name) for name in listed.names()]
        row |= read(leg, listed)
        leg.finish()
        if not row["joints"] or len(row["joints"]) != len(rows[0]["joints"] if rows else row["joints"]):
            raise ConfigurationError(f"{listed.where}: expected at least one joint, and as many in every leg")
        rows.append(row)
    columns: dict[str, Any] = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    if kind == "serial":
        return SerialLegs(feet=feet, **columns)
    return FiveBarLegs(feet=feet, **columns)


def _read_serial(leg: Section, listed: Section) -> dict[str, Any]:
    origins, axes = [], []
    for name in listed.names():
        hinge = listed.section(name)
        origins.append(hinge.numbers("origin", 3))
        axis = np.array(hinge.numbers("axis", 3))
        hinge.finish()
        length = float(np.linalg.norm(axis))
        if length == 0.0:
            raise ConfigurationError(f"{hinge.where}.axis: expected a direction, got zeros")
        axes.append(axis / length)
    return {"origins": origins, "axes": axes, "tips": leg.numbers("tip", 3)}


def _read_five_bar(leg: Section, listed: Section) -> dict[str, Any]:
    signs = [listed.number(name) for name in listed.names()]
    if len(signs) != 2 or any(abs(sign) != 1.0 for sign in signs):
        raise ConfigurationError(f"{listed.where}: expected two motors with 1 or -1 each, got {signs}")
    upper, lower = leg.number("upper", above=0.0), leg.number("lower", above=0.0)
    if lower <= upper:
        raise ConfigurationError(f"{leg.where}: lower {lower:g} must be longer than upper {upper:g}")
    return {"signs": signs, "hips": leg.numbers("hip", 3), "upper": upper, "lower": lower}
