"""How a standing robot answers when one joint is bent a little: the linear statics of legs on springs.

Joint controllers are springs of stiffness kp, and feet that carry weight stay where they are. In the base frame, with
the twist X of the base (turn and shift, both small), foot i at p_i with Jacobian J_i, and its force f_i on the ground:

    shift + turn x p_i + J_i dq = c f_i           the foot sticks to a slightly soft ground
    kp (command - dq) = sum J_i' f_i              balance of each joint
    sum f_i = 0,  sum p_i x f_i = 0               balance of the base; weights stay where they are

which gives X, dq, f and the torque kp (command - dq) for any command. Small effects are left out: the legs' weight
moves, joints rub, feet creep.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_rl.robot import RobotState
from robot_rl.spec import RobotSpec

Array = NDArray[np.floating]

_SOFTNESS = 2e-5
"""m/N, of ground and foot."""


class Response(NamedTuple):
    """Change per radian of command; the last axis is the joint that is commanded."""

    joint_position: Array
    """(n, n)."""
    joint_effort: Array
    """(n, n), N m."""
    turn: Array
    """(3, n), rad, of the base in its own frame."""
    contacts: Array
    """(feet, n), N."""


def standing_response(spec: RobotSpec, state: RobotState) -> Response:
    """Linear response of a robot that stands on the feet with a contact force.

    Args:
        spec: a robot with legs.
        state: where it stands, (n,) joints and (feet,) contacts.
    """
    assert spec.legs is not None
    feet = spec.legs.kinematics(state.joint_position)
    standing = np.flatnonzero(np.asarray(state.contacts) > 1.0)
    n, count = spec.joints, len(standing)
    jacobian = feet.jacobian[standing].reshape(3 * count, n)
    # Velocity of the point of each foot when the base turns and shifts: -(p x turn) + shift.
    rigid = np.concatenate([np.hstack([-_skew(p), np.eye(3)]) for p in feet.position[standing]])  # (3 feet, 6)
    # dq = command - K^-1 J' f, so J command + rigid X = (J K^-1 J' + c) f; and rigid' f = 0 gives X.
    softness = jacobian @ (jacobian.T / spec.kp[:, None]) + _SOFTNESS * np.eye(3 * count)
    stiffness = np.linalg.inv(softness)
    twist = -np.linalg.lstsq(rigid.T @ stiffness @ rigid, rigid.T @ stiffness @ jacobian, rcond=1e-9)[0]  # (6, n)
    force = stiffness @ (jacobian + rigid @ twist)  # on the ground, (3 feet, n)
    deflection = np.eye(n) - (jacobian.T @ force) / spec.kp[:, None]
    effort = spec.kp[:, None] * (np.eye(n) - deflection)
    contacts = np.zeros((len(spec.feet), n))
    down = np.asarray(state.gravity)
    contacts[standing] = np.einsum("fin,i->fn", force.reshape(count, 3, n), down)
    return Response(deflection, effort, twist[:3], contacts)


def _skew(v: Array) -> Array:
    return np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])
