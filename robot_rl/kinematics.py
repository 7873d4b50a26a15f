"""Where the feet are, from joint positions alone: the `legs` section of a robot's file, without a simulator.

Two kinds of leg: a chain of hinges, and a five-bar of two motors at one hip whose lower links meet in the foot. Frames:
x forward, y left, z up; everything is seen from the base. Arrays have any leading batch shape, written `...`; n is the
number of the robot's joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from robot_rl import rotation
from robot_rl.arrays import cos_sin, from_components, sqrt
from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.section import Section

Array = NDArray[np.floating]
Vector = tuple[float, float, float]


class Leg(Protocol):
    """One leg with a ball as its foot."""

    foot: str
    """Name of the foot."""
    joints: tuple[int, ...]
    """Which of the robot's joints move it."""
    radius: float
    """m, of the ball."""

    def kinematics(self, joint_position: Array, down: Array | None = None) -> tuple[Array, Array]:
        """Place of the foot and how the joints move it.

        Args:
            joint_position: (..., n), rad.
            down: (..., 3), unit direction of the ground in the base frame. With it, the point is that of the ball which
                touches the ground, as a point of the leg: while the foot rolls, this one rests and the centre does not.

        Returns:
            Position (..., 3) in m of the ball's centre, or of that point, and its Jacobian (..., 3, n) in m/rad, both in
            the base frame.
        """


@dataclass(frozen=True)
class SerialLeg:
    """Hinges one after the other."""

    foot: str
    radius: float
    joints: tuple[int, ...]
    """From the base outwards."""
    origins: tuple[Vector, ...]
    """m, of each hinge in the frame of the one before."""
    axes: tuple[Vector, ...]
    """Unit axis of each hinge, in the same frame."""
    tip: Vector
    """m, of the foot's centre in the frame of the last hinge."""

    def kinematics(self, joint_position: Array, down: Array | None = None) -> tuple[Array, Array]:
        """See `Leg`."""
        shape = joint_position.shape[:-1]
        place = np.zeros((*shape, 3))
        turn = np.broadcast_to(np.array([0.0, 0.0, 0.0, 1.0]), (*shape, 4))
        hinges = []
        for joint, origin, axis in zip(self.joints, self.origins, self.axes, strict=True):
            place = place + rotation.rotate(turn, np.array(origin))
            hinges.append((joint, place, rotation.rotate(turn, np.array(axis))))
            turn = rotation.multiply(turn, rotation.from_axis_angle(axis, joint_position[..., joint]))
        point = place + rotation.rotate(turn, np.array(self.tip))
        if down is not None:
            point = point + self.radius * down
        jacobian = np.zeros((*shape, 3, joint_position.shape[-1]))
        for joint, place, axis_here in hinges:
            jacobian[..., joint] = rotation.cross(axis_here, point - place)
        return point, jacobian


@dataclass(frozen=True)
class FiveBarLeg:
    """Two motors on one axis along y turn an upper link each; the lower links are of one length and meet in the foot.

    Angles of links are counted about y from straight up: a link of angle t points along u(t) = (sin t, 0, cos t).
    """

    foot: str
    radius: float
    joints: tuple[int, int]
    """The motor to whose lower link the foot is fixed comes first."""
    signs: tuple[float, float]
    """Angle of each upper link = sign * joint position."""
    hip: Vector
    """m, of the motors' axis."""
    upper: float
    """m."""
    lower: float
    """m."""

    def kinematics(self, joint_position: Array, down: Array | None = None) -> tuple[Array, Array]:
        """See `Leg`."""
        single = joint_position.ndim == 1
        first, second = (
            sign * (float(joint_position[joint]) if single else joint_position[..., joint])
            for joint, sign in zip(self.joints, self.signs, strict=True)
        )
        middle, half = 0.5 * (first + second), 0.5 * (first - second)
        c, s = cos_sin(half)
        cm, sm = cos_sin(middle)
        cf, sf = cos_sin(first)
        # The kite: hip - foot = r u(middle), with r = -l1 cos(half) + sqrt(l2^2 - l1^2 sin(half)^2).
        rest = sqrt(self.lower**2 - (self.upper * s) ** 2)
        r = rest - self.upper * c
        slope = self.upper * s - self.upper**2 * s * c / rest  # dr / dhalf
        x, z = -r * sm, -r * cm
        columns = []
        for which, sign in enumerate(self.signs):
            change = slope if which == 0 else -slope  # of r, twice, per radian of the link
            dx, dz = 0.5 * (-change * sm - r * cm), 0.5 * (-change * cm + r * sm)
            columns.append((sign * dx, sign * dz))
        if down is not None:
            # The lower link of the first motor turns the ball: w = foot - knee = l2 u(angle).
            wx, wz = x - self.upper * sf, z - self.upper * cf
            touch_x, touch_z = (self.radius * down[..., axis] for axis in (0, 2))
            for which, (dx, dz) in enumerate(columns):
                knee = self.signs[0] if which == 0 else 0.0
                turn = (wz * (dx - self.upper * cf * knee) - wx * (dz + self.upper * sf * knee)) / self.lower**2
                # A turn about y by `turn` moves (x, z) by turn * (z, -x).
                columns[which] = (dx + turn * touch_z, dz - turn * touch_x)
        shape = joint_position.shape[:-1]
        jacobian = np.zeros((*shape, 3, joint_position.shape[-1]))
        for joint, (dx, dz) in zip(self.joints, columns, strict=True):
            jacobian[..., 0, joint], jacobian[..., 2, joint] = dx, dz
        point = from_components((x, 0.0 * x, z)) + np.array(self.hip)
        return (point if down is None else point + self.radius * down), jacobian


