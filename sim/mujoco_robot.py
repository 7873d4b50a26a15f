"""One robot simulated by MuJoCo."""

from __future__ import annotations

import math
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import InvalidInput
from robot_rl.robot import JointCommand, RobotState, Start
from robot_rl.spec import RobotSpec
from sim.loops import close_loops
from sim.mujoco_model import compile_model
from sim.mujoco_reader import MujocoReader

Array = NDArray[np.floating]

INTEGRATION_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
"""All of MuJoCo's state that decides how a simulation goes on."""


class MujocoRobot:
    """A `Robot` in MuJoCo. The PD loop, effort limits and actuator delay run inside the model, at the physics rate."""

    def __init__(self, spec: RobotSpec, noise: bool = True) -> None:
        """Args: spec: the robot; noise: whether sensors carry the spec's noise."""
        self.spec = spec
        self.model = compile_model(spec)
        self.data = mujoco.MjData(self.model)
        self.reader = MujocoReader(self.model, spec)
        self.provides = self.reader.provides
        self._substeps = spec.substeps
        self._noisy = noise and self.reader.noise_size > 0
        self._rng = np.random.default_rng(0)
        self._applied: Array | None = None
        self._ones = np.ones(spec.joints)

    def reset(self, start: Start, rng: np.random.Generator) -> RobotState:
        """Teleports to `start` at rest; see `robot_rl.robot.Robot`."""
        place_at_start(self.model, self.data, self.reader, start)
        self._rng = rng
        self._applied = self.data.ctrl.copy()
        return self._read()

    def step(self, command: JointCommand) -> RobotState:
        """Holds the command for one control tick, (n,) rad or m; raises InvalidInput for a value that is not finite."""
        target = command.position
        # A sum is finite only if every summand is; a dot product is the cheapest sum.
        if not math.isfinite(target.dot(self._ones)):
            raise InvalidInput(f"joint command of robot {self.spec.name!r} is not finite: {_offending(self.spec, target)}")
        self._applied = np.array(target)
        self.data.ctrl[:] = target
        mujoco.mj_step(self.model, self.data, self._substeps)
        return self._read()

    def stop(self) -> None:
        """Does nothing: a simulated robot harms nobody."""

    def close(self) -> None:
        """Does nothing: memory goes with the object."""

    def snapshot(self) -> dict[str, Any]:
        """MuJoCo's integration state, derived readings and the command in force."""
        state = np.empty(mujoco.mj_stateSize(self.model, INTEGRATION_STATE))
        mujoco.mj_getState(self.model, self.data, state, INTEGRATION_STATE)
        applied = np.zeros(0) if self._applied is None else self._applied
        return {
            "state": state,
            "applied": applied,
            "sensordata": self.data.sensordata.copy(),
            "actuator_force": self.data.actuator_force.copy(),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Puts a snapshot back, bit for bit."""
        mujoco.mj_setState(self.model, self.data, np.asarray(snapshot["state"], dtype=np.float64), INTEGRATION_STATE)
        self.data.sensordata[:] = snapshot["sensordata"]
        self.data.actuator_force[:] = snapshot["actuator_force"]
        self._applied = np.array(snapshot["applied"]) if np.size(snapshot["applied"]) else None

    def use_rng(self, rng: np.random.Generator) -> None:
        """Draws sensor noise from `rng` from now on; for restoring a snapshot together with its generator."""
        self._rng = rng

    def _read(self) -> RobotState:
        data = self.data
        noise = self._rng.standard_normal(self.reader.noise_size) if self._noisy else None
        return self.reader.read(
            data.time, data.qpos, data.qvel, data.actuator_force, data.sensordata, noise, self._applied
        )


def place_at_start(model: mujoco.MjModel, data: mujoco.MjData, reader: MujocoReader, start: Start) -> None:
    """Resets one copy to the start of an episode, its actuators (and their delay lines) holding the start position."""
    mujoco.mj_resetData(model, data)
    data.qpos[:] = reader.start_qpos(start)
    close_loops(model, data, reader.followers)
    data.ctrl[:] = start.joint_position
    for i in range(model.nu):
        samples = int(model.actuator_history[i, 0]) if model.nhistory else 0
        if samples:
            mujoco.mj_initCtrlHistory(model, data, i, None, np.full((samples, 1), data.ctrl[i]))
    mujoco.mj_forward(model, data)


def _offending(spec: RobotSpec, values: Array) -> str:
    bad = [f"{name}={value}" for name, value in zip(spec.joint_names, values, strict=True) if not np.isfinite(value)]
    return ", ".join(bad)
