"""What the joints of a robot were told and did, sample by sample: what motors are fitted from."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import ConfigurationError
from robot_rl.npz import read_npz
from robot_rl.spec import RobotSpec

Array = NDArray[np.floating]


@dataclass(frozen=True)
class JointLog:
    """One stretch of time, sampled evenly."""

    interval: float
    """s between samples."""
    command: Array
    """(T, n), rad, in force when the sample was taken."""
    position: Array
    """(T, n), rad."""
    velocity: Array
    """(T, n), rad/s."""
    effort: Array
    """(T, n), N m, as measured."""

    def __post_init__(self) -> None:
        """Refuses arrays of different sizes, and what is not finite."""
        shape = self.command.shape
        for field in fields(self)[1:]:
            array = getattr(self, field.name)
            if array.ndim != 2 or array.shape != shape:
                raise ConfigurationError(f"joint log: {field.name} has shape {array.shape}, command has {shape}")
            if not np.isfinite(array).all():
                raise ConfigurationError(f"joint log: {field.name} is not finite")
        if not 0.0 < self.interval < np.inf:
            raise ConfigurationError(f"joint log: expected an interval above 0 s, got {self.interval}")


def read_joint_log(path: str | Path, spec: RobotSpec) -> JointLog:
    """Reads an NPZ file with the arrays `interval`, `command`, `position`, `velocity`, `effort`.

    Raises:
        ConfigurationError: no such file, a damaged one, an array missing, or of another robot's size.
    """
    content = read_npz(path, "joint log")
    missing = [field.name for field in fields(JointLog) if field.name not in content]
    if missing:
        raise ConfigurationError(f"cannot read joint log {path}: it lacks {', '.join(missing)}")
    try:
        interval = float(content["interval"])
        command, position, velocity, effort = (content[field.name].astype(np.float64) for field in fields(JointLog)[1:])
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"cannot read joint log {path}: {error}") from error
    if command.ndim != 2:
        raise ConfigurationError(
            f"joint log {path}: command has shape {command.shape}; expected (T, {spec.joints}), a row for each sample"
        )
    if command.shape[1] != spec.joints:
        raise ConfigurationError(
            f"joint log {path} has {command.shape[1]} joints, robot {spec.name!r} has {spec.joints}"
        )
    return JointLog(interval, command, position, velocity, effort)
