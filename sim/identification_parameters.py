"""What can be identified: numbers of the terms of randomisation, with their units and what is thinkable of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import NoPart, UnknownName
from robot_rl.spec import RobotSpec
from sim.mujoco_model import held_spec
from sim.parts import Parts
from sim.randomization import Randomization

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Parameter:
    """One unknown."""

    name: str
    """As `BoundTerms.names`: `damping.FL_hip_joint`."""
    kind: str
    unit: str
    nominal: float
    """Of the robot's file."""
    scale: float
    """By how much it may well differ."""
    lower: float
    rank: int
    """Of several that act alike, the one of the highest rank is given up."""
    joint: int | None = None
    """Which joint's it is, of the driven ones."""


@dataclass(frozen=True)
class Kind:
    """A term of randomisation whose numbers can be identified."""

    settings: Callable[[RobotSpec], dict[str, Any]]
    """The term with its nominal numbers."""
    bases: tuple[str, ...]
    """Motions that show it."""
    rank: int
    by_default: bool = True


def _motor_curve(spec: RobotSpec) -> dict[str, Any]:
    motor = spec.simulation.motor
    if motor is None:
        return {"stall": 2.0, "no_load": 1.0}
    stall = motor.torque_constant * motor.voltage / motor.resistance / spec.effort_limit
    no_load = motor.voltage / motor.torque_constant / spec.velocity_limit
    return {"stall": float(np.median(stall)), "no_load": float(np.median(no_load))}


KINDS: Mapping[str, Kind] = {
    "actuation_delay": Kind(lambda spec: {"delay": 0.0}, ("held", "standing"), 0),
    "friction_loss": Kind(lambda spec: {"value": {}}, ("held",), 1),
    "armature": Kind(lambda spec: {"value": {}}, ("held",), 2),
    "damping": Kind(lambda spec: {"value": {}}, ("held",), 3),
    "gains": Kind(lambda spec: {"kp": 1.0, "kd": 1.0}, ("held",), 4),
    "motor_strength": Kind(lambda spec: {"ratio": 1.0}, ("held",), 5, by_default=False),
    "torque_speed": Kind(_motor_curve, ("held",), 6, by_default=False),
    "payload": Kind(lambda spec: {"kg": 0.0}, ("standing",), 1),
    "mass": Kind(lambda spec: {"ratio": {}}, ("standing",), 2, by_default=False),
    "center_of_mass": Kind(lambda spec: {"meters": 0.0}, ("standing",), 3),
}
"""By name of the term."""

OBSERVATION_DELAY = "observation_delay"
"""Is read off the stamps of the readings; nothing else tells it from the actuation delay."""


def settings_of(kinds: Sequence[str], spec: RobotSpec) -> dict[str, Any]:
    """The terms of some kinds, with their nominal numbers."""
    return {kind: KINDS[kind].settings(spec) for kind in kinds}


def check_kinds(kinds: Sequence[str]) -> None:
    """Refuses kinds that there are not; raises UnknownName."""
    for kind in kinds:
        if kind not in KINDS and kind != OBSERVATION_DELAY:
            raise UnknownName.of("parameter", kind, (*KINDS, OBSERVATION_DELAY))


def applicable(kinds: Sequence[str], spec: RobotSpec, base: str) -> tuple[str, ...]:
    """Those kinds that the robot has parts for, held or standing."""
    robot, found = held_spec(spec) if base == "held" else spec, []
    for kind in kinds:
        try:
            Randomization(settings_of([kind], robot), robot, "identify")
        except NoPart:
            continue
        found.append(kind)
    return tuple(found)


def parameters_of(kinds: Sequence[str], spec: RobotSpec, base: str, nominal: Mapping[str, float]) -> list[Parameter]:
    """The unknowns of some kinds.

    Args:
        kinds: that the robot has parts for.
        spec: the robot.
        base: held or standing.
        nominal: numbers of the simulation by name.
    """
    robot = held_spec(spec) if base == "held" else spec
    inertia, mass = _inertias(robot)
    found: list[Parameter] = []

    def add(name: str, unit: str, scale: float, lower: float, rank: int, joint: int | None = None) -> None:
        found.append(Parameter(name, name.split(".")[0], unit, nominal[name], scale, lower, rank, joint))

    for kind in kinds:
        rank = 2 * KINDS[kind].rank
        for index, joint in enumerate(robot.joint_names):
            effort, kd = float(robot.effort_limit[index]), float(robot.kd[index])
            if kind == "damping":
                typical = max(nominal[f"damping.{joint}"], 0.1 * kd, 1e-4)
                add(f"damping.{joint}", "N m s/rad", typical, 0.0, rank, index)
            elif kind == "friction_loss":
                typical = max(nominal[f"friction_loss.{joint}"], 0.01 * effort)
                add(f"friction_loss.{joint}", "N m", typical, 0.0, rank, index)
            elif kind == "armature":
                typical = max(nominal[f"armature.{joint}"], 0.2 * float(inertia[index]))
                add(f"armature.{joint}", "kg m^2", typical, 0.0, rank, index)
            elif kind == "gains":
                add(f"gains.kp.{joint}", "ratio", 0.3, 0.05, rank, index)
                add(f"gains.kd.{joint}", "ratio", 0.3, 0.0, rank + 1, index)
            elif kind == "motor_strength":
                add(f"motor_strength.{joint}", "ratio", 0.3, 0.05, rank, index)
        if kind == "actuation_delay":
            add("actuation_delay.delay", "s", 0.02, 0.0, rank)
        elif kind == "torque_speed":
            add("torque_speed.stall", "ratio", 0.5, 0.05, rank)
            add("torque_speed.no_load", "ratio", 0.5, 0.05, rank + 1)
        elif kind == "payload":
            add("payload.kg", "kg", 0.2 * mass, 0.0, rank)
        elif kind == "mass":
            add(f"mass.{robot.simulation.base_body}", "ratio", 0.3, 0.1, rank)
        elif kind == "center_of_mass":
            # Its height shows only in how fast a body tips.
            for axis in "xy":
                add(f"center_of_mass.{robot.simulation.base_body}.{axis}", "m", 0.05, -np.inf, rank)
    return found


def _inertias(spec: RobotSpec) -> tuple[Array, float]:
    """Inertia that each driven joint feels where the model begins, (n,), kg m^2, and the mass of the robot, kg."""
    model = Randomization({}, spec, "identify").compile()
    parts = Parts(model, spec)
    return 1.0 / model.dof_invweight0[parts.driven], float(model.body_mass[parts.bodies].sum())
