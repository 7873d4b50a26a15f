"""What a robot was told and did, with the moment of each command and reading: what simulations are identified from.

The NPZ file holds a `JointLog` as well, so `robot-rl actuator` reads it too.

| array | shape | |
|---|---|---|
| `robot`, `joints` | text, (n,) text | whose log it is |
| `base` | text | `held`, its feet in the air, or `standing` |
| `time` | (T,) | s, when each reading was measured |
| `position`, `velocity` | (T, n) | rad, rad/s |
| `effort` | (T, n) | N m, as measured; may be missing |
| `sent`, `sent_command` | (K,), (K, n) | s by the same clock and rad: commands and when they were sent |
| `age` | (2,) | s, mean and deviation of the time from a reading to the program; may be missing |
| `interval`, `command` | (), (T, n) | s between readings; rad, in force when they were taken |
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.npz import read_npz
from robot_rl.spec import RobotSpec

Array = NDArray[np.floating]

BASES = ("held", "standing")
"""How the base was: held with the feet in the air (a fixed base always is), or carried by the feet."""


@dataclass(frozen=True)
class MotionLog:
    """One stretch of motion of one robot; refuses what cannot be."""

    robot: str
    joints: tuple[str, ...]
    base: str
    """One of BASES."""
    time: Array
    """(T,), s, when each reading was measured; increasing."""
    position: Array
    """(T, n), rad."""
    velocity: Array
    """(T, n), rad/s."""
    effort: Array | None
    """(T, n), N m, as measured; None for a robot that does not say."""
    sent: Array
    """(K,), s by the same clock, when each command was sent; increasing."""
    command: Array
    """(K, n), rad."""
    age: tuple[float, float] | None = None
    """s, mean and standard deviation of the time from a measurement to the program; None where unknown."""
    coarse: float = 0.0
    """s, width of the time in which a command was sent, where its moment is not known better; `sent` is its middle."""
    source: str = "log"
    """File, for messages."""

    def __post_init__(self) -> None:
        """Checks sizes, numbers and times.

        Raises:
            ConfigurationError: says what is wrong, and in which joint and sample.
        """
        if self.base not in BASES:
            raise UnknownName.of("base", self.base, BASES, f"in {self.source}")
        n = len(self.joints)
        readings = {"position": self.position, "velocity": self.velocity}
        if self.effort is not None:
            readings["effort"] = self.effort
        self._check_times("time", self.time, readings, n)
        self._check_times("sent", self.sent, {"sent_command": self.command}, n)
        if self.sent[0] > self.time[-1] or self.sent[-1] < self.time[0]:
            raise ConfigurationError(
                f"{self.source}: commands are from {self.sent[0]:.3f} to {self.sent[-1]:.3f} s, readings from "
                f"{self.time[0]:.3f} to {self.time[-1]:.3f} s; expected times of one clock that overlap"
            )

    def _check_times(self, name: str, times: Array, values: dict[str, Array], joints: int) -> None:
        if times.ndim != 1 or len(times) < 2:
            raise ConfigurationError(f"{self.source}: {name}: expected at least 2 times, got shape {times.shape}")
        if not np.isfinite(times).all():
            raise ConfigurationError(f"{self.source}: {name}[{np.argmin(np.isfinite(times))}] is not finite")
        back = np.flatnonzero(np.diff(times) <= 0.0)
        if len(back):
            first = int(back[0])
            raise ConfigurationError(
                f"{self.source}: {name} must increase, but {name}[{first + 1}] = {times[first + 1]:.6f} s follows "
                f"{times[first]:.6f} s ({len(back)} such places)"
            )
        for label, array in values.items():
            if array.shape != (len(times), joints):
                raise ConfigurationError(
                    f"{self.source}: {label} has shape {array.shape}; expected {(len(times), joints)}, a row for each "
                    f"{name} and a column for each joint"
                )
            if not np.isfinite(array).all():
                row, joint = np.argwhere(~np.isfinite(array))[0]
                raise ConfigurationError(
                    f"{self.source}: {label} of {self.joints[joint]} is {array[row, joint]} in sample {row}, at "
                    f"{times[row]:.3f} s; expected finite numbers"
                )

    @property
    def seconds(self) -> float:
        """From the first reading to the last."""
        return float(self.time[-1] - self.time[0])

    def check_robot(self, spec: RobotSpec) -> None:
        """Refuses the log of another robot.

        Raises:
            ConfigurationError: the joints' names differ.
        """
        if set(self.joints) != set(spec.joint_names):
            unknown = [name for name in self.joints if name not in spec.joint_names]
            missing = [name for name in spec.joint_names if name not in self.joints]
            parts = [f"unknown: {', '.join(unknown)}"] * bool(unknown) + [f"missing: {', '.join(missing)}"] * bool(
                missing
            )
            raise ConfigurationError(
                f"{self.source} is a log of robot {self.robot!r}, not of {spec.name!r}; joints {'; '.join(parts)}; "
                f"{spec.name!r} has: {', '.join(spec.joint_names)}"
            )

    def ordered(self, spec: RobotSpec) -> MotionLog:
        """The same with the joints in the robot's order."""
        self.check_robot(spec)
        index = [self.joints.index(name) for name in spec.joint_names]
        return replace(
            self,
            joints=spec.joint_names,
            position=self.position[:, index],
            velocity=self.velocity[:, index],
            effort=None if self.effort is None else self.effort[:, index],
            command=self.command[:, index],
        )

    def part(self, begin: float, end: float) -> MotionLog:
        """The readings from `begin` to `end`, s by the log's clock, with all commands up to then."""
        rows, told = (self.time >= begin) & (self.time <= end), self.sent <= end
        return replace(
            self,
            time=self.time[rows],
            position=self.position[rows],
            velocity=self.velocity[rows],
            effort=None if self.effort is None else self.effort[rows],
            sent=self.sent[told],
            command=self.command[told],
        )

    def to_npz(self) -> bytes:
        """The content of an NPZ file."""
        newest = np.clip(np.searchsorted(self.sent, self.time, side="left") - 1, 0, None)
        arrays = {
            "robot": np.array(self.robot),
            "joints": np.array(self.joints),
            "base": np.array(self.base),
            "time": self.time,
            "position": self.position,
            "velocity": self.velocity,
            "sent": self.sent,
            "sent_command": self.command,
            "interval": np.array(float(np.median(np.diff(self.time)))),
            "command": self.command[newest],
        }
        if self.effort is not None:
            arrays["effort"] = self.effort
        if self.age is not None:
            arrays["age"] = np.array(self.age)
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
        return content.getvalue()


