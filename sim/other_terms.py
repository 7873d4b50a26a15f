"""Terms that act beside MuJoCo's model: motors, sensors, delays, pushes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from robot_rl.actuator_network import read_actuator_network
from robot_rl.errors import ConfigurationError, NoPart, UnknownName
from robot_rl.section import Section
from robot_rl.timing import read_timing
from sim.channels import Latency
from sim.distributions import Distribution
from sim.motors import NetworkMotors
from sim.parts import Parts
from sim.term import Bound, draws, one_of, optional

if TYPE_CHECKING:
    from sim.varied_copy import VariedCopy

Array = NDArray[np.floating]


# -- motors -----------------------------------------------------------------------------------------------------------


def torque_speed(section: Section, parts: Parts) -> Bound:
    """Torque at rest (`stall`, ratio of the effort limit) and speed without load (`no_load`, of the velocity limit)."""
    spec = parts.spec
    stall, _ = draws(section, "stall", ["stall"], False, above=0.0)
    no_load, _ = draws(section, "no_load", ["no_load"], False, above=0.0)

    def apply(copy: VariedCopy, values: Array) -> None:
        assert copy.motors is not None
        copy.motors.stall = values[0] * spec.effort_limit
        copy.motors.no_load = values[1] * spec.velocity_limit

    return Bound(("stall", "no_load"), lambda rng: np.concatenate([stall(rng), no_load(rng)]), apply)


def actuator_network(section: Section, parts: Parts) -> Bound:
    """Motors as they were measured: a network fitted to logs takes the place of the ideal joint controller."""
    path, digest = section.text("file"), section.value("digest", None)
    network = read_actuator_network(path, parts.spec)
    if digest is not None and digest != file_digest(path):
        raise ConfigurationError(f"{section.where}.file: {path} has changed since it was configured")
    ratio = network.interval / parts.spec.simulation.physics_dt
    if ratio < 0.5 or abs(ratio - round(ratio)) > 0.01:
        raise ConfigurationError(
            f"{section.where}.file: {path} takes a sample every {1e3 * network.interval:g} ms, which is no multiple of "
            f"the physics step of robot {parts.spec.name!r}, {1e3 * parts.spec.simulation.physics_dt:g} ms"
        )

    def apply(copy: VariedCopy, values: Array) -> None:
        # Force = gain * ctrl: the network says the torque.
        copy.fields["actuator_gainprm"][:, 0] = 1.0
        copy.fields["actuator_biasprm"][:, :3] = 0.0
        copy.network = NetworkMotors(network, round(ratio))

    return Bound((), lambda rng: np.zeros(0), apply, ("actuator_gainprm", "actuator_biasprm"))


def battery(section: Section, parts: Parts) -> Bound:
    """Voltage, as a ratio of the nominal one or in `volts`; needs motors with a torque-speed curve."""
    motor = parts.spec.simulation.motor
    key = one_of(section, "ratio", "volts")
    if key == "volts" and motor is None:
        raise NoPart(f"robot {parts.spec.name!r} has no simulation.motor, so its nominal voltage is unknown; use ratio")
    draw, _ = draws(section, key, [""], False, above=0.0)

    def apply(copy: VariedCopy, values: Array) -> None:
        assert copy.motors is not None
        copy.motors.voltage = float(values[0]) / (motor.voltage if key == "volts" and motor is not None else 1.0)

    return Bound(("",), draw, apply)


# -- sensors ----------------------------------------------------------------------------------------------------------


def encoder_offset(section: Section, parts: Parts) -> Bound:
    """What a joint's encoder reads too much, rad; the joint's controller believes it too."""
    draw, labels = draws(section, "angle", parts.spec.joint_names, True, 0.0)

    def apply(copy: VariedCopy, values: Array) -> None:
        copy.encoder_offset = np.broadcast_to(values, (parts.spec.joints,)).copy()

    return Bound(labels, draw, apply)


def sensor_noise(section: Section, parts: Parts) -> Bound:
    """Standard deviation of each sensor's noise: a `ratio` of the robot's own, or by sensor in its unit."""
    if "ratio" in section:
        ratio, own = optional(section, "ratio", 1.0, at_least=0.0), _own_noise(parts)

        def scale(copy: VariedCopy, values: Array) -> None:
            for name, deviation in own.items():
                copy.disturbance.set_noise(name, float(values[0]) * deviation)

        return Bound(("ratio",), lambda rng: ratio.sample(rng, 1), scale)
    sensors = _by_sensor(section, parts, at_least=0.0)

    def apply(copy: VariedCopy, values: Array) -> None:
        for name, deviation in zip(sensors, values.tolist(), strict=True):
            copy.disturbance.set_noise(name, deviation)

    return Bound(tuple(sensors), lambda rng: np.array([one.one(rng) for one in sensors.values()]), apply)


def sensor_bias(section: Section, parts: Parts) -> Bound:
    """Constant error of each reading: a `ratio` of the sensor's noise, or by sensor in its unit."""
    if "ratio" in section:
        ratio = optional(section, "ratio", 0.0)
        sensors = {name: ratio.scaled(noise) for name, noise in _own_noise(parts).items()}
    else:
        sensors = _by_sensor(section, parts)
    sizes = {name: _size(name, parts) for name in sensors}
    labels = tuple(f"{name}.{i}" for name in sensors for i in range(sizes[name]))

    def draw(rng: np.random.Generator) -> Array:
        return np.concatenate([one.sample(rng, sizes[name]) for name, one in sensors.items()])

    def apply(copy: VariedCopy, values: Array) -> None:
        start = 0
        for name, size in sizes.items():
            copy.disturbance.set_bias(name, values[start : start + size])
            start += size

    return Bound(labels, draw, apply)


