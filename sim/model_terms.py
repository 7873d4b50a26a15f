"""Terms that write numbers of MuJoCo's model: masses, contacts, joints, gains, gravity.

Each writes fields of a model that one copy of the robot has to itself; nothing is compiled anew.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import mujoco
import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import NoPart
from robot_rl.section import Section
from sim.parts import Indices, Parts
from sim.term import Bound, chosen_bodies, chosen_joints, draws, one_of

if TYPE_CHECKING:
    from sim.varied_copy import VariedCopy

Array = NDArray[np.floating]

_AXES = "xyz"


def mass(section: Section, parts: Parts) -> Bound:
    """Ratio of each body's mass; its rotational inertia goes with it."""
    bodies = chosen_bodies(section, parts, parts.bodies)
    draw, labels = draws(section, "ratio", [parts.body_name(b) for b in bodies], True, above=0.0)

    def apply(copy: VariedCopy, values: Array) -> None:
        copy.fields["body_mass"][bodies] *= values
        copy.fields["body_inertia"][bodies] *= values[:, None]

    return Bound(labels, draw, apply, ("body_mass", "body_inertia"), inertial=True)


def inertia(section: Section, parts: Parts) -> Bound:
    """Ratio of each body's rotational inertia, beside what its mass does to it."""
    bodies = chosen_bodies(section, parts, parts.bodies)
    draw, labels = draws(section, "ratio", [parts.body_name(b) for b in bodies], True, above=0.0)

    def apply(copy: VariedCopy, values: Array) -> None:
        copy.fields["body_inertia"][bodies] *= values[:, None]

    return Bound(labels, draw, apply, ("body_inertia",), inertial=True)


