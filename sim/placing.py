"""Brings one simulated copy to the start of an episode."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from robot_rl.robot import Start
from sim.loops import close_loops
from sim.mujoco_reader import MujocoReader


def place_at_start(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    reader: MujocoReader,
    start: Start,
    held: NDArray[np.floating] | None = None,
) -> None:
    """Resets one copy to the start of an episode, at rest.

    Args:
        model: the compiled robot.
        data: of the copy.
        reader: of the model.
        start: where the episode begins.
        held: (n,), what its actuators and their delay lines hold; the start's position by default.
    """
    mujoco.mj_resetData(model, data)
    data.qpos[:] = reader.start_qpos(start)
    close_loops(model, data, reader.followers)
    data.ctrl[:] = start.joint_position if held is None else held
    for i in range(model.nu):
        samples = int(model.actuator_history[i, 0]) if model.nhistory else 0
        if samples:
            mujoco.mj_initCtrlHistory(model, data, i, None, np.full((samples, 1), data.ctrl[i]))
    mujoco.mj_forward(model, data)