def _own_noise(parts: Parts) -> dict[str, float]:
    """Standard deviation by sensor, of those that have noise."""
    noisy = {name: noise for name, noise in parts.spec.sensors.items() if noise > 0.0}
    if not noisy:
        raise NoPart(f"no sensor of robot {parts.spec.name!r} has noise to take a ratio of")
    return noisy


def _by_sensor(section: Section, parts: Parts, **bounds: float) -> dict[str, Distribution]:
    """A distribution for each sensor that the term names."""
    known = [name for name in parts.spec.sensors if name != "objects"]
    if not section.names():
        raise ConfigurationError(f"{section.where}: expected ratio, or sensors by name: {', '.join(known)}; got none")
    for name in section.names():
        if name not in known:
            raise UnknownName.of("sensor", name, known, f"in {section.where}")
    return {name: optional(section, name, 0.0, **bounds) for name in section.names()}


def _size(sensor: str, parts: Parts) -> int:
    joints = ("joint_position", "joint_velocity", "joint_effort")
    return parts.spec.joints if sensor in joints else len(parts.spec.feet) if sensor == "contacts" else 3


# -- time -------------------------------------------------------------------------------------------------------------


def actuation_delay(section: Section, parts: Parts) -> Bound:
    """s from a command to the motors: `delay` of an episode, `jitter` of each command, and the share that is lost."""
    bind, labels, draw = _latency(section)

    def apply(copy: VariedCopy, values: Array) -> None:
        copy.actuation = bind(values)

    return Bound(labels, draw, apply)


def observation_delay(section: Section, parts: Parts) -> Bound:
    """s from a measurement to the policy: `delay` of an episode, `jitter` of each tick, and the share that is lost."""
    bind, labels, draw = _latency(section)

    def apply(copy: VariedCopy, values: Array) -> None:
        copy.observation = bind(values)

    return Bound(labels, draw, apply)


def _latency(
    section: Section,
) -> tuple[Callable[[Array], Latency], tuple[str, ...], Callable[[np.random.Generator], Array]]:
    """How values become a latency, their labels, and how to draw them."""
    delay = optional(section, "delay", 0.0, at_least=0.0)
    drop = optional(section, "drop", 0.0, at_least=0.0, at_most=1.0)
    jitter = optional(section, "jitter", 0.0) if "jitter" in section else None
    section.value("jitter", None)

    def bind(values: Array) -> Latency:
        return Latency(float(values[0]), jitter, float(values[1]))

    return bind, ("delay", "drop"), lambda rng: np.array([delay.one(rng), drop.one(rng)])


def period_jitter(section: Section, parts: Parts) -> Bound:
    """s by which each control tick comes late; deadlines are absolute. Rounded to steps of the physics."""
    late = optional(section, "late", 0.0, at_least=0.0)

    def apply(copy: VariedCopy, values: Array) -> None:
        copy.lateness = late

    return Bound((), lambda rng: np.zeros(0), apply)


def timing(section: Section, parts: Parts) -> Bound:
    """Replays a timing log, tick by tick from a random place: periods, age of the state, time until the command."""
    path = section.text("log")
    trace, digest = read_timing(path), section.value("digest", None)
    if digest is not None and digest != file_digest(path):
        raise ConfigurationError(f"{section.where}.log: {path} has changed since it was configured")
    spec = parts.spec
    usual = float(np.median(trace.period))
    if abs(usual - spec.control_dt) > 0.2 * spec.control_dt:
        raise ConfigurationError(
            f"{section.where}.log: {path} was recorded at {1 / usual:.3g} Hz, robot {spec.name!r} is controlled at "
            f"{spec.control_rate:g} Hz"
        )

    def apply(copy: VariedCopy, values: Array) -> None:
        copy.trace, copy.trace_start = trace, int(values[0])

    return Bound(("start",), lambda rng: np.array([float(rng.integers(len(trace.period)))]), apply)


def file_digest(path: str) -> str:
    """SHA-256 of a file that a term reads, so that a run that goes on can tell whether it is still the same."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


# -- world ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Push:
    """Pushes against the base, from any side at any time."""

    speed: Distribution
    """m/s by which a push changes the velocity of a robot that is free to move."""
    interval: Distribution
    """s from push to push."""
    duration: float
    """s."""


def push(section: Section, parts: Parts) -> Bound:
    """Horizontal pushes against the base: change of `velocity`, m/s, every `interval` s, for `duration` s each."""
    base = parts.base
    plan = Push(
        optional(section, "velocity", 0.5, at_least=0.0),
        optional(section, "interval", [2.0, 4.0], above=0.0),
        section.number("duration", 0.1, above=0.0),
    )

    def apply(copy: VariedCopy, values: Array) -> None:
        copy.push, copy.pushed = plan, base

    return Bound((), lambda rng: np.zeros(0), apply)


def events(parts: Parts) -> Bound:
    """The seed of all that is drawn during an episode; no term of a file, but every randomised robot has it."""

    def apply(copy: VariedCopy, values: Array) -> None:
        copy.seed = int(values[0])

    return Bound(("",), lambda rng: np.array([float(rng.integers(2**53))]), apply)

