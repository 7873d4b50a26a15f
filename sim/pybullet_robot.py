"""One robot simulated by PyBullet, from the same model as in MuJoCo."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from robot_rl.arrays import frozen
from robot_rl.robot import JointCommand, RobotState, Start
from robot_rl.spec import RobotSpec
from sim.motors import DCMotors
from sim.mujoco_model import compile_model, delay_steps
from sim.mujoco_robot import place_at_start
from sim.pybullet_world import PyBulletWorld
from sim.simulated_robot import SimulatedRobot, diverged

Array = NDArray[np.float64]

FASTEST = 1e4
"""rad/s or m/s; nothing that still makes sense moves so fast."""


class PyBulletRobot(SimulatedRobot):
    """A `Robot` in PyBullet. The PD loop, DC motors, effort limits and actuator delay run here, at the physics rate.

    MuJoCo's data hold a copy of where everything is, so readings, noise and pictures are made as for MuJoCo's robots.
    """

    def __init__(self, spec: RobotSpec, noise: bool = True) -> None:
        """Makes the robot.

        Args:
            spec: the robot.
            noise: whether sensors carry the spec's noise.

        Raises:
            ConfigurationError: the model has an element that cannot be expressed; names it.
        """
        super().__init__(spec, compile_model(spec), noise)
        model = self.model
        self._world = PyBulletWorld(model, spec.simulation.foot_geoms)
        joints = [model.joint(name) for name in spec.joint_names]
        self._qpos_of = np.array([int(joint.qposadr[0]) for joint in joints])
        self._qvel_of = np.array([int(joint.dofadr[0]) for joint in joints])
        self._damping = model.dof_damping.copy()
        # Commands on their way to the motors, the oldest first; one a physics step.
        self._late = delay_steps(spec)
        self._under_way = np.zeros((self._late, spec.joints))
        self._motors = DCMotors(spec) if spec.simulation.motor is not None else None
        self._least, self._greatest = -spec.effort_limit, spec.effort_limit.copy()
        self._contacts = [
            (_readings(model, f"contact_{foot}"), geom)
            for foot, geom in zip(spec.feet, spec.simulation.foot_geoms, strict=True)
            if "contacts" in self.provides
        ]
        self._accelerometer = _accelerometer(model) if "linear_acceleration" in self.provides else None

    def reset(self, start: Start, rng: np.random.Generator) -> RobotState:
        """Teleports to `start` at rest; see `robot_rl.robot.Robot`."""
        place_at_start(self.model, self.data, self.reader, start)
        self._world.place(self.data.qpos)
        self._applied = frozen(np.array(start.joint_position, dtype=np.float64))
        self._under_way[:] = self._applied
        self.data.actuator_force[:] = 0.0
        self._sense(self._imu_velocity(), touching=False)
        return self._first_reading(rng)

    def step(self, command: JointCommand) -> RobotState:
        """Holds the command for one control tick.

        Args:
            command: (n,), rad or m.

        Raises:
            InvalidInput: the command has another shape or is not finite.
            RobotFault: the simulation diverged.
        """
        target = np.array(self._accept(command), dtype=np.float64)
        data, world = self.data, self._world
        before = data.time
        for substep in range(self._substeps):
            if substep == self._substeps - 1:
                earlier = self._imu_velocity()
            force = -self._damping * data.qvel
            data.actuator_force[:] = self._motor_force(target)
            force[self._qvel_of] += data.actuator_force
            world.step(force)
            world.read(data.qpos, data.qvel)
            if not np.abs(data.qvel).max() < FASTEST:
                raise diverged(self.spec, before)
        data.time = before + self.spec.control_dt
        self._sense(earlier, touching=True)
        return self._next_reading()

    def close(self) -> None:
        """Leaves PyBullet."""
        self._world.close()

    def snapshot(self) -> dict[str, Any]:
        """The engine's state as it writes it to a file, readings, and the commands in force and under way."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "world.bullet"
            self._world.save(path)
            state = np.frombuffer(path.read_bytes(), dtype=np.uint8)
        return {
            "state": state,
            "time": float(self.data.time),
            "qpos": self.data.qpos.copy(),
            "qvel": self.data.qvel.copy(),
            "applied": np.zeros(0) if self._applied is None else self._applied.copy(),
            "under_way": self._under_way.copy(),
            "sensordata": self.data.sensordata.copy(),
            "actuator_force": self.data.actuator_force.copy(),
            "noise": np.zeros(0) if self._noise is None else self._noise.snapshot(),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Puts a snapshot back, bit for bit."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "world.bullet"
            path.write_bytes(np.asarray(snapshot["state"], dtype=np.uint8).tobytes())
            self._world.load(path)
        self.data.time = float(snapshot["time"])
        for name in ("qpos", "qvel", "sensordata", "actuator_force"):
            getattr(self.data, name)[:] = snapshot[name]
        mujoco.mj_kinematics(self.model, self.data)
        self._under_way = np.array(snapshot["under_way"])
        self._applied = frozen(np.array(snapshot["applied"])) if np.size(snapshot["applied"]) else None
        if self._noise is not None:
            self._noise.restore(snapshot["noise"])

    def _motor_force(self, target: Array) -> Array:
        """Of every motor, (n,), N m or N, now that `target` is asked for."""
        if self._late:
            arrived = self._under_way[0].copy()
            self._under_way[:-1] = self._under_way[1:]
            self._under_way[-1] = target
            target = arrived
        spec, data = self.spec, self.data
        velocity = data.qvel[self._qvel_of]
        if self._motors is not None:
            self._motors.limits(velocity, self._least, self._greatest)
        # tau = clip(kp (q* - q) - kd q', least, greatest)
        wanted = spec.kp * (target - data.qpos[self._qpos_of]) - spec.kd * velocity
        return np.clip(wanted, self._least, self._greatest)

    def _imu_velocity(self) -> Array | None:
        """Of the accelerometer's place, (3,), m/s in the world; None for a robot without one."""
        if self._accelerometer is None:
            return None
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_comVel(self.model, self.data)
        velocity = np.empty(6)
        site = self._accelerometer[0]
        mujoco.mj_objectVelocity(self.model, self.data, mujoco.mjtObj.mjOBJ_SITE, site, velocity, 0)
        return velocity[3:]

    def _sense(self, earlier: Array | None, touching: bool) -> None:
        """Fills in what MuJoCo would have sensed; `earlier` is the velocity of the IMU one physics step ago."""
        model, data = self.model, self.data
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_comVel(model, data)
        mujoco.mj_sensorPos(model, data)
        mujoco.mj_sensorVel(model, data)
        for readings, geom in self._contacts:
            # A sum, where MuJoCo has room for every contact of a foot.
            data.sensordata[readings] = 0.0
            data.sensordata[readings.start] = self._world.contact_force(geom) if touching else 0.0
        if self._accelerometer is not None:
            site, address = self._accelerometer
            now = self._imu_velocity()
            assert now is not None
            assert earlier is not None
            # An accelerometer feels all forces but gravity: R^T (a - g).
            felt = (now - earlier) / model.opt.timestep - model.opt.gravity
            data.sensordata[address : address + 3] = data.site_xmat[site].reshape(3, 3).T @ felt


def _readings(model: mujoco.MjModel, name: str) -> slice:
    """Where a sensor's readings lie among those of all sensors."""
    first = int(model.sensor(name).adr[0])
    return slice(first, first + int(model.sensor(name).dim[0]))


def _accelerometer(model: mujoco.MjModel) -> tuple[int, int]:
    """Its site, and where its reading lies among those of all sensors."""
    sensor = model.sensor("linear_acceleration")
    return int(sensor.objid[0]), int(sensor.adr[0])
