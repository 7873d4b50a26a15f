"""Closes kinematic loops: joints without a motor follow the motors, so they cannot be set freely."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import ConfigurationError

# MuJoCo's enumerations never equal NumPy's integers.
_ONE_DOF = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
_EQUALITY = int(mujoco.mjtConstraint.mjCNSTR_EQUALITY)


def follower_dofs(model: mujoco.MjModel, driven: tuple[str, ...]) -> NDArray[np.intp]:
    """Degrees of freedom that only the loops decide: hinges and slides that nothing drives, of a model with equalities.

    Args:
        model: the compiled robot.
        driven: names of the actuated joints.

    Returns:
        Their indices in qvel; empty for a model without equality constraints.
    """
    if model.neq == 0:
        return np.zeros(0, dtype=np.intp)
    return np.array(
        [
            model.jnt_dofadr[i]
            for i in range(model.njnt)
            if model.jnt_type[i] in _ONE_DOF
            and model.joint(i).name not in driven
        ],
        dtype=np.intp,
    )


def close_loops(
    model: mujoco.MjModel, data: mujoco.MjData, followers: NDArray[np.intp], tolerance: float = 1e-6, steps: int = 20
) -> None:
    """Moves the followers until every equality constraint holds, the other joints fixed, by Gauss-Newton.

    Args:
        model: the compiled robot.
        data: its state; `qpos` is changed in place.
        followers: indices in qvel, as `follower_dofs` gives them.
        tolerance: m or rad, largest residual at the end.
        steps: most iterations.

    Raises:
        ConfigurationError: the loops cannot be closed for these positions of the driven joints.
    """
    if followers.size == 0:
        return
    worst = np.inf
    for _ in range(steps):
        mujoco.mj_fwdPosition(model, data)
        rows = data.efc_type == _EQUALITY
        residual = data.efc_pos[rows]
        worst = float(np.abs(residual).max(initial=0.0))
        if worst <= tolerance:
            return
        move = np.zeros(model.nv)
        move[followers] = -np.linalg.lstsq(_jacobian(model, data)[np.ix_(rows, followers)], residual, rcond=None)[0]
        mujoco.mj_integratePos(model, data.qpos, move, 1.0)
    raise ConfigurationError(f"the closed loops of the model stay open by {worst:.2g} m at this start")


def _jacobian(model: mujoco.MjModel, data: mujoco.MjData) -> NDArray[np.float64]:
    """Constraint Jacobian, (nefc, nv)."""
    if not mujoco.mj_isSparse(model):
        return data.efc_J.reshape(data.nefc, model.nv)
    dense = np.zeros((data.nefc, model.nv))
    mujoco.mju_sparse2dense(dense, data.efc_J, data.efc_J_rownnz, data.efc_J_rowadr, data.efc_J_colind)
    return dense
