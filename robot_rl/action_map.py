"""The map from a policy's action to a joint command."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robot_rl.spec import RobotSpec

Array = NDArray[np.floating]


class ActionMap:
    """position = home + mixing (scale * action)."""

    def __init__(self, spec: RobotSpec) -> None:
        """Args: spec: the robot."""
        self._home = spec.home
        matrix = spec.action.mixing * spec.action.scale  # (n, d)
        diagonal = matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.diag(np.diag(matrix)))
        # Most robots have one action component per joint: a product by element costs a third of a matrix product.
        self._gain = np.diag(matrix).copy() if diagonal else None
        self._matrix = matrix.T.copy()  # (d, n)

    def command(self, action: Array) -> Array:
        """Joint positions (..., n) in rad or m for an action (..., d) in [-1, 1]; not yet limited."""
        if self._gain is not None:
            return self._home + self._gain * action
        return self._home + action @ self._matrix
