"""What simulated robots have in common, whichever engine moves them: readings, sensor noise, checks of commands."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from robot_rl.arrays import all_finite, kept
from robot_rl.errors import InvalidInput, RobotFault
from robot_rl.robot import JointCommand, RobotState
from robot_rl.spec import RobotSpec
from sim.mujoco_reader import MujocoReader
from sim.sensor_noise import SensorNoise

Array = NDArray[np.floating]


class SimulatedRobot:
    """Model, readings and noise of one robot.

    Attributes:
        model: as built by `compile_model`.
        data: where the robot is; an engine other than MuJoCo copies its state here, to be read and filmed.
    """

    def __init__(self, spec: RobotSpec, model: mujoco.MjModel, noise: bool, varied: bool = False) -> None:
        """Makes the robot.

        Args:
            spec: the robot.
            model: of it.
            noise: whether sensors carry the spec's noise.
            varied: whether each episode may have a noise of its own.
        """
        self.spec = spec
        self.model = model
        self.data = mujoco.MjData(model)
        self.reader = MujocoReader(model, spec, disturbable(spec) if varied else ())
        self.provides = self.reader.provides
        self._substeps = spec.substeps
        self._noise = sensor_noise(self.reader, noise, varied)
        self._applied: Array | None = None
        self._shape = (spec.joints,)
        # Views of MuJoCo's own memory: to ask for an attribute costs more than to read it.
        self._ctrl = self.data.ctrl
        self._arrays = (self.data.qpos, self.data.qvel, self.data.actuator_force, self.data.sensordata)

    def stop(self) -> None:
        """Does nothing: a simulated robot harms nobody."""

    def use_rng(self, rng: np.random.Generator) -> None:
        """Draws sensor noise from `rng` from now on; for restoring a snapshot together with its generator."""
        if self._noise is not None:
            self._noise.use(rng)

    def _accept(self, command: JointCommand) -> Array:
        """The command, kept as the one in force.

        Raises:
            InvalidInput: the command has another shape or is not finite.
        """
        target = command.position
        if target.shape != self._shape:
            raise InvalidInput(
                f"joint command of robot {self.spec.name!r}: expected shape {self._shape}, got {target.shape}"
            )
        if not all_finite(target):
            bad = [name for name, value in zip(self.spec.joint_names, target, strict=True) if not np.isfinite(value)]
            raise InvalidInput(f"joint command of robot {self.spec.name!r} is not finite in: {', '.join(bad)}")
        self._applied = kept(target)
        return target

    def _first_reading(self, rng: np.random.Generator) -> RobotState:
        """The reading after a reset; noise comes from `rng` from now on."""
        if self._noise is None:
            return self._read(None, first=True)
        self._noise.begin(rng)
        return self._read(self._noise.of_first(), first=True)

    def _next_reading(self) -> RobotState:
        return self._read(None if self._noise is None else self._noise.of_next())

    def raw(self) -> Array:
        """(raw_size,), what `MujocoReader.read` makes a state of."""
        return np.concatenate(self._arrays)

    def truth(self) -> RobotState:
        """Everything as it is now: without noise, offset or delay."""
        return self.reader.read(self.data.time, self.raw(), None, self._applied)

    def _read(self, noise: Array | None, first: bool = False) -> RobotState:
        return self.reader.read(self.data.time, self.raw(), noise, self._applied)


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


def check_commands(spec: RobotSpec, target: Array, count: int) -> None:
    """Refuses commands for several copies of a robot that are not (count, n) finite numbers.

    Raises:
        InvalidInput: says what is wrong, and in which copy.
    """
    shape = (count, spec.joints)
    if target.shape != shape:
        raise InvalidInput(f"joint commands of robot {spec.name!r}: expected shape {shape}, got {target.shape}")
    if not all_finite(target):
        row, joint = np.argwhere(~np.isfinite(target))[0]
        raise InvalidInput(
            f"joint command of robot {spec.name!r} is not finite: copy {row}, {spec.joint_names[joint]}"
        )


def diverged(spec: RobotSpec, time: float) -> RobotFault:
    """The error of a simulation whose numbers grew without bound."""
    return RobotFault(
        f"the simulation of robot {spec.name!r} diverged {time:.3f} s after its reset; "
        "check the model's inertias and the gains, or raise simulation.physics_rate"
    )
