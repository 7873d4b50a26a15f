"""The map from a policy's action to a joint command."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robot_rl.observation import ObservationLayout
from robot_rl.spec import RobotSpec
from robot_rl.stepping import CLOCK, Stepping

Array = NDArray[np.floating]


class ActionMap:
    """position = home + mixing (scale * action), and what the joints do by themselves."""

    def __init__(
        self, spec: RobotSpec, stepping: Stepping | None = None, layout: ObservationLayout | None = None
    ) -> None:
        """Args: spec: the robot; stepping: added, by the clock in the observation; layout: of that observation."""
        self._home = spec.home
        self._stepping = stepping
        self._clock = 0
        if stepping is not None:
            assert layout is not None
            self._clock = layout.labels.index(CLOCK)
        matrix = spec.action.mixing * spec.action.scale  # (n, d)
        diagonal = matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.diag(np.diag(matrix)))
        # Most robots have one action component per joint: a product by element costs a third of a matrix product.
        self._gain = np.diag(matrix).copy() if diagonal else None
        self._matrix = matrix.T.copy()  # (d, n)

    def command(self, action: Array, observation: Array | None = None) -> Array:
        """Joint positions (..., n) in rad or m; not yet limited.

        Args:
            action: in [-1, 1], (..., d).
            observation: what the action answers, (..., size) or its first part up to the clock; needed for stepping.
        """
        position = self._home + (action @ self._matrix if self._gain is None else self._gain * action)
        if self._stepping is None:
            return position
        assert observation is not None
        return position + self._stepping.displacement(observation[..., self._clock])
