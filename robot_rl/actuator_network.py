"""A motor as it was measured: the joint controller's law, and what a small network has learnt of the rest.

    torque = within limits (ideal + limit * f(kp e / limit, v / velocity limit)), both over the last few samples
    ideal = within limits (kp e - kd v)

With f = 0 it is the ideal motor. One network serves all joints; the scales make them alike.

The file is JSON: it names robot, joints, rates and units, and holds the weights, so that it cannot be used on another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import ConfigurationError
from robot_rl.spec import RobotSpec

Array = NDArray[np.floating]

_FAR = 3.0
"""Limits of effort."""
FORMAT = "robot_rl.actuator_network/1"


@dataclass(frozen=True)
class ActuatorNetwork:
    """A learnt motor model, the contract of its file."""

    robot: str
    joint_names: tuple[str, ...]
    interval: float
    """s between samples."""
    history: int
    """H, samples that it looks at, the newest among them."""
    kp: Array
    """(n,), N m/rad."""
    kd: Array
    """(n,), N m s/rad."""
    effort_limit: Array
    """(n,), N m."""
    velocity_limit: Array
    """(n,), rad/s."""
    weights: tuple[Array, ...]
    """(in, out) of each layer; 2 H inputs, one output; tanh between."""
    biases: tuple[Array, ...]
    """(out,) of each layer."""
    fit: Mapping[str, Any]
    """What it was fitted from and how well."""

    def torque(self, error: Array, velocity: Array) -> Array:
        """What the motors give.

        Args:
            error: (H, ..., n), rad, command minus position, the newest last.
            velocity: (H, ..., n), rad/s.

        Returns:
            (..., n), N m, within the effort limit.
        """
        learnt = self.effort_limit * self.rest(features(error, velocity, self))[..., 0]
        return within_limits(ideal_torque(error[-1], velocity[-1], self) + learnt, self)

    def rest(self, inputs: Array) -> Array:
        """The network f, (..., 2 H) -> (..., 1)."""
        hidden = inputs
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = np.tanh(hidden @ weight + bias)
        return hidden @ self.weights[-1] + self.biases[-1]

    def to_json(self) -> str:
        """The file's content; floats keep full precision."""
        values: dict[str, Any] = {"format": FORMAT, "units": "rad, rad/s, N m, s"}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("weights", "biases"):
                value = [one.tolist() for one in value]
            values[field.name] = value.tolist() if isinstance(value, np.ndarray) else value
        return json.dumps(values, indent=1) + "\n"


def ideal_torque(error: Array, velocity: Array, scales: Any) -> Array:
    """What ideal motors give, (..., n), of (..., n) errors and velocities; `scales` has gains and limits."""
    return within_limits(scales.kp * error - scales.kd * velocity, scales)


def within_limits(torque: Array, scales: Any) -> Array:
    """(..., n), N m."""
    return np.minimum(np.maximum(torque, -scales.effort_limit), scales.effort_limit)


def features(error: Array, velocity: Array, scales: Any) -> Array:
    """Inputs of the network, (..., n, 2 H), of (H, ..., n) errors and velocities; `scales` has gains and limits."""
    asked = error * (scales.kp / scales.effort_limit)
    # Far beyond the limit a motor gives no more: there the network need not tell errors apart.
    scaled = np.concatenate([np.minimum(np.maximum(asked, -_FAR), _FAR), velocity / scales.velocity_limit])
    return np.moveaxis(scaled, 0, -1)


def read_actuator_network(path: str | Path, spec: RobotSpec) -> ActuatorNetwork:
    """Reads a file and checks that it is for this robot.

    Raises:
        ConfigurationError: no such file, not one of these, or fitted for another robot, other joints or gains.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read actuator network {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"actuator network {path} is not JSON: {error}") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ConfigurationError(f"{path} is no actuator network of the format {FORMAT}")
    try:
        given = {field.name: values[field.name] for field in fields(ActuatorNetwork)}
        for name in ("kp", "kd", "effort_limit", "velocity_limit"):
            given[name] = np.array(given[name], dtype=np.float64)
        for name in ("weights", "biases"):
            given[name] = tuple(np.array(one, dtype=np.float64) for one in given[name])
        network = ActuatorNetwork(**{**given, "joint_names": tuple(given["joint_names"])})
        sizes = [2 * network.history, *(len(bias) for bias in network.biases)]
        shapes_fit = [w.shape for w in network.weights] == list(pairwise(sizes)) and sizes[-1] == 1
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"actuator network {path} is damaged: {error!r}") from error
    if not shapes_fit or not all(np.isfinite(one).all() for one in (*network.weights, *network.biases)):
        raise ConfigurationError(f"actuator network {path} is damaged: weights of wrong shapes or not finite")
    if network.robot != spec.name or network.joint_names != spec.joint_names:
        raise ConfigurationError(f"actuator network {path} was fitted for robot {network.robot!r}, not {spec.name!r}")
    if not (np.array_equal(network.kp, spec.kp) and np.array_equal(network.kd, spec.kd)):
        raise ConfigurationError(f"actuator network {path} was fitted with other gains than {spec.name!r} has now")
    return network
