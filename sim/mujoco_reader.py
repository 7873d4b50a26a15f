"""Turns MuJoCo's arrays into a RobotState, for one robot or a batch, with the spec's sensor noise."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from robot_rl import rotation
from robot_rl.robot import ObjectState, RobotState, Start
from robot_rl.spec import RobotSpec
from sim.loops import follower_dofs

Array = NDArray[np.floating]

_OBJECT_PARTS = ("position", "orientation", "linear_velocity", "angular_velocity")


class MujocoReader:
    """Knows where each quantity of a robot lies in MuJoCo's arrays, whose leading shape may be () or (N,)."""

    def __init__(self, model: mujoco.MjModel, spec: RobotSpec) -> None:
        """Args: model: as built by `compile_model`; spec: the same robot."""
        self.spec = spec
        self.provides = frozenset({*spec.sensors, *spec.simulation.truth})
        joints = [model.joint(name) for name in spec.joint_names]
        self._joint_qpos = _slice_if_consecutive([int(joint.qposadr[0]) for joint in joints])
        self._joint_qvel = _slice_if_consecutive([int(joint.dofadr[0]) for joint in joints])
        self._base_qpos = self._base_qvel = 0
        if spec.base == "floating":
            free = model.body(spec.simulation.base_body).jntadr[0]
            self._base_qpos, self._base_qvel = int(model.jnt_qposadr[free]), int(model.jnt_dofadr[free])
        self._has_objects = "objects" in self.provides
        self._sensor = {
            model.sensor(i).name: slice(int(model.sensor(i).adr[0]), int(model.sensor(i).adr[0] + model.sensor(i).dim[0]))
            for i in range(model.nsensor)
        }
        self._contacts = slice(0, 0)
        if "contacts" in self.provides:
            first, last = self._sensor[f"contact_{spec.feet[0]}"], self._sensor[f"contact_{spec.feet[-1]}"]
            # Three numbers a foot in the contact's frame; the first is the normal force.
            self._contacts = slice(first.start, last.stop, 3)
        self._at, self._measured_size, self._noise_std = _measured_layout(spec)
        self._model = model
        self.followers = follower_dofs(model, spec.joint_names)

    @property
    def noise_size(self) -> int:
        """How many standard normals one reading of one robot consumes."""
        return self._noise_std.size

    def start_qpos(self, start: Start) -> Array:
        """Positions (nq,) of the whole model at the start of an episode; followers in closed loops at their reference."""
        qpos = self._model.qpos0.copy()
        qpos[self._joint_qpos] = start.joint_position
        if self.spec.base == "floating":
            base = self._base_qpos
            qpos[base : base + 2] = 0.0
            qpos[base + 2] = self.spec.simulation.base_height
            qpos[base + 3 : base + 7] = rotation.to_wxyz(rotation.from_yaw(start.base_yaw))
        for name, angle in start.object_yaw.items():
            joint = self._model.body(name).jntadr[0]
            address = self._model.jnt_qposadr[joint]
            if self._model.jnt_type[joint] == int(mujoco.mjtJoint.mjJNT_FREE):
                upright = rotation.from_wxyz(self._model.qpos0[address + 3 : address + 7])
                turned = rotation.multiply(rotation.from_yaw(angle), upright)
                qpos[address + 3 : address + 7] = rotation.to_wxyz(turned)
            else:
                qpos[address] = self._model.qpos0[address] + angle
        return qpos

    def read(
        self,
        stamp: float | Array,
        qpos: Array,
        qvel: Array,
        effort: Array,
        sensordata: Array,
        noise: Array | None,
        applied: Array | None,
    ) -> RobotState:
        """Builds the state from MuJoCo's arrays.

        Joint and base quantities are those of the new instant. Acceleration, contacts and objects are those that MuJoCo
        computed at the start of the last physics step, so they lag by one `physics_dt`, as a real sensor's filter does.

        Args:
            stamp: s.
            qpos: (..., nq).
            qvel: (..., nv).
            effort: (..., n), actuator forces.
            sensordata: (..., nsensordata).
            noise: (..., noise_size) standard normals, or None for exact readings.
            applied: (..., n), the command in force.
        """
        provides, at = self.provides, self._at
        # One fresh array holds all noisy readings: noise is added once, and MuJoCo's own arrays may change afterwards.
        measured = np.empty((*qpos.shape[:-1], self._measured_size))
        measured[..., at["joint_position"]] = qpos[..., self._joint_qpos]
        measured[..., at["joint_velocity"]] = qvel[..., self._joint_qvel]
        measured[..., at["joint_effort"]] = effort
        orientation = angular_velocity = acceleration = base_position = base_velocity = contacts = None
        if self.spec.base == "floating":
            base, dof = self._base_qpos, self._base_qvel
            # wxyz to xyzw; `orientation` is a view of `measured` and gets its noise below.
            orientation = measured[..., at["orientation"]]
            orientation[..., :3] = qpos[..., base + 4 : base + 7]
            orientation[..., 3] = qpos[..., base + 3]
            # MuJoCo's free joint: linear velocity in the world frame, angular velocity in the body frame.
            measured[..., at["angular_velocity"]] = qvel[..., dof + 3 : dof + 6]
            angular_velocity = measured[..., at["angular_velocity"]]
            if "base_linear_velocity" in provides:
                base_velocity = measured[..., at["base_linear_velocity"]]
                base_velocity[...] = rotation.rotate_inverse(orientation, qvel[..., dof : dof + 3])
            if "base_position" in provides:
                base_position = qpos[..., base : base + 3].copy()
            if "linear_acceleration" in provides:
                acceleration = measured[..., at["linear_acceleration"]]
                acceleration[...] = sensordata[..., self._sensor["linear_acceleration"]]
        if "contacts" in provides:
            contacts = sensordata[..., self._contacts].copy()
        if noise is not None:
            measured[..., : self.noise_size] += noise * self._noise_std
            if orientation is not None and "orientation" in at:
                orientation /= np.sqrt(np.einsum("...i,...i->...", orientation, orientation))[..., None]
        objects = {}
        if self._has_objects:
            for name in self.spec.objects:
                position, quaternion, linear, angular = (sensordata[..., self._sensor[f"{name}_{part}"]] for part in _OBJECT_PARTS)
                objects[name] = ObjectState(position + 0.0, rotation.from_wxyz(quaternion), linear + 0.0, angular + 0.0)
        return RobotState(
            stamp=stamp,
            joint_position=measured[..., at["joint_position"]],
            joint_velocity=measured[..., at["joint_velocity"]],
            joint_effort=measured[..., at["joint_effort"]] if "joint_effort" in provides else None,
            orientation_xyzw=orientation if "orientation" in provides else None,
            angular_velocity=angular_velocity if "angular_velocity" in provides else None,
            linear_acceleration=acceleration,
            base_position=base_position,
            base_linear_velocity=base_velocity,
            contacts=contacts,
            objects=objects,
            applied=applied,
        )


