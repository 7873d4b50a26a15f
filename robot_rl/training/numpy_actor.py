"""The actor without torch: what a robot's control loop computes between two ticks, from one flat vector of weights.

torch takes seconds to load, brings threads of its own, and serves one observation more slowly than NumPy does.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class ActorShape:
    """Everything about a tanh-Gaussian or a deterministic actor but its weights."""

    observation_size: int
    action_size: int
    hidden_sizes: tuple[int, ...]
    log_std_min: float
    log_std_max: float
    clip: float
    """Bound on normalised observations."""
    exploration_noise: float | None = None
    """Of a deterministic actor, the standard deviation of what is added to its action; None for a Gaussian one."""

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Inputs and outputs of each layer, the head last."""
        head = (2 if self.exploration_noise is None else 1) * self.action_size
        return list(pairwise((self.observation_size, *self.hidden_sizes, head)))

    @property
    def size(self) -> int:
        """Numbers in the flat vector: offset and scale of the normaliser, then weight and bias of each layer."""
        return 2 * self.observation_size + sum(inputs * outputs + outputs for inputs, outputs in self.layers)


class NumpyActor:
    """pi(a|s): a = tanh(u), u ~ N(mean(s), std(s)^2), or a = clip(tanh(mean(s)) + noise).

    Attributes:
        shape: of the actor.
    """

    def __init__(self, shape: ActorShape, flat: np.ndarray, seed: int) -> None:
        """Args: shape: of the actor; flat: its weights, see `load`; seed: of the samples."""
        self.shape = shape
        self._rng = np.random.default_rng(seed)
        self.load(flat)

    def load(self, flat: np.ndarray) -> None:
        """Takes new weights.

        Args:
            flat: float32, (shape.size,): offset (O,), scale (O,), then for each layer its weight (outputs, inputs), row
                by row, and its bias. It is kept, not copied.
        """
        sizes = [self.shape.observation_size] * 2
        for inputs, outputs in self.shape.layers:
            sizes += [inputs * outputs, outputs]
        self._offset, self._scale, *parts = np.split(flat, np.cumsum(sizes)[:-1])
        layers = zip(self.shape.layers, parts[::2], parts[1::2], strict=True)
        self._layers = [(weight.reshape(outputs, inputs), bias) for (inputs, outputs), weight, bias in layers]

    def act(self, observation: np.ndarray, deterministic: bool = False) -> np.ndarray:
        """An action in [-1, 1], (A,) float32, for a raw observation, (O,); the mode instead of a sample if asked."""
        clip = self.shape.clip
        x = np.clip((observation - self._offset) / self._scale, -clip, clip)  # (O,)
        for weight, bias in self._layers[:-1]:
            x = np.maximum(weight @ x + bias, 0.0)
        weight, bias = self._layers[-1]
        noise = self.shape.exploration_noise
        if noise is not None:
            action = np.tanh(weight @ x + bias)  # (A,)
            if not deterministic:
                action += np.float32(noise) * self._rng.standard_normal(len(action), dtype=np.float32)
            return np.clip(action, -1.0, 1.0)
        mean, log_std = np.split(weight @ x + bias, 2)  # (A,) each
        if not deterministic:
            std = np.exp(np.clip(log_std, self.shape.log_std_min, self.shape.log_std_max))
            mean = mean + std * self._rng.standard_normal(len(mean), dtype=np.float32)
        return np.tanh(mean)
