"""Observation normaliser: fixed, or running mean and standard deviation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from robot_rl.errors import InvalidInput, StorageError
from robot_rl.training.state import State


class Normalizer:
    """Maps an observation o to clip((o - offset) / scale, -clip, clip).

    The fixed kind keeps the offset and scale it was given. The running kind follows the mean and standard deviation
    of all observations seen so far (Welford 1962, in the batched form of Chan et al. 1979).

    Attributes:
        offset: (O,) float32, in the units of the observation. Updated in place by the running kind.
        scale: (O,) float32, > 0, in the units of the observation. Updated in place by the running kind.
        clip: bound on the result, > 0; infinity for none.
        running: whether `observe` changes anything.
    """

    def __init__(self, offset: np.ndarray, scale: np.ndarray, clip: float = 10.0, running: bool = False) -> None:
        """Makes a normaliser.

        Raises:
            InvalidInput: shapes differ, a number is not finite, or a scale or the clip is not positive.
        """
        self.offset = np.array(offset, dtype=np.float32)
        self.scale = np.array(scale, dtype=np.float32)
        self.clip = float(clip)
        self.running = running
        if self.offset.ndim != 1 or self.offset.shape != self.scale.shape:
            raise InvalidInput(
                f"normaliser: offset and scale must be vectors of one length, got {self.offset.shape} "
                f"and {self.scale.shape}"
            )
        if not (np.isfinite(self.offset).all() and np.isfinite(self.scale).all() and (self.scale > 0).all()):
            raise InvalidInput("normaliser: offset must be finite and scale finite and positive")
        if not self.clip > 0:
            raise InvalidInput(f"normaliser: clip must be positive, got {clip}")
        self._count = 0
        self._mean = np.zeros(self.size, dtype=np.float64)
        self._squares = np.zeros(self.size, dtype=np.float64)

    @classmethod
    def identity(cls, size: int) -> Normalizer:
        """Leaves observations of `size` numbers as they are, unclipped."""
        return cls(np.zeros(size), np.ones(size), clip=math.inf)

    @classmethod
    def running_statistics(cls, size: int, clip: float = 10.0) -> Normalizer:
        """Follows the mean and standard deviation of the observations; the identity until the second one."""
        return cls(np.zeros(size), np.ones(size), clip=clip, running=True)

    def first(self, count: int) -> Normalizer:
        """What it does now to the first `count` entries, as a fixed normaliser."""
        return Normalizer(self.offset[:count], self.scale[:count], self.clip)

    @property
    def size(self) -> int:
        """Number of entries of an observation."""
        return self.offset.shape[0]

    @property
    def is_identity(self) -> bool:
        """Whether normalising changes nothing, now and later."""
        return not self.running and math.isinf(self.clip) and not self.offset.any() and bool((self.scale == 1).all())

    def observe(self, observation: np.ndarray) -> None:
        """Takes observations, (O,) or (N, O), into the running statistics; the fixed kind ignores them."""
        if not self.running:
            return
        rows = np.atleast_2d(np.asarray(observation, dtype=np.float64))  # (N, O)
        mean = rows.mean(axis=0)
        self._add(rows.shape[0], mean, ((rows - mean) ** 2).sum(axis=0))

    def merge(self, other: Normalizer) -> None:
        """Takes into the running statistics what another running normaliser has seen; the fixed kind ignores it."""
        if self.running and other._count:
            self._add(other._count, other._mean, other._squares)

    def _add(self, new: int, mean: np.ndarray, squares: np.ndarray) -> None:
        """Statistics of `new` more observations: their mean (O,) and summed squares about it (O,)."""
        old = self._count
        shift = mean - self._mean
        self._count = old + new
        # mean <- mean + shift n / (m + n);  M2 <- M2 + M2_new + shift^2 m n / (m + n)
        self._squares += squares + shift**2 * (old * new / self._count)
        self._mean += shift * (new / self._count)
        if self._count > 1:
            deviation = np.sqrt(self._squares / self._count)
            self.offset[:] = self._mean
            # An entry that never varied has no scale of its own: leave its unit, or noise of 1e-9 becomes a signal.
            self.scale[:] = np.where(deviation > 1e-4, deviation, 1.0)

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """The normalised observation, float32, of the same shape (..., O)."""
        scaled = (np.asarray(observation, dtype=np.float32) - self.offset) / self.scale
        return np.clip(scaled, -self.clip, self.clip)

    def beginning(self, observation: np.ndarray) -> np.ndarray:
        """As a call, for rows that end before the last entry, (..., K), K <= O."""
        row = np.asarray(observation, dtype=np.float32)
        scaled = (row - self.offset[: row.shape[-1]]) / self.scale[: row.shape[-1]]
        return np.clip(scaled, -self.clip, self.clip)

    def state(self) -> State:
        """All of it, statistics included."""
        arrays: dict[str, np.ndarray] = {
            "offset": self.offset,
            "scale": self.scale,
            "mean": self._mean,
            "squares": self._squares,
        }
        clip = None if math.isinf(self.clip) else self.clip
        values: dict[str, Any] = {"clip": clip, "running": self.running, "count": self._count}
        return State(arrays={name: array.copy() for name, array in arrays.items()}, values=values)

    def load_state(self, state: State) -> None:
        """Takes over a saved state.

        Raises:
            StorageError: the state belongs to observations of another size.
        """
        saved = state.arrays.get("offset")
        if saved is None or saved.shape != self.offset.shape:
            found = "none" if saved is None else f"{saved.shape[0]} entries"
            raise StorageError(f"normaliser: the saved state has {found}, the observation has {self.size}")
        self.offset[:] = state.arrays["offset"]
        self.scale[:] = state.arrays["scale"]
        self._mean[:] = state.arrays["mean"]
        self._squares[:] = state.arrays["squares"]
        self._count = int(state.values["count"])
        self.running = bool(state.values["running"])
        clip = state.values["clip"]
        self.clip = math.inf if clip is None else float(clip)