def _measured_layout(spec: RobotSpec) -> tuple[dict[str, slice], int, Array]:
    """Where each reading lies in the array of measurements, its length, and the noise of its first entries.

    Noisy readings come first, so that noise is drawn for these alone. The rotation noise of a unit quaternion is isotropic
    noise of half that angle in its four components, followed by normalisation: exact to first order in the angle.
    """
    sizes = {"joint_position": spec.joints, "joint_velocity": spec.joints, "joint_effort": spec.joints}
    if spec.base == "floating":
        sizes |= {"orientation": 4, "angular_velocity": 3, "linear_acceleration": 3, "base_linear_velocity": 3}
    noisy = [name for name in sizes if spec.sensors.get(name, 0.0) > 0.0]
    slices, deviations, start = {}, [], 0
    for name in noisy + [name for name in sizes if name not in noisy]:
        slices[name] = slice(start, start + sizes[name])
        start += sizes[name]
        if name in noisy:
            deviations += [spec.sensors[name] * (0.5 if name == "orientation" else 1.0)] * sizes[name]
    return slices, start, np.array(deviations)


def _slice_if_consecutive(indices: list[int]) -> slice | NDArray[np.intp]:
    # A slice reads several times faster than a list of indices.
    if indices == list(range(indices[0], indices[0] + len(indices))):
        return slice(indices[0], indices[0] + len(indices))
    return np.array(indices)
