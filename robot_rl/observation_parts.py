"""How an observation of several parts lies in one row of numbers.

Environments, policy files and robots speak of parts by name: `state`, numbers in SI; `camera`, a picture; `privileged`,
what only a simulation knows. Learners and replay speak of one row, the parts in this order one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

STATE, CAMERA, PRIVILEGED = "state", "camera", "privileged"


@dataclass(frozen=True)
class ObservationParts:
    """Sizes of the parts; an observation of the state alone is a plain vector everywhere."""

    state: int
    """Numbers of the state."""
    camera: tuple[int, int, int] | None = None
    """Height, width and channels of a picture, uint8; None without a camera."""
    privileged: int = 0
    """Numbers that the critics get and the policy does not."""

    @property
    def plain(self) -> bool:
        """Whether there is the state alone."""
        return self.camera is None and not self.privileged

    @property
    def pixels(self) -> int:
        """Numbers of a picture; 0 without a camera."""
        return int(np.prod(self.camera)) if self.camera else 0

    @property
    def seen(self) -> int:
        """Numbers at the front of a row that the policy gets: state and picture."""
        return self.state + self.pixels

    @property
    def size(self) -> int:
        """Numbers in a row."""
        return self.seen + self.privileged

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each part that is there, by name, in the order of a row."""
        shapes: dict[str, tuple[int, ...]] = {STATE: (self.state,)}
        if self.camera:
            shapes[CAMERA] = self.camera
        if self.privileged:
            shapes[PRIVILEGED] = (self.privileged,)
        return shapes

    def rows(self, observation: Any, count: int) -> NDArray[np.float32]:
        """Observations as an environment gives them, of `count` copies, as rows (count, size); pixels from 0 to 255."""
        if self.plain:
            return np.array(given_state(observation), dtype=np.float32).reshape(count, -1)
        parts = [np.reshape(observation[name], (count, -1)) for name in self.shapes]
        return np.concatenate(parts, axis=1, dtype=np.float32, casting="unsafe")

    def observations(self, rows: Array) -> Any:
        """What a policy is given of rows (..., seen or size): the state, or with a camera a mapping of both parts."""
        state = rows[..., : self.state]
        if self.camera is None:
            return state
        picture = rows[..., self.state : self.seen].reshape(*rows.shape[:-1], *self.camera)
        return {STATE: state, CAMERA: picture.astype(np.uint8)}


def given_state(observation: Any) -> Array:
    """The numbers of an observation as a policy is given it, with or without a picture."""
    return observation[STATE] if isinstance(observation, Mapping) else observation