def center_of_mass(section: Section, parts: Parts) -> Bound:
    """Shift of a body's centre of mass along its axes, m; of the base, or of all bodies where the base is fixed."""
    default = np.array([parts.base]) if parts.spec.base == "floating" else parts.bodies
    bodies = chosen_bodies(section, parts, default)
    _refuse_lone(parts, bodies, section)
    key = one_of(section, "share", "meters")
    names = [f"{parts.body_name(body)}.{axis}" for body in bodies for axis in _AXES]
    shift, _ = draws(section, key, names, True, 0.0)
    if not shift.each:  # the same for all bodies, along each of their axes
        shift = replace(shift, count=len(_AXES), each=True)
    unit = np.repeat(_radius_of_gyration(parts.model, bodies), 3) if key == "share" else 1.0

    def draw(rng: np.random.Generator) -> Array:
        drawn = shift(rng)
        return np.tile(drawn, len(names) // len(drawn)) * unit

    def apply(copy: VariedCopy, values: Array) -> None:
        copy.fields["body_ipos"][bodies] += values.reshape(-1, 3)
        copy.fields["body_sameframe"][bodies] = 0  # or MuJoCo takes the body's origin for the centre of mass

    return Bound(tuple(names), draw, apply, ("body_ipos", "body_sameframe"), inertial=True)


def payload(section: Section, parts: Parts) -> Bound:
    """A point mass fixed to the base, kg; `ratio` of the robot's mass. It sits at the base's centre of mass + `at`."""
    base = parts.base
    key = one_of(section, "ratio", "kg")
    total = float(parts.model.body_mass[parts.bodies].sum())
    load, _ = draws(section, key, ["kg"], True, at_least=0.0)
    place = np.array(section.numbers("at", 3, (0.0, 0.0, 0.0)))
    unit = total if key == "ratio" else 1.0

    def draw(rng: np.random.Generator) -> Array:
        return load(rng) * unit

    def apply(copy: VariedCopy, values: Array) -> None:
        fields, added = copy.fields, float(values[0])
        own = float(fields["body_mass"][base])
        fields["body_mass"][base] = own + added
        if not place.any():
            return
        # The new centre of mass, and the inertia about it: I + mu (|a|^2 1 - a a^T), mu the reduced mass.
        fields["body_ipos"][base] += place * added / (own + added)
        fields["body_sameframe"][base] = 0
        reduced = own * added / (own + added)
        entries = np.zeros(9)
        mujoco.mju_quat2Mat(entries, fields["body_iquat"][base])
        turn = entries.reshape(3, 3)
        tensor = turn @ np.diag(fields["body_inertia"][base]) @ turn.T
        tensor += reduced * (place @ place * np.eye(3) - np.outer(place, place))
        principal, axes = np.linalg.eigh(tensor)
        if np.linalg.det(axes) < 0.0:
            axes[:, 0] = -axes[:, 0]
        fields["body_inertia"][base] = principal
        mujoco.mju_mat2Quat(fields["body_iquat"][base], np.ascontiguousarray(axes).ravel())

    changed = ("body_mass", "body_ipos", "body_inertia", "body_iquat", "body_sameframe")
    return Bound(("kg",), draw, apply, changed, inertial=True)


def friction(section: Section, parts: Parts) -> Bound:
    """Coefficient of sliding friction: its `ratio` for everything that touches, or its `value` for all alike.

    Where two geometries meet, the one of higher priority decides, or the greater of two equals; so all are changed.
    """
    geoms = parts.colliding
    key = one_of(section, "ratio", "value")
    draw, _ = draws(section, key, [""], False, at_least=0.0)

    def apply(copy: VariedCopy, values: Array) -> None:
        sliding = copy.fields["geom_friction"][:, 0]
        sliding[geoms] = sliding[geoms] * values if key == "ratio" else values

    return Bound(("",), draw, apply, ("geom_friction",))


def restitution(section: Section, parts: Parts) -> Bound:
    """Coefficient of restitution: speed after an impact over the speed before.

    A contact in MuJoCo is a spring and a damper. The spring stays, the damper is chosen for the coefficient. A contact
    of critical damping, the nominal one, has exp(-2) = 0.14; less than that leaves it as it is.
    """
    geoms = parts.colliding
    draw, _ = draws(section, "value", [""], False, at_least=0.0, at_most=0.9)
    springs = geoms[parts.model.geom_solref[geoms, 0] > 0.0]
    if not springs.size:
        raise NoPart(f"no contact of robot {parts.spec.name!r} is given by a time constant")

    def apply(copy: VariedCopy, values: Array) -> None:
        if values[0] <= np.exp(-2.0):
            return
        solref = copy.fields["geom_solref"]
        # Stiffness ~ 1 / (time constant * damping ratio)^2 is kept: their product stays what it is.
        ratio = damping_ratio(float(values[0]))
        solref[springs, 0] *= solref[springs, 1] / ratio
        solref[springs, 1] = ratio

    return Bound(("",), draw, apply, ("geom_solref",))


def damping_ratio(coefficient: float) -> float:
    """Damping ratio z in (0, 1] of a contact that pushes and never pulls, for a coefficient of restitution e.

    The contact parts when spring and damper cancel, after the phase 2 arccos(z):
    e = exp(-2 z arccos(z) / sqrt(1 - z^2)), which falls from 1 at z = 0 to exp(-2) at z = 1; found by bisection.

    Source: Schwager and Poeschel 2007 (Granular Matter 9), with the attraction left out.
    """
    low, high = 1e-4, 1.0 - 1e-9
    for _ in range(40):
        middle = 0.5 * (low + high)
        rebound = math.exp(-2.0 * middle * math.acos(middle) / math.sqrt(1.0 - middle * middle))
        low, high = (middle, high) if rebound > coefficient else (low, middle)
    return 0.5 * (low + high)


def _joint_term(section: Section, parts: Parts, field: str, what: str) -> Bound:
    """`ratio` of a number of each joint, something to `add` to it, or its `value` whatever the model has."""
    dofs = chosen_joints(section, parts, parts.joints)
    key = one_of(section, "ratio", "add", "value")
    if key == "ratio":
        dofs = dofs[getattr(parts.model, field)[dofs] > 0.0]
        if not dofs.size:
            raise NoPart(f"no joint of robot {parts.spec.name!r} has any {what} to scale; use `add`")
    nominal = {"ratio": 1.0, "add": 0.0, "value": getattr(parts.model, field)[dofs].tolist()}[key]
    draw, labels = draws(section, key, [parts.dof_name(d) for d in dofs], True, nominal, at_least=0.0)

    def apply(copy: VariedCopy, values: Array) -> None:
        array = copy.fields[field]
        array[dofs] = {"ratio": array[dofs] * values, "add": array[dofs] + values, "value": values}[key]

    return Bound(labels, draw, apply, (field,), inertial=field == "dof_armature")


def damping(section: Section, parts: Parts) -> Bound:
    """Viscous friction of joints, N m s/rad."""
    return _joint_term(section, parts, "dof_damping", "damping")


def friction_loss(section: Section, parts: Parts) -> Bound:
    """Dry friction of joints, N m."""
    return _joint_term(section, parts, "dof_frictionloss", "friction loss")


def armature(section: Section, parts: Parts) -> Bound:
    """Inertia of the motors at their joints, kg m^2."""
    return _joint_term(section, parts, "dof_armature", "armature")


def gains(section: Section, parts: Parts) -> Bound:
    """Ratios of the joint controllers' gains kp and kd, of each joint."""
    names = parts.spec.joint_names
    kp, _ = draws(section, "kp", names, True, above=0.0)
    kd, _ = draws(section, "kd", names, True, at_least=0.0)
    count = len(names)
    labels = tuple(f"{gain}.{name}" for gain in ("kp", "kd") for name in names) if kp.each else ("kp", "kd")

    def apply(copy: VariedCopy, values: Array) -> None:
        p, d = (values[:count], values[count:]) if kp.each else (values[:1], values[1:])
        copy.fields["actuator_gainprm"][:, 0] *= p
        copy.fields["actuator_biasprm"][:, 1] *= p
        copy.fields["actuator_biasprm"][:, 2] *= d

    return Bound(
        labels,
        lambda rng: np.concatenate([kp(rng), kd(rng)]),
        apply,
        ("actuator_gainprm", "actuator_biasprm"),
        inertial=True,
    )


def motor_strength(section: Section, parts: Parts) -> Bound:
    """Ratio of the torque that a motor gives to the torque it was asked for; its limit shrinks alike."""
    draw, labels = draws(section, "ratio", parts.spec.joint_names, True, above=0.0)

    def apply(copy: VariedCopy, values: Array) -> None:
        copy.fields["actuator_gainprm"][:, 0] *= values
        copy.fields["actuator_biasprm"][:, 1:3] *= values[:, None]
        copy.fields["actuator_forcerange"][:] *= values[:, None]
        if copy.motors is not None:
            copy.motors.strength = np.broadcast_to(values, (parts.spec.joints,)).copy()

    fields = ("actuator_gainprm", "actuator_biasprm", "actuator_forcerange")
    return Bound(labels, draw, apply, fields, inertial=True)


def gravity_tilt(section: Section, parts: Parts) -> Bound:
    """Angle of gravity to the vertical, rad, towards any side; what the robot's attitude sensor does not see."""
    angle, _ = draws(section, "angle", [""], False, at_least=0.0, at_most=1.0)

    def draw(rng: np.random.Generator) -> Array:
        return np.array([angle(rng)[0], rng.uniform(-np.pi, np.pi)])

    def apply(copy: VariedCopy, values: Array) -> None:
        tilt, heading = values
        strength = float(np.linalg.norm(copy.fields["opt.gravity"]))
        side = np.sin(tilt)
        copy.fields["opt.gravity"][:] = strength * np.array(
            [side * np.cos(heading), side * np.sin(heading), -np.cos(tilt)]
        )

    return Bound(("angle", "heading"), draw, apply, ("opt.gravity",))


def _radius_of_gyration(model: mujoco.MjModel, bodies: Indices) -> Array:
    """sqrt(tr I / (2 m)) of each body, m."""
    return np.sqrt(0.5 * model.body_inertia[bodies].sum(axis=1) / model.body_mass[bodies])


def _refuse_lone(parts: Parts, bodies: Indices, section: Section) -> None:
    for body in bodies:
        if parts.model.body_simple[body]:
            raise NoPart(f"{section.where}: the centre of mass of {parts.body_name(body)!r} cannot be shifted")
