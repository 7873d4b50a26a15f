"""What critics may know and a policy may not: exact readings without delay, and what randomisation drew.

A policy runs where nobody knows these; critics are left behind with training, so they may see them (asymmetric
actor-critic: Pinto et al. 2017, arXiv 1710.06542).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_rl.observation import QUANTITIES, ObservationLayout, build_layout
from robot_rl.robot import RobotState
from robot_rl.task import Task

Array = NDArray[Any]

BEYOND_THE_TASK = (
    "base_linear_velocity",
    "contacts",
    "object_linear_velocity",
    "object_angular_velocity",
)
"""Quantities that critics get where the simulation knows them, whatever the task observes."""


@dataclass(frozen=True)
class Privileged:
    """The part `privileged` of an observation: quantities, then what was drawn."""

    layout: ObservationLayout
    """Of the exact readings."""
    drawn: Mapping[str, tuple[float, float]]
    """Mean and deviation of what randomisation draws, by name; empty for a robot that is always the same."""

    @classmethod
    def of(cls, task: Task, drawn: Mapping[str, tuple[float, float]]) -> Privileged:
        """What there is to know beside a task's observation.

        Args:
            task: as it is observed.
            drawn: mean and deviation by name; what never varies is left out.
        """
        provides = frozenset({*task.spec.sensors, *task.spec.simulation.truth})
        sensed = (name for name in (*task.current, *task.history, *task.hidden) if QUANTITIES[name].sensors)
        more = (name for name in BEYOND_THE_TASK if set(QUANTITIES[name].sensors) <= provides)
        names = tuple(dict.fromkeys((*sensed, *more)))
        layout = build_layout(task.spec, task.goal_labels, names, (), 1, provides)
        return cls(layout, {name: spread for name, spread in drawn.items() if spread[1] > 0.0})

    @property
    def size(self) -> int:
        """How many numbers."""
        return self.layout.size + len(self.drawn)

    @property
    def offset(self) -> Array:
        """(size,), typical centre of each."""
        return np.array([*self.layout.offset, *(mean for mean, _ in self.drawn.values())], dtype=np.float32)

    @property
    def scale(self) -> Array:
        """(size,), typical deviation of each."""
        return np.array([*self.layout.scale, *(deviation for _, deviation in self.drawn.values())], dtype=np.float32)

    def read(self, truth: RobotState, action: Array, goal: Array, drawn: Mapping[str, Any]) -> NDArray[np.float32]:
        """The numbers of this tick, (..., size).

        Args:
            truth: exact readings.
            action: the last one, (..., d).
            goal: (..., g).
            drawn: what was drawn for this episode, by name; (...,) each.
        """
        readings = [QUANTITIES[name].read(truth, action, goal) for name in self.layout.current]
        readings += [np.asarray(drawn[name])[..., None] for name in self.drawn]
        return np.concatenate(readings, axis=-1, dtype=np.float32, casting="same_kind")
