"""Several copies of one robot in PyBullet, one after the other: PyBullet simulates on one core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_rl.arrays import frozen
from robot_rl.errors import ConfigurationError
from robot_rl.robot import JointCommand, RobotState, Start
from robot_rl.spec import RobotSpec
from sim.pybullet_robot import PyBulletRobot
from sim.sensor_noise import SensorNoise
from sim.simulated_robot import check_commands

Array = NDArray[np.floating]


class PyBulletBatch:
    """A `BatchRobot` of single robots; each copy computes exactly what a single `PyBulletRobot` computes."""

    def __init__(self, spec: RobotSpec, count: int, noise: bool = True) -> None:
        """Makes the copies.

        Args:
            spec: the robot.
            count: number of copies.
            noise: whether sensors carry the spec's noise.
        """
        if count < 1:
            raise ConfigurationError(f"a batch needs at least 1 robot, got {count}")
        self.spec, self.count = spec, count
        self._robots = [PyBulletRobot(spec, noise=False) for _ in range(count)]
        self.reader = self._robots[0].reader
        self.provides = self.reader.provides
        self._noise = SensorNoise(self.reader.noise_std, count) if noise and self.reader.noise_std.size else None
        self._applied = np.tile(spec.home, (count, 1))

    def reset(self, rows: NDArray[np.intp], starts: Sequence[Start], rng: np.random.Generator) -> RobotState:
        """Brings some copies to their starts and reads these."""
        for row, start in zip(rows, starts, strict=True):
            self._robots[row].reset(start, rng)
            self._applied[row] = start.joint_position
        noise = None
        if self._noise is not None:
            self._noise.begin(rng)
            noise = self._noise.of_first(len(rows))
        return self._read(rows, noise)

    def step(self, command: JointCommand) -> RobotState:
        """Holds the commands for one control tick in every copy.

        Args:
            command: (count, n), rad or m.

        Raises:
            InvalidInput: the commands have another shape or are not finite.
            RobotFault: the simulation of a copy diverged.
        """
        target = command.position
        check_commands(self.spec, target, self.count)
        self._applied = np.array(target, dtype=np.float64)
        for robot, row in zip(self._robots, self._applied, strict=True):
            robot.step(JointCommand(row))
        return self._read(np.arange(self.count), None if self._noise is None else self._noise.of_next())

    def close(self) -> None:
        """Leaves PyBullet."""
        for robot in self._robots:
            robot.close()

    def snapshot(self) -> dict[str, Any]:
        """That of every copy, the commands in force, and the noise drawn ahead."""
        each = enumerate(robot.snapshot() for robot in self._robots)
        return {
            **{f"{row}/{name}": value for row, snapshot in each for name, value in snapshot.items()},
            "applied": self._applied.copy(),
            "noise": np.zeros(0) if self._noise is None else self._noise.snapshot(),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Puts a snapshot back, bit for bit."""
        for row, robot in enumerate(self._robots):
            own = f"{row}/"
            robot.restore({name[len(own) :]: value for name, value in snapshot.items() if name.startswith(own)})
        self._applied = np.array(snapshot["applied"])
        if self._noise is not None:
            self._noise.restore(snapshot["noise"])

    def use_rng(self, rng: np.random.Generator) -> None:
        """Draws sensor noise from `rng` from now on; for restoring a snapshot together with its generator."""
        if self._noise is not None:
            self._noise.use(rng)

    def _read(self, rows: NDArray[np.intp], noise: Array | None) -> RobotState:
        stamp = frozen(np.array([self._robots[row].data.time for row in rows]))
        raw = np.stack([self._robots[row].raw() for row in rows])
        return self.reader.read(stamp, raw, noise, frozen(self._applied[rows].copy()))
