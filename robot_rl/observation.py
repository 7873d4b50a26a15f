"""What a policy sees: named quantities of a robot's sensors, laid out in one vector.

The layout travels in the policy file, and the side that runs the policy builds its observations with the same
`Observer`. So there is one meaning of every entry, in training and on the robot.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_rl import rotation
from robot_rl.arrays import arctan2, components, cos_sin, from_components, sqrt
from robot_rl.errors import ConfigurationError, MissingSensor, UnknownName
from robot_rl.robot import RobotState
from robot_rl.spec import RobotSpec

Array = NDArray[Any]


@dataclass(frozen=True)
class Quantity:
    """A named part of an observation and how it is read."""

    unit: str
    sensors: tuple[str, ...]
    """Sensors of the robot that it needs."""
    read: Callable[[RobotState, Array, Array], Array]
    """(state, previous action, goal) -> (..., size)."""
    labels: Callable[[RobotSpec, Sequence[str]], Sequence[str]]
    """(spec, goal's component names) -> name of each component."""
    offset: Callable[[RobotSpec], Array | float] = lambda spec: 0.0
    """Typical centre, for normalisation."""
    scale: float = 1.0
    """Typical deviation from the centre, for normalisation."""


def _xyz(_spec: RobotSpec, _goal: Sequence[str]) -> Sequence[str]:
    return ("x", "y", "z")


def _joints(spec: RobotSpec, _goal: Sequence[str]) -> Sequence[str]:
    return spec.joint_names


def _roll_pitch(state: RobotState, _action: Array, _goal: Array) -> Array:
    x, y, z = components(state.gravity)
    return from_components((arctan2(-y, -z), arctan2(x, sqrt(y * y + z * z))))


def _gait_clock(state: RobotState, _action: Array, goal: Array) -> Array:
    return from_components(cos_sin(2.0 * np.pi * components(goal)[-1] * state.stamp))


def _yaw_of_objects(state: RobotState) -> list[Any]:
    return [rotation.yaw(item.orientation_xyzw) for item in state.objects.values()]


def _joined(parts: Sequence[Array]) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


def _headings(state: RobotState, _action: Array, _goal: Array) -> Array:
    turned, angles = 0.0, []
    for angle in components(state.joint_position):
        turned = turned + angle
        angles.append(turned)
    return _circle(angles)


def _circle(angles: Sequence[Any]) -> Array:
    cosines, sines = zip(*map(cos_sin, angles), strict=True)
    return from_components((*cosines, *sines))


def _object_up(state: RobotState, _action: Array, _goal: Array) -> Array:
    return _joined([-rotation.gravity_in_body(item.orientation_xyzw) for item in state.objects.values()])


def _object_turn(parts: int) -> Quantity:
    """The yaw of an object that looks the same after 1/parts of a turn: what is learnt about one part serves all."""
    return Quantity(
        "1",
        ("objects",),
        lambda state, _action, _goal: _circle([parts * yaw for yaw in _yaw_of_objects(state)]),
        _object_labels("cos", "sin") if parts == 1 else _object_labels(f"cos_{parts}_yaw", f"sin_{parts}_yaw"),
    )


def _goal_heading(_state: RobotState, _action: Array, goal: Array) -> Array:
    return _circle(components(goal))


def _angle_error(state: RobotState, _action: Array, goal: Array) -> Array:
    return _circle([wanted - yaw for wanted, yaw in zip(components(goal), _yaw_of_objects(state), strict=True)])


def _of_objects(part: str) -> Callable[[RobotState, Array, Array], Array]:
    return lambda state, _action, _goal: _joined([getattr(item, part) for item in state.objects.values()])


def _object_labels(*parts: str) -> Callable[[RobotSpec, Sequence[str]], Sequence[str]]:
    return lambda spec, _goal: [f"{name}.{part}" for part in parts for name in spec.objects]


def _object_axes(*parts: str) -> Callable[[RobotSpec, Sequence[str]], Sequence[str]]:
    return lambda spec, _goal: [f"{name}.{part}" for name in spec.objects for part in parts]


QUANTITIES: Mapping[str, Quantity] = {
    "joint_position": Quantity(
        "rad", ("joint_position",), lambda s, a, g: s.joint_position, _joints, lambda spec: spec.home, 0.3
    ),
    "joint_velocity": Quantity("rad/s", ("joint_velocity",), lambda s, a, g: s.joint_velocity, _joints, scale=5.0),
    # Of a planar arm: along which way each link points. In these the place of the tip is linear.
    "link_heading": Quantity(
        "1",
        ("joint_position",),
        _headings,
        lambda spec, goal: [f"{part}_{joint}" for part in ("cos", "sin") for joint in spec.joint_names],
        scale=0.7,
    ),
    "gravity": Quantity(
        "1", ("orientation",), lambda s, a, g: s.gravity, _xyz, lambda spec: np.array([0.0, 0.0, -1.0]), 0.2
    ),
    "roll_pitch": Quantity("rad", ("orientation",), _roll_pitch, lambda spec, goal: ("roll", "pitch"), scale=0.2),
    "angular_velocity": Quantity("rad/s", ("angular_velocity",), lambda s, a, g: s.angular_velocity, _xyz, scale=1.0),
    "linear_acceleration": Quantity(
        "m/s^2",
        ("linear_acceleration",),
        lambda s, a, g: s.linear_acceleration,
        _xyz,
        lambda spec: np.array([0.0, 0.0, 9.81]),
        5.0,
    ),
    "base_linear_velocity": Quantity(
        "m/s", ("base_linear_velocity",), lambda s, a, g: s.base_linear_velocity, _xyz, scale=0.5
    ),
    "contacts": Quantity("N", ("contacts",), lambda s, a, g: s.contacts, lambda spec, goal: spec.feet, scale=50.0),
    "previous_action": Quantity("1", (), lambda s, a, g: a, lambda spec, goal: spec.action.coordinates),
    # The goal's last component is the cadence in Hz.
    "gait_clock": Quantity("1", (), _gait_clock, lambda spec, goal: ("cos", "sin")),
    # Of a goal that is made of angles.
    "goal_heading": Quantity(
        "1", (), _goal_heading, lambda spec, goal: [f"{part} {name}" for part in ("cos", "sin") for name in goal]
    ),
    "goal": Quantity("mixed", (), lambda s, a, g: g, lambda spec, goal: goal),
    "object_position": Quantity(
        "m", ("objects",), _of_objects("position"), _object_axes("x", "y", "z"), scale=0.1
    ),
    "object_orientation": Quantity(
        "1", ("objects",), _of_objects("orientation_xyzw"), _object_axes("qx", "qy", "qz", "qw"), scale=1.0
    ),
    "object_linear_velocity": Quantity(
        "m/s", ("objects",), _of_objects("linear_velocity"), _object_axes("vx", "vy", "vz"), scale=0.2
    ),
    "object_angular_velocity": Quantity(
        "rad/s", ("objects",), _of_objects("angular_velocity"), _object_axes("wx", "wy", "wz"), scale=2.0
    ),
    # The world's up in the object's frame.
    "object_up": Quantity("1", ("objects",), _object_up, _object_axes("up_x", "up_y", "up_z"), scale=0.3),
    "object_angle": _object_turn(1),
    "object_third_turn": _object_turn(3),
    "object_quarter_turn": _object_turn(4),
    "angle_error": Quantity("1", ("objects",), _angle_error, _object_labels("cos_error", "sin_error")),
}
"""Everything that an observation can be made of."""


@dataclass(frozen=True)
class Entry:
    """One quantity at one age in the observation vector."""

    name: str
    age: int
    """Control ticks since the reading; 0 is the newest."""
    start: int
    size: int
    unit: str
    labels: tuple[str, ...]
    offset: tuple[float, ...]
    scale: tuple[float, ...]


@dataclass(frozen=True)
class ObservationLayout:
    """The order and meaning of every number in an observation."""

    current: tuple[str, ...]
    """Quantities given once, newest reading only."""
    history: tuple[str, ...]
    """Quantities given at each of the last `length` ticks, newest first."""
    length: int
    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        """Length of the observation vector."""
        last = self.entries[-1]
        return last.start + last.size

    @property
    def offset(self) -> Array:
        """(size,), centre of each entry, float32."""
        return np.array([v for entry in self.entries for v in entry.offset], dtype=np.float32)

    @property
    def scale(self) -> Array:
        """(size,), typical deviation of each entry, float32."""
        return np.array([v for entry in self.entries for v in entry.scale], dtype=np.float32)

    @property
    def labels(self) -> tuple[str, ...]:
        """(size,), a name such as `joint_velocity[FL_hip_joint]@-1` for each number."""
        return tuple(
            f"{entry.name}[{label}]" + (f"@-{entry.age}" if entry.age else "")
            for entry in self.entries
            for label in entry.labels
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON values; floats keep full precision."""
        return {
            "current": list(self.current),
            "history": list(self.history),
            "length": self.length,
            "entries": [asdict(entry) for entry in self.entries],
        }


def build_layout(
    spec: RobotSpec,
    goal_labels: Sequence[str],
    current: Sequence[str],
    history: Sequence[str],
    length: int,
    provides: Collection[str] | None = None,
) -> ObservationLayout:
    """Lays out an observation for one robot: the current quantities first, then the history, newest tick first.

    Args:
        spec: the robot.
        goal_labels: names of the goal's components.
        current: quantities given once.
        history: quantities given for each of the last `length` ticks.
        length: ticks of history, at least 1.
        provides: what can be read; the robot's sensors by default, which is all that a policy may observe.

    Raises:
        MissingSensor: a quantity needs a sensor that the robot lacks.
    """
    if length < 1:
        raise ConfigurationError(f"observation history must be at least 1 tick long, got {length}")
    entries: list[Entry] = []
    start = 0
    for name, age in [(name, 0) for name in current] + [(name, age) for age in range(length) for name in history]:
        quantity = quantity_of(name, spec, provides)
        labels = tuple(quantity.labels(spec, goal_labels))
        if not labels:
            continue
        offset = np.broadcast_to(quantity.offset(spec), (len(labels),))
        entries.append(
            Entry(
                name, age, start, len(labels), quantity.unit, labels,
                tuple(float(v) for v in offset), (float(quantity.scale),) * len(labels),
            )
        )  # fmt: skip
        start += len(labels)
    return ObservationLayout(tuple(current), tuple(history), length, tuple(entries))


def quantity_of(name: str, spec: RobotSpec, provides: Collection[str] | None = None) -> Quantity:
    """The quantity of that name; raises MissingSensor where the robot cannot sense it. See `build_layout`."""
    if name not in QUANTITIES:
        raise UnknownName.of("observation", name, QUANTITIES)
    here = spec.sensors if provides is None else provides
    missing = [sensor for sensor in QUANTITIES[name].sensors if sensor not in here]
    if missing:
        raise MissingSensor(
            f"observation {name!r} needs the sensor {missing[0]!r}, which robot {spec.name!r} does not have; "
            f"its sensors: {', '.join(spec.sensors)}"
        )
    return QUANTITIES[name]


class Observer:
    """Builds observations from states and keeps their history, for robots of any leading batch shape."""

    def __init__(self, layout: ObservationLayout, shape: tuple[int, ...] = ()) -> None:
        """Args: layout: what to build; shape: leading batch shape of states."""
        self.layout = layout
        self._reads = [QUANTITIES[entry.name].read for entry in layout.entries if entry.age == 0]
        first_history = len([name for name in layout.current if any(e.name == name for e in layout.entries)])
        entries = layout.entries
        self._history_start = entries[first_history].start if first_history < len(entries) else layout.size
        self._frame = (layout.size - self._history_start) // layout.length
        self._younger = (..., slice(self._history_start, layout.size - self._frame))
        self._older = (..., slice(self._history_start + self._frame, layout.size))
        self._observation = np.zeros((*shape, layout.size), dtype=np.float32)
        self.newest = self._observation[..., : self._history_start + self._frame]
        """(..., first entries), what the last reading gave; a view."""

    def reset(self, state: RobotState, action: Array, goal: Array, rows: Any = ...) -> None:
        """Starts the history of some rows: every age holds the first reading.

        Args:
            state: reading of these rows, (k, ...) or without leading shape.
            action: previous action of these rows, (k, d).
            goal: goal of these rows, (k, g).
            rows: which rows of the batch; all by default.
        """
        newest = np.concatenate([read(state, action, goal) for read in self._reads], axis=-1)
        start = self._history_start
        self._observation[rows] = np.concatenate(
            [newest[..., :start], *[newest[..., start:]] * self.layout.length], axis=-1
        )

    def advance(self, state: RobotState, action: Array, goal: Array) -> None:
        """Takes in the state of the next tick; the oldest one leaves the history."""
        observation = self._observation
        if self.layout.length > 1:
            observation[self._older] = observation[self._younger]
        np.concatenate(
            [read(state, action, goal) for read in self._reads], axis=-1, out=self.newest, casting="same_kind"
        )

    def observation(self) -> Array:
        """The observation now, (..., size), float32, a copy."""
        return self._observation.copy()

    def restore(self, observation: Array) -> None:
        """Puts back what `observation` gave."""
        self._observation[...] = observation
