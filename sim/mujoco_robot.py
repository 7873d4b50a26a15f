"""One robot simulated by MuJoCo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from robot_rl.arrays import all_finite, frozen, kept
from robot_rl.errors import InvalidInput, RobotFault
from robot_rl.robot import JointCommand, RobotState, Start
from robot_rl.spec import RobotSpec
from sim.mujoco_model import compile_model
from sim.mujoco_reader import MujocoReader
from sim.placing import place_at_start
from sim.randomization import BoundTerms, Randomization
from sim.sensor_noise import SensorNoise
from sim.varied_copy import VariedCopy

Array = NDArray[np.floating]

INTEGRATION_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
"""All of MuJoCo's state that decides how a simulation goes on."""


class MujocoRobot:
    """A `Robot` in MuJoCo. The PD loop, effort limits and actuator delay run inside the model, at the physics rate."""

    def __init__(self, spec: RobotSpec, noise: bool = True, randomization: Randomization | None = None) -> None:
        """Makes the robot.

        Args:
            spec: the robot.
            noise: whether sensors carry the spec's noise.
            randomization: what is drawn anew at every reset; None for a robot that is always the same.
        """
        self.spec = spec
        self.model = randomization.compile() if randomization else compile_model(spec)
        self.data = mujoco.MjData(self.model)
        varied = varies(spec, randomization)
        self.reader = MujocoReader(self.model, spec, disturbable(spec) if varied else ())
        self.provides = self.reader.provides
        self._terms = BoundTerms(randomization, self.model, spec) if varied else None
        self._varied = VariedCopy(self._terms, self.model, self.data, self.reader) if self._terms else None
        self._substeps = spec.substeps
        self._noise = sensor_noise(self.reader, noise, varied)
        self._applied: Array | None = None
        self._shape = (spec.joints,)
        # A tick takes this at least, unless MuJoCo met a number too large and started again at time zero.
        self._shortest_tick = spec.control_dt - 0.5 * spec.simulation.physics_dt
        # Views of MuJoCo's own memory: to ask for an attribute costs more than to read it.
        self._ctrl = self.data.ctrl
        self._arrays = (self.data.qpos, self.data.qvel, self.data.actuator_force, self.data.sensordata)

    def reset(self, start: Start, rng: np.random.Generator) -> RobotState:
        """Teleports to `start` at rest; see `robot_rl.robot.Robot`."""
        if self._varied is not None:
            self._varied.reset(start, rng)
        else:
            place_at_start(self.model, self.data, self.reader, start)
        self._applied = frozen(np.array(start.joint_position, dtype=np.float64))
        noise = None
        if self._noise is not None:
            self._noise.begin(rng)
            noise = self._noise.of_first()
        return self._read(noise, first=True)

    def step(self, command: JointCommand) -> RobotState:
        """Holds the command for one control tick.

        Args:
            command: (n,), rad or m.

        Raises:
            InvalidInput: the command has another shape or is not finite.
            RobotFault: the simulation diverged.
        """
        target, data = command.position, self.data
        if target.shape != self._shape:
            raise InvalidInput(
                f"joint command of robot {self.spec.name!r}: expected shape {self._shape}, got {target.shape}"
            )
        if not all_finite(target):
            bad = [name for name, value in zip(self.spec.joint_names, target, strict=True) if not np.isfinite(value)]
            raise InvalidInput(f"joint command of robot {self.spec.name!r} is not finite in: {', '.join(bad)}")
        self._applied = kept(target)
        if self._varied is not None:
            before = data.time
            if not self._varied.advance(self._applied):
                raise diverged(self.spec, before)
            return self._read(None if self._noise is None else self._noise.of_next())
        self._ctrl[:] = target
        before = data.time
        mujoco.mj_step(self.model, data, self._substeps)
        if data.time - before < self._shortest_tick:
            raise diverged(self.spec, before)
        return self._read(None if self._noise is None else self._noise.of_next())

    def stop(self) -> None:
        """Does nothing: a simulated robot harms nobody."""

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

    def use_rng(self, rng: np.random.Generator) -> None:
        """Draws sensor noise from `rng` from now on; for restoring a snapshot together with its generator."""
        if self._noise is not None:
            self._noise.use(rng)

    def _read(self, noise: Array | None, first: bool = False) -> RobotState:
        if self._varied is None:
            return self.reader.read(self.data.time, np.concatenate(self._arrays), noise, self._applied)
        stamp, raw = self._varied.reading(first)
        return self.reader.read(stamp, raw, self._varied.disturbance.of(noise, raw), self._applied)


def varies(spec: RobotSpec, randomization: Randomization | None) -> bool:
    """Whether copies of a robot need a `VariedCopy` each."""
    return randomization is not None or spec.simulation.motor is not None


def disturbable(spec: RobotSpec) -> tuple[str, ...]:
    """Sensors whose noise and constant error a randomised robot may have of its own."""
    return tuple(name for name in spec.sensors if name != "objects")


def sensor_noise(reader: MujocoReader, wanted: bool, varied: bool, count: int | None = None) -> SensorNoise | None:
    """The noise that a robot's readings carry, of unit deviation where each copy scales it; None for none.

    Args:
        reader: of the robot.
        wanted: whether there is to be noise.
        varied: whether copies scale it.
        count: see `SensorNoise`.
    """
    size = reader.noise_std.size
    return SensorNoise(np.ones(size) if varied else reader.noise_std, count) if wanted and size else None


def diverged(spec: RobotSpec, time: float) -> RobotFault:
    """The error of a simulation whose numbers grew without bound; MuJoCo itself would silently start again."""
    return RobotFault(
        f"the simulation of robot {spec.name!r} diverged {time:.3f} s after its reset; "
        "check the model's inertias and the gains, or raise simulation.physics_rate"
    )
