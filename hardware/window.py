"""What was heard on a robot's topics for a while, raw, as the doctor judges it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_rl.robot import RobotState
from robot_rl.spec import RobotSpec

Array = NDArray[np.floating]


class JointValues(NamedTuple):
    """A joint state as it came, joints in the message's own order."""

    names: tuple[str, ...]
    position: tuple[float, ...]
    velocity: tuple[float, ...]
    effort: tuple[float, ...]


class ImuValues(NamedTuple):
    """An IMU's message as it came."""

    orientation: tuple[float, ...]
    """xyzw."""
    angular_velocity: tuple[float, ...]
    linear_acceleration: tuple[float, ...]


class Sample(NamedTuple):
    """One message."""

    stamp: float
    """s, of the sender."""
    received: float
    """s, of our clock that never jumps."""
    age: float
    """s, between stamp and arrival by the computer's date; means something where both dates agree."""
    value: Any
    """JointValues, ImuValues or a force in N."""


@dataclass(frozen=True)
class TopicFacts:
    """What the network says of one topic."""

    topic: str
    """Full name."""
    wanted: str
    """Type."""
    types: tuple[str, ...]
    """Of its publishers, one each."""
    reliabilities: tuple[str, ...]
    """Of its publishers: reliable or best_effort."""


@dataclass(frozen=True)
class Window:
    """Everything that was heard; topics by the short names joint_states, imu and `contact FOOT`."""

    spec: RobotSpec
    facts: Mapping[str, TopicFacts]
    samples: Mapping[str, Sequence[Sample]]
    lock_step: bool = False
    """Whether the other side waits for commands; times are then those of its clock."""
    commands: Sequence[tuple[float, Array]] = ()
    """(s, (n,)), what was commanded when, by the same clock as `time`."""
    seen: Sequence[str] = ()
    """All topics that somebody else publishes."""
    commanders: Sequence[str] = ()
    """Nodes that publish commands already."""
    listeners: int = 0
    """How many take commands."""
    _cache: dict[str, Any] = field(default_factory=dict, compare=False)

    def time(self, name: str) -> Array:
        """s, of each sample: its arrival, or its stamp where clocks stand still in between."""
        return np.array([s.stamp if self.lock_step else s.received for s in self.samples.get(name, ())])

    def joints(self) -> tuple[Array, Array, Array, Array | None]:
        """Times (t,), positions, velocities and efforts (t, n) in the robot's order; only of whole messages."""
        if "joints" not in self._cache:
            self._cache["joints"] = self._joints()
        return self._cache["joints"]

    def _joints(self) -> tuple[Array, Array, Array, Array | None]:
        names, n = self.spec.joint_names, self.spec.joints
        times, rows = [], []
        for time, sample in zip(self.time("joint_states"), self.samples.get("joint_states", ()), strict=True):
            value: JointValues = sample.value
            if not set(names) <= set(value.names) or len(value.position) != len(value.names):
                continue
            index = [value.names.index(name) for name in names]
            parts = [
                [part[i] for i in index] if len(part) == len(value.names) else [np.nan] * n
                for part in (value.position, value.velocity, value.effort)
            ]
            if np.isfinite(parts[0]).all():
                times.append(time)
                rows.append(parts)
        values = np.array(rows).reshape(-1, 3, n)
        effort = values[:, 2] if len(values) and np.isfinite(values[:, 2]).all() else None
        return np.array(times), values[:, 0], values[:, 1], effort

    def imu(self) -> tuple[Array, Array, Array, Array]:
        """Times (t,), orientation (t, 4), angular velocity (t, 3) and linear acceleration (t, 3)."""
        if "imu" not in self._cache:
            samples = self.samples.get("imu", ())
            parts = [np.array([s.value[k] for s in samples]).reshape(-1, size) for k, size in enumerate((4, 3, 3))]
            self._cache["imu"] = (self.time("imu"), *parts)
        return self._cache["imu"]

    def contacts(self) -> tuple[Array, Array] | None:
        """Times (t,) of the first foot's samples and forces (t, feet), each foot's interpolated to these."""
        if "contacts" not in self._cache:
            self._cache["contacts"] = self._contacts()
        return self._cache["contacts"]

    def _contacts(self) -> tuple[Array, Array] | None:
        feet = [f"contact {foot}" for foot in self.spec.feet]
        if not feet or not all(self.samples.get(foot) for foot in feet):
            return None
        times = self.time(feet[0])
        columns = [np.interp(times, self.time(foot), [s.value for s in self.samples[foot]]) for foot in feet]
        return times, np.stack(columns, axis=-1)

    def mean_state(self, begin: float = -np.inf, end: float = np.inf) -> RobotState | None:
        """The mean of all readings between two times; None without joints."""
        times, position, velocity, effort = self.joints()
        rows = (times >= begin) & (times <= end)
        if not rows.any():
            return None
        found: dict[str, Any] = {
            "stamp": float(times[rows][-1]),
            "joint_position": position[rows].mean(0),
            "joint_velocity": velocity[rows].mean(0),
            "joint_effort": None if effort is None else effort[rows].mean(0),
        }
        times, orientation, angular, linear = self.imu()
        rows = (times >= begin) & (times <= end)
        if rows.any():
            # q and -q are one orientation, and a driver that tells only one of them leaps where they meet.
            turned = np.where(orientation[rows] @ orientation[rows][0] < 0.0, -1.0, 1.0)
            mean = (turned[:, None] * orientation[rows]).mean(0)
            length = float(np.linalg.norm(mean))
            if 0.5 < length < 2.0:
                found |= {"orientation_xyzw": mean / length}
            found |= {"angular_velocity": angular[rows].mean(0), "linear_acceleration": linear[rows].mean(0)}
        contacts = self.contacts()
        if contacts is not None:
            rows = (contacts[0] >= begin) & (contacts[0] <= end)
            found["contacts"] = contacts[1][rows].mean(0) if rows.any() else None
        return RobotState(**found)

    def mean_age(self) -> float | None:
        """s between stamps and arrival of joint states; None where clocks stand still in between."""
        ages = [s.age for s in self.samples.get("joint_states", ())]
        return float(np.median(ages)) if ages and not self.lock_step else None
