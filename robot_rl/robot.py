"""What a robot is to the rest of the project: a state that comes out, a command that goes in.

Arrays have any leading batch shape, written `...`: `()` for one robot, `(N,)` for a batch of N. `n` is the number of
joints, in the order of `RobotSpec.joint_names`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from robot_rl import rotation
from robot_rl.arrays import frozen
from robot_rl.spec import RobotSpec

Array = NDArray[np.floating]


# Absent readings are None and yet typed as arrays: tasks and observation layouts are checked against the robot's
# sensors when they are built, so that nobody reads what is not there.
ABSENT: Any = None


@dataclass(frozen=True)
class ObjectState:
    """Where an object in the workspace is and how it moves."""

    position: Array
    """(..., 3), m, world frame."""
    orientation_xyzw: Array
    """(..., 4), body to world."""
    linear_velocity: Array
    """(..., 3), m/s, world frame."""
    angular_velocity: Array
    """(..., 3), rad/s, world frame."""


@dataclass(frozen=True)
class RobotState:
    """One reading of all sensors; a quantity the robot does not have is None."""

    stamp: float | Array
    """s, since the robot's last reset in simulation, of the robot's clock on hardware."""
    joint_position: Array
    """(..., n), rad or m."""
    joint_velocity: Array
    """(..., n), rad/s or m/s."""
    joint_effort: Array = ABSENT
    """(..., n), N m or N."""
    orientation_xyzw: Array = ABSENT
    """(..., 4), base frame to world frame."""
    angular_velocity: Array = ABSENT
    """(..., 3), rad/s, base frame."""
    linear_acceleration: Array = ABSENT
    """(..., 3), m/s^2, base frame, as an accelerometer gives it: +9.81 upwards at rest."""
    base_position: Array = ABSENT
    """(..., 3), m, world frame."""
    base_linear_velocity: Array = ABSENT
    """(..., 3), m/s, base frame."""
    contacts: Array = ABSENT
    """(..., feet), normal force in N of each foot, all its contacts together, in the order of `RobotSpec.feet`."""
    objects: Mapping[str, ObjectState] = field(default_factory=dict)
    applied: Array = ABSENT
    """(..., n), rad or m: the joint command of the last step, after all limits."""
    camera: NDArray[np.uint8] = ABSENT
    """(..., height, width, 3), red, green and blue from 0 to 255, the first row on top."""

    @classmethod
    def of(cls, readings: dict[str, Any]) -> RobotState:
        """The state of readings by field name, `objects` among them; what is absent is None.

        Four times as fast as the constructor, which sets the fields of a frozen class one by one; for simulators.
        """
        state = object.__new__(cls)
        state.__dict__.update(readings)
        return state

    @cached_property
    def gravity(self) -> Array:
        """Unit direction of gravity in the base frame, (..., 3)."""
        if self.orientation_xyzw is None:
            raise ValueError("this state has no orientation, so the direction of gravity is unknown")
        return frozen(rotation.gravity_in_body(self.orientation_xyzw))


@dataclass(frozen=True)
class JointCommand:
    """What the actuators get."""

    position: Array
    """(..., n), rad or m: position targets of the joint controllers."""


@dataclass(frozen=True)
class Start:
    """How an episode begins. Simulation teleports there; hardware moves there slowly and checks."""

    joint_position: Array
    """(n,), rad or m."""
    base_yaw: float = 0.0
    """rad."""
    object_yaw: Mapping[str, float] = field(default_factory=dict)
    """rad by object name, about the world's vertical."""
    object_position: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """x, y in m by object name, world frame; where the model has it for objects not named."""


@runtime_checkable
class Robot(Protocol):
    """One robot, simulated or real."""

    spec: RobotSpec
    provides: frozenset[str]
    """Names of the quantities in its RobotState: the spec's sensors, and in simulation what only a simulator knows."""

    def reset(self, start: Start, rng: np.random.Generator) -> RobotState:
        """Brings the robot to `start` and reads it; `rng` feeds sensor noise until the next reset."""

    def step(self, command: JointCommand) -> RobotState:
        """Applies a command and returns the state at the next control tick."""

    def stop(self) -> None:
        """Makes the robot safe. May be called any number of times, in any state."""

    def close(self) -> None:
        """Releases what the robot holds. May be called any number of times."""


@runtime_checkable
class Punctual(Protocol):
    """A robot in real time, whose ticks may come late."""

    late: float
    """s by which the last tick was late; 0 for one in time."""


@runtime_checkable
class Randomized(Protocol):
    """A simulated robot, or a batch, that may differ from episode to episode."""

    @property
    def drawn(self) -> Mapping[str, Any]:
        """What was drawn at the last reset, by name: a number, of a batch (count,); empty where nothing is."""


@runtime_checkable
class Truthful(Protocol):
    """A simulated robot, or a batch, that says what its sensors do not."""

    def truth(self) -> RobotState:
        """Everything in `provides` as it is now: without noise, offset or delay."""


@runtime_checkable
class BatchRobot(Protocol):
    """Several copies of one robot that step together; arrays lead with (count,)."""

    spec: RobotSpec
    provides: frozenset[str]
    count: int

    def reset(self, rows: NDArray[np.intp], starts: Sequence[Start], rng: np.random.Generator) -> RobotState:
        """Brings some copies to their starts and reads these, (k, ...); `rng` feeds sensor noise from now on."""

    def step(self, command: JointCommand) -> RobotState:
        """Applies the commands, (count, n), and returns the states at the next control tick."""

    def close(self) -> None:
        """Releases what the robots hold. May be called any number of times."""


@runtime_checkable
class Snapshot(Protocol):
    """Something whose whole state can be saved and put back, so that a resumed run goes on exactly."""

    def snapshot(self) -> dict[str, Any]:
        """The state as arrays and JSON values."""

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Puts a snapshot back."""
