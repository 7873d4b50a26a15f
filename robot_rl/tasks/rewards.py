"""Reward pieces that several tasks share; each takes a Step and returns (...,), before weighting."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robot_rl.arrays import components, squared_norm
from robot_rl.task import Step

Array = NDArray[np.floating]


def tilt(step: Step) -> Array:
    """Squared sine of the angle between the base's up and the world's up."""
    x, y, _ = components(step.after.gravity)
    return x * x + y * y


def effort(step: Step) -> Array:
    """Sum of squared joint efforts, (N m)^2."""
    return squared_norm(step.after.joint_effort)


def action_change(step: Step) -> Array:
    """Sum of squared changes of the action since the last tick."""
    return squared_norm(step.action - step.previous_action)


def nearness(distance: Array, near: float) -> Array:
    """1 at a distance of zero, a half at `near`, of any shape; no cusp at the top, and no plateau far away.

    Skills that are to be put together need both. With a cusp none lets go of what it has reached for the other's sake,
    and a plateau gives one that is far from its goal no say.
    """
    return 1.0 / (1.0 + (distance * (1.0 / near)) ** 2)
