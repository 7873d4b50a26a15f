"""One robot simulated by MuJoCo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np

from robot_rl.arrays import frozen
from robot_rl.robot import JointCommand, RobotState, Start
from robot_rl.spec import RobotSpec
from sim.mujoco_model import compile_model
from sim.placing import place_at_start
from sim.randomization import BoundTerms, Randomization
from sim.simulated_robot import Array, SimulatedRobot, diverged
from sim.varied_copy import VariedCopy

INTEGRATION_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
"""All of MuJoCo's state that decides how a simulation goes on."""


class MujocoRobot(SimulatedRobot):
    """A `Robot` in MuJoCo. The PD loop, effort limits and actuator delay run inside the model, at the physics rate."""

    def __init__(self, spec: RobotSpec, noise: bool = True, randomization: Randomization | None = None) -> None:
        """Makes the robot.

        Args:
            spec: the robot.
            noise: whether sensors carry the spec's noise.
            randomization: what is drawn anew at every reset; None for a robot that is always the same.
        """
        varied = varies(spec, randomization)
        super().__init__(spec, randomization.compile() if randomization else compile_model(spec), noise, varied)
        self._terms = BoundTerms(randomization, self.model, spec) if varied else None
        self._varied = VariedCopy(self._terms, self.model, self.data, self.reader) if self._terms else None
        # A tick takes this at least, unless MuJoCo met a number too large and started again at time zero.
        self._shortest_tick = spec.control_dt - 0.5 * spec.simulation.physics_dt

    def reset(self, start: Start, rng: np.random.Generator) -> RobotState:
        """Teleports to `start` at rest; see `robot_rl.robot.Robot`."""
        if self._varied is not None:
            self._varied.reset(start, rng)
        else:
            place_at_start(self.model, self.data, self.reader, start)
        self._applied = frozen(np.array(start.joint_position, dtype=np.float64))
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
        target, before = self._accept(command), data.time
        if self._varied is not None:
            if not self._varied.advance(target):
                raise diverged(self.spec, before)
            return self._next_reading()
        self._ctrl[:] = target
        mujoco.mj_step(self.model, data, self._substeps)
        if data.time - before < self._shortest_tick:
            raise diverged(self.spec, before)
        return self._next_reading()

    def close(self) -> None:
        """Does nothing: memory goes with the object."""

    @property
    def drawn(self) -> Mapping[str, float]:
        """What was drawn at the last reset; see `robot_rl.robot.Randomized`."""
        if self._terms is None or self._varied is None:
            return {}
        return dict(zip(self._terms.names, self._varied.values.tolist(), strict=True))

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
            **({} if self._varied is None else {"varied": self._varied.snapshot()}),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Puts a snapshot back, bit for bit."""
        if self._varied is not None:
            self._varied.restore(snapshot["varied"])
        mujoco.mj_setState(self.model, self.data, np.asarray(snapshot["state"], dtype=np.float64), INTEGRATION_STATE)
        self.data.sensordata[:] = snapshot["sensordata"]
        self.data.actuator_force[:] = snapshot["actuator_force"]
        self._applied = frozen(np.array(snapshot["applied"])) if np.size(snapshot["applied"]) else None
        if self._noise is not None:
            self._noise.restore(snapshot["noise"])

    def _read(self, noise: Array | None, first: bool = False) -> RobotState:
        if self._varied is None:
            return super()._read(noise)
        stamp, raw = self._varied.reading(first)
        return self.reader.read(stamp, raw, self._varied.disturbance.of(noise, raw), self._applied)


def varies(spec: RobotSpec, randomization: Randomization | None) -> bool:
    """Whether copies of a robot need a `VariedCopy` each."""
    return randomization is not None or spec.simulation.motor is not None
