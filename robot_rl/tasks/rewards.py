"""Reward pieces that several tasks share; each takes a Step and returns (...,), before weighting."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robot_rl.task import Step

Array = NDArray[np.floating]


def tilt(step: Step) -> Array:
    """Squared sine of the angle between the base's up and the world's up."""
    gravity = step.after.gravity
    x, y = gravity[..., 0], gravity[..., 1]
    return x * x + y * y


def effort(step: Step) -> Array:
    """Sum of squared joint efforts, (N m)^2."""
    torque = step.after.joint_effort
    return np.einsum("...i,...i->...", torque, torque)


def action_change(step: Step) -> Array:
    """Sum of squared changes of the action since the last tick."""
    change = step.action - step.previous_action
    return np.einsum("...i,...i->...", change, change)
