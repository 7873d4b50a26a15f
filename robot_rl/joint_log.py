"""What the joints of a robot were told and did, sample by sample: what motors are fitted from."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import ConfigurationError
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
        ConfigurationError: no such file, an array missing, or of another robot's size.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            missing = [field.name for field in fields(JointLog) if field.name not in content]
            if missing:
                raise KeyError(f"it lacks {', '.join(missing)}")
            interval = float(content["interval"])
            command, position, velocity, effort = (
                np.array(content[field.name], dtype=np.float64) for field in fields(JointLog)[1:]
            )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"cannot read joint log {path}: {' '.join(map(str, error.args))}") from error
    if command.shape[-1] != spec.joints:
        raise ConfigurationError(
            f"joint log {path} has {command.shape[-1]} joints, robot {spec.name!r} has {spec.joints}"
        )
    return JointLog(interval, command, position, velocity, effort)
