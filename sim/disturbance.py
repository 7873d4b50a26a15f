"""Noise and constant errors of one copy's sensors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.mujoco_reader import MujocoReader

Array = NDArray[np.floating]


class Disturbance:
    """What is added to a copy's readings, in the layout of `MujocoReader.noise_std`."""

    def __init__(self, reader: MujocoReader) -> None:
        """Args: reader: of the copy."""
        self._reader = reader
        self._deviation: Array = reader.noise_std.copy()
        self._bias: Array = np.zeros(reader.noise_std.size)
        self._turn: Array | None = None
        self._plain = True

    def reset(self) -> None:
        """Back to the noise of the robot's file, without constant errors."""
        self._deviation, self._turn, self._plain = self._reader.noise_std, None, True

    def set_noise(self, sensor: str, deviation: float) -> None:
        """One standard deviation, in the sensor's unit."""
        self._begin()
        self._deviation[self._reader.noise_at(sensor)] = 0.5 * deviation if sensor == "orientation" else deviation

    def set_bias(self, sensor: str, error: Array) -> None:
        """Constant error of each of the sensor's numbers; of the orientation a turn about body axes, rad, (3,)."""
        self._begin()
        if sensor == "orientation":
            self._turn = error
        else:
            self._bias[self._reader.noise_at(sensor)] = error

    def _begin(self) -> None:
        if self._plain:
            self._deviation, self._bias = self._reader.noise_std.copy(), np.zeros(self._reader.noise_std.size)
            self._plain = False

    def of(self, unit: Array | None, raw: Array) -> Array | None:
        """What to add to a reading.

        Args:
            unit: standard normal numbers, (noise_size,); None for sensors without noise.
            raw: the reading, (raw_size,).

        Returns:
            (noise_size,), or None for nothing.
        """
        if self._plain:
            return None if unit is None else unit * self._deviation
        found = self._bias.copy() if unit is None else unit * self._deviation + self._bias
        if self._turn is not None:
            # q (1 + turn / 2) = q + q turn / 2: the turn, as a quaternion without real part, is in the body's frame.
            at = self._reader.base_qpos
            w, x, y, z = raw[at + 3 : at + 7]
            a, b, c = 0.5 * self._turn
            found[self._reader.noise_at("orientation")] += (
                w * a + y * c - z * b,
                w * b + z * a - x * c,
                w * c + x * b - y * a,
                -(x * a + y * b + z * c),
            )
        return found