def read_legs(section: Section, joint_names: tuple[str, ...], feet: tuple[str, ...]) -> tuple[Leg, ...]:
    """Checks the section and builds the legs.

    Args:
        section: foot by foot; empty for a robot whose legs are not described.
        joint_names: of the robot.
        feet: of the robot.

    Returns:
        The legs in the order of `feet`; none, or one for each.

    Raises:
        ConfigurationError: a number is wrong, or a foot has no leg.
        UnknownName: a foot or joint that the robot does not have.
    """
    given = section.names()
    for name in given:
        if name not in feet:
            raise UnknownName.of("foot", name, feet, f"in {section.where}")
    if not given:
        return ()
    missing = [name for name in feet if name not in given]
    if missing:
        raise ConfigurationError(f"{section.where}: describes no leg of the feet {', '.join(missing)}")
    return tuple(_read_leg(section.section(foot), foot, joint_names) for foot in feet)


def _read_leg(section: Section, foot: str, names: tuple[str, ...]) -> Leg:
    kind = section.choice("kind", ("serial", "five_bar"), "serial")
    radius = section.number("radius", at_least=0.0)
    listed = section.section("joints")
    for name in listed.names():
        if name not in names:
            raise UnknownName.of("joint", name, names, f"in {listed.where}")
    joints = tuple(names.index(name) for name in listed.names())
    leg: Leg
    if kind == "serial":
        if not joints:
            raise ConfigurationError(f"{listed.where}: expected at least one joint")
        places = [listed.section(names[joint]) for joint in joints]
        leg = SerialLeg(
            foot=foot,
            radius=radius,
            joints=joints,
            origins=tuple(_vector(place, "origin") for place in places),
            axes=tuple(_axis(place) for place in places),
            tip=_vector(section, "tip"),
        )
        for place in places:
            place.finish()
    else:
        if len(joints) != 2:
            raise ConfigurationError(f"{listed.where}: a five-bar has two motors, got {len(joints)}")
        signs = [listed.number(names[joint]) for joint in joints]
        if any(abs(sign) != 1.0 for sign in signs):
            raise ConfigurationError(f"{listed.where}: expected 1 or -1 for each motor, got {signs}")
        upper, lower = section.number("upper", above=0.0), section.number("lower", above=0.0)
        if lower <= upper:
            raise ConfigurationError(f"{section.where}: lower {lower:g} must be longer than upper {upper:g}")
        leg = FiveBarLeg(
            foot, radius, (joints[0], joints[1]), (signs[0], signs[1]), _vector(section, "hip"), upper, lower
        )
    section.finish()
    return leg


def _vector(section: Section, key: str) -> Vector:
    x, y, z = section.numbers(key, 3)
    return x, y, z


def _axis(section: Section) -> Vector:
    x, y, z = section.numbers("axis", 3)
    length = (x * x + y * y + z * z) ** 0.5
    if length == 0.0:
        raise ConfigurationError(f"{section.where}.axis: expected a direction, got zeros")
    return x / length, y / length, z / length
