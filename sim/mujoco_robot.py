"""One robot simulated by MuJoCo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np

from robot_rl.arrays import frozen
from robot_rl.robot import JointCommand, RobotState, Start
from robot_rl.spec import RobotSpec
from sim.loops import close_loops
from sim.mujoco_model import compile_model
from sim.mujoco_reader import MujocoReader
from sim.simulated_robot import SimulatedRobot, diverged

INTEGRATION_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
"""All of MuJoCo's state that decides how a simulation goes on."""


class MujocoRobot(SimulatedRobot):
    """A `Robot` in MuJoCo. The PD loop, effort limits and actuator delay run inside the model, at the physics rate."""

    def __init__(self, spec: RobotSpec, noise: bool = True) -> None:
        """Args: spec: the robot; noise: whether sensors carry the spec's noise."""
        super().__init__(spec, compile_model(spec), noise)
        # A tick takes this at least, unless MuJoCo met a number too large and started again at time zero.
        self._shortest_tick = spec.control_dt - 0.5 * spec.simulation.physics_dt

    def reset(self, start: Start, rng: np.random.Generator) -> RobotState:
        """Teleports to `start` at rest; see `robot_rl.robot.Robot`."""
        place_at_start(self.model, self.data, self.reader, start)
        self._applied = frozen(self._ctrl.copy())
        return self._first_reading(rng)

    def step(self, command: JointCommand) -> RobotState:
        """Holds the command for one control tick.

        Args:
            command: (n,), rad or m.

        Raises:
            InvalidInput: the command has another shape or is not finite.
            RobotFault: the simulation diverged.
        """
        data = self.data
        self._ctrl[:] = self._accept(command)
        before = data.time
        mujoco.mj_step(self.model, data, self._substeps)
        if data.time - before < self._shortest_tick:
            raise diverged(self.spec, before)
        return self._next_reading()

    def close(self) -> None:
        """Does nothing: memory goes with the object."""

    def drive(self, mode: str, dead: Sequence[str] = ()) -> None:
        """Switches the motors, as a robot's own motor controller would.

        Args:
            mode: what a command means from now on: position (rad), velocity (rad/s) or effort (N m); or damp (motors
                resist motion only) or limp (no torque), where commands mean nothing.
            dead: joints without torque in any mode.
        """
        # Force of an actuator = gain * command + bias . (1, position, velocity).
        kp, kd, one = self.spec.kp, self.spec.kd, np.ones(self.spec.joints)
        gain, stiffness, damping = {
            "position": (kp, kp, kd),
            "velocity": (kd, 0 * kp, kd),
            "effort": (one, 0 * kp, 0 * kd),
            "damp": (0 * kp, 0 * kp, kd),
            "limp": (0 * kp, 0 * kp, 0 * kd),
        }[mode]
        alive = np.array([joint not in dead for joint in self.spec.joint_names])
        self.model.actuator_gainprm[:, 0] = gain * alive
        self.model.actuator_biasprm[:, 1] = -stiffness * alive
        self.model.actuator_biasprm[:, 2] = -damping * alive

    def snapshot(self) -> dict[str, Any]:
        """MuJoCo's integration state, derived readings and the command in force."""
        state = np.empty(mujoco.mj_stateSize(self.model, INTEGRATION_STATE))
        mujoco.mj_getState(self.model, self.data, state, INTEGRATION_STATE)
        applied = np.zeros(0) if self._applied is None else self._applied.copy()
        return {
            "state": state,
            "applied": applied,
            "sensordata": self.data.sensordata.copy(),
            "actuator_force": self.data.actuator_force.copy(),
            "noise": np.zeros(0) if self._noise is None else self._noise.snapshot(),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Puts a snapshot back, bit for bit."""
        mujoco.mj_setState(self.model, self.data, np.asarray(snapshot["state"], dtype=np.float64), INTEGRATION_STATE)
        self.data.sensordata[:] = snapshot["sensordata"]
        self.data.actuator_force[:] = snapshot["actuator_force"]
        self._applied = frozen(np.array(snapshot["applied"])) if np.size(snapshot["applied"]) else None
        if self._noise is not None:
            self._noise.restore(snapshot["noise"])


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