def read_motion_log(path: str | Path, spec: RobotSpec, base: str | None = None) -> MotionLog:
    """Reads an NPZ file.

    A file with a `JointLog` alone serves as well: its commands are then known to half an interval, and its joints are
    taken to be in the robot's order.

    Args:
        path: of the file.
        spec: the robot.
        base: how the base was; by default what the file says, or held for a fixed base.

    Raises:
        ConfigurationError: no such file, an array missing, of another robot, times that do not increase, or what is
            not finite.
    """
    where = str(path)
    arrays = read_npz(path, "motion log")
    for name in ("position", "velocity", "command"):
        if name not in arrays:
            raise ConfigurationError(
                f"motion log {where} lacks {name!r}; it has: {', '.join(sorted(arrays)) or 'nothing'}"
            )
    for name in set(arrays) - {"robot", "joints", "base"}:
        if not np.issubdtype(arrays[name].dtype, np.number):
            raise ConfigurationError(f"motion log {where}: {name}: expected numbers, got {arrays[name].dtype}")
    joints = tuple(map(str, arrays["joints"])) if "joints" in arrays else spec.joint_names
    given = base or (str(arrays["base"]) if "base" in arrays else "held" if spec.base == "fixed" else None)
    if given is None:
        raise ConfigurationError(f"motion log {where} does not say how the base was; give --base held or standing")
    time, sent, command, coarse = _times(arrays, where)
    age = arrays.get("age")
    if age is not None and (age.shape != (2,) or not np.isfinite(age).all()):
        raise ConfigurationError(f"motion log {where}: age: expected two finite numbers in s, got {age}")
    log = MotionLog(
        robot=str(arrays["robot"]) if "robot" in arrays else spec.name,
        joints=joints,
        base=given,
        time=time,
        position=arrays["position"].astype(np.float64),
        velocity=arrays["velocity"].astype(np.float64),
        effort=arrays["effort"].astype(np.float64) if "effort" in arrays else None,
        sent=sent,
        command=command,
        age=None if age is None else (float(age[0]), float(age[1])),
        coarse=coarse,
        source=where,
    )
    return log.ordered(spec)


def _times(arrays: dict[str, Array], where: str) -> tuple[Array, Array, Array, float]:
    """Times of readings and commands, commands, and the width of what is not known of a command's moment."""
    command: Array = arrays["command"].astype(np.float64)
    time: Array
    if "time" in arrays:
        time = arrays["time"].astype(np.float64)
    elif "interval" in arrays and 0.0 < float(arrays["interval"]) < np.inf:
        time = float(arrays["interval"]) * np.arange(len(arrays["position"]))
    else:
        raise ConfigurationError(f"motion log {where} needs 'time', or an 'interval' above 0 s")
    if "sent" in arrays and "sent_command" in arrays:
        return time, arrays["sent"].astype(np.float64), arrays["sent_command"].astype(np.float64), 0.0
    # A command in force at a reading and not at the one before was sent in between.
    width = float(np.median(np.diff(time))) if len(time) > 1 else 0.0
    return time, time - 0.5 * width, command, width
