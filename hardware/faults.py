"""Everything that goes wrong with a robot, on demand, as parameters of the twin that may change while it runs."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.robot import RobotState
from robot_rl.spec import RobotSpec

WAYS = ("both", "readings", "motors")


@dataclass(frozen=True)
class Faults:
    """What is wrong now; the defaults are a healthy robot. Joints are given by name."""

    state_delay: float = 0.0
    """s by which readings are sent late."""
    state_jitter: float = 0.0
    """s, one standard deviation of a further delay (its absolute value)."""
    command_delay: float = 0.0
    """s by which commands take effect late."""
    drop: float = 0.0
    """Share of messages lost, in either direction, in [0, 1]."""
    link_cut: bool = False
    """Whether nothing passes in either direction."""
    freeze: bool = False
    """Whether readings keep their numbers while their stamps go on."""
    repeat: bool = False
    """Whether the same message is sent again and again, stamp and all."""
    time_jump: float = 0.0
    """s added to all stamps."""
    nan: tuple[str, ...] = ()
    """Joints whose position reads NaN."""
    missing: tuple[str, ...] = ()
    """Joints left out of the joint states."""
    swap: tuple[str, ...] = ()
    """Two joints whose wires are exchanged, on the ways that `way` names."""
    flip: tuple[str, ...] = ()
    """Joints that count the wrong way, on the ways that `way` names."""
    degrees: bool = False
    """Whether joint positions and velocities are in degrees, on the ways that `way` names."""
    way: str = "both"
    """What of swap, flip and degrees is wrong: both, readings or motors."""
    slow: int = 1
    """Only every so many-th reading is sent."""
    joint_bias: float = 0.0
    """rad added to all joint positions read."""
    angular_velocity_bias: float = 0.0
    """rad/s added to all axes of the gyroscope."""
    motor_failure: tuple[str, ...] = ()
    """Joints without torque."""

    def with_value(self, name: str, value: Any, spec: RobotSpec) -> Faults:
        """The same with one fault changed.

        Raises:
            UnknownName: no such fault or joint.
            ConfigurationError: a value that makes no sense.
        """
        known = {f.name: f for f in fields(self)}
        if name not in known:
            raise UnknownName.of("fault", name, known)
        default = known[name].default
        if isinstance(default, tuple):
            value = tuple(v for v in value if v)
            for joint in value:
                if joint not in spec.joint_names:
                    raise UnknownName.of("joint", joint, spec.joint_names, f"in fault {name}")
            if name == "swap" and len(value) not in (0, 2):
                raise ConfigurationError(f"fault swap: expected two joints, got {len(value)}")
        elif isinstance(default, str):
            if value not in WAYS:
                raise UnknownName.of("value", value, WAYS, f"for fault {name}")
        elif isinstance(default, bool) or not isinstance(default, (int, float)):
            value = bool(value)
        else:
            value = type(default)(value)
            least = (
                1 if name == "slow" else -np.inf if name in ("time_jump", "joint_bias", "angular_velocity_bias") else 0
            )
            if not least <= value < np.inf or (name == "drop" and value > 1):
                raise ConfigurationError(f"fault {name}: {value} is out of range")
        return replace(self, **{name: value})


class FaultyWiring:
    """Applies faults to readings and commands of one robot."""

    def __init__(self, spec: RobotSpec) -> None:
        """Args: spec: the robot."""
        self.spec = spec
        self._frozen: RobotState | None = None

    def readings(self, state: RobotState, faults: Faults) -> RobotState:
        """What the sensors say of a state."""
        if faults.freeze:
            self._frozen = self._frozen or state
            state = self._frozen
        else:
            self._frozen = None
        order, sign = self._wires(faults, "readings")
        position = sign * state.joint_position[order] + faults.joint_bias
        velocity = sign * state.joint_velocity[order]
        effort = None if state.joint_effort is None else sign * state.joint_effort[order]
        if faults.degrees and faults.way != "motors":
            position, velocity = np.degrees(position), np.degrees(velocity)
        position[[self.spec.joint_names.index(joint) for joint in faults.nan]] = np.nan
        changed: dict[str, Any] = {"joint_position": position, "joint_velocity": velocity, "joint_effort": effort}
        if state.angular_velocity is not None:
            changed["angular_velocity"] = state.angular_velocity + faults.angular_velocity_bias
        return replace(state, **changed)

    def command(self, position: np.ndarray, faults: Faults) -> np.ndarray:
        """What the motors get of a command, (n,)."""
        order, sign = self._wires(faults, "motors")
        given = np.radians(position) if faults.degrees and faults.way != "readings" else position
        wired = np.empty_like(given)
        wired[order] = sign * given
        return wired

    def _wires(self, faults: Faults, way: str) -> tuple[np.ndarray, np.ndarray]:
        """Which encoder or motor each name is wired to, (n,), and with which sign, (n,)."""
        names = self.spec.joint_names
        order, sign = np.arange(len(names)), np.ones(len(names))
        if faults.way not in ("both", way):
            return order, sign
        if faults.swap:
            a, b = (names.index(joint) for joint in faults.swap)
            order[[a, b]] = order[[b, a]]
        sign[[names.index(joint) for joint in faults.flip]] = -1.0
        return order, sign
