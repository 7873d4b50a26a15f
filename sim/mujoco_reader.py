"""Turns MuJoCo's arrays into a RobotState, for one robot or a batch, with the spec's sensor noise."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from robot_rl import rotation
from robot_rl.arrays import components, from_components, sqrt
from robot_rl.errors import ConfigurationError
from robot_rl.robot import ObjectState, RobotState, Start
from robot_rl.spec import RobotSpec
from sim.loops import follower_dofs

Array = NDArray[np.floating]

_ATTITUDE = ("orientation", "gravity", "base_linear_velocity")
_OBJECT_PARTS = ("position", "orientation", "linear_velocity", "angular_velocity")


class MujocoReader:
    """Knows where each quantity of a robot lies in MuJoCo's arrays.

    A reading starts from `raw`, the arrays qpos, qvel, actuator_force and sensordata one after the other, of shape
    (..., raw_size). One gather brings the numbers of all sensors into the order in which they are handed out.

    Attributes:
        joint_qpos: where the driven joints lie in qpos, (n,).
        base_qpos: where a floating base begins in qpos.
    """

    def __init__(self, model: mujoco.MjModel, spec: RobotSpec, disturbed: Collection[str] = ()) -> None:
        """Lays out the readings.

        Args:
            model: as built by `compile_model`.
            spec: the same robot.
            disturbed: sensors that `read` takes noise for, beside those that have noise by the spec.
        """
        self.spec = spec
        self.provides = frozenset({*spec.sensors, *spec.simulation.truth})
        self.raw_size = model.nq + model.nv + model.nu + model.nsensordata
        self.followers = follower_dofs(model, spec.joint_names)
        self._model = model
        self.joint_qpos = np.array([int(model.joint(name).qposadr[0]) for name in spec.joint_names])
        self.base_qpos = 0
        self._contact_slots: NDArray[np.intp] | None = None
        """Normal forces in `raw`, (feet, contacts), where a foot may have several contacts."""
        sources = self._sources()
        # Noisy readings come first, so that noise is drawn and added for these alone. What is computed from the base's
        # orientation follows it, so that all of it is read and written at once.
        uncertain = {name for name, noise in spec.sensors.items() if noise > 0.0} | set(disturbed)
        noisy = [name for name in sources if name in uncertain and name not in _ATTITUDE]
        attitude = [name for name in _ATTITUDE if name in sources]
        order = noisy + attitude + [name for name in sources if name not in noisy and name not in attitude]
        ends = np.cumsum([len(sources[name]) for name in order]).tolist()
        self._at = {name: (..., slice(end - len(sources[name]), end)) for name, end in zip(order, ends, strict=True)}
        self._source = np.concatenate([sources[name] for name in order])
        # The rotation noise of a unit quaternion is isotropic noise of half that angle in its four components, followed
        # by normalisation: exact to first order in the angle.
        deviation = {**spec.sensors, "orientation": 0.5 * spec.sensors.get("orientation", 0.0)}
        noise_std = np.array([deviation.get(name, 0.0) for name in order for _ in sources[name]])
        size = max((end for name, end in zip(order, ends, strict=True) if name in uncertain), default=0)
        self._noise_std = noise_std[:size]
        self._noisy = (..., slice(0, self._noise_std.size))
        self._attitude = None
        if attitude:
            self._attitude = (..., slice(self._at[attitude[0]][1].start, self._at[attitude[-1]][1].stop))
        self._fields = [
            (name + "_xyzw" if name == "orientation" else name, where)
            for name, where in self._at.items()
            if name in self.provides or (name == "gravity" and "orientation" in self.provides)
        ]
        self._objects = [
            (name, [self._at[f"{name}/{part}"] for part in _OBJECT_PARTS])
            for name in (spec.objects if "objects" in self.provides else ())
        ]

    def _sources(self) -> dict[str, list[int]]:
        """Where each reading lies in `raw`."""
        model, spec = self._model, self.spec
        qvel, force = model.nq, model.nq + model.nv
        sensors = force + model.nu

        def sensor(name: str) -> list[int]:
            start = sensors + int(model.sensor(name).adr[0])
            return list(range(start, start + int(model.sensor(name).dim[0])))

        def wxyz_to_xyzw(addresses: Iterable[int]) -> list[int]:
            return rotation.from_wxyz(np.array(list(addresses))).tolist()

        sources = {
            "joint_position": self.joint_qpos.tolist(),
            "joint_velocity": [qvel + int(model.joint(name).dofadr[0]) for name in spec.joint_names],
            "joint_effort": list(range(force, force + model.nu)),
        }
        if spec.base == "floating":
            free = model.body(spec.simulation.base_body).jntadr[0]
            position, velocity = int(model.jnt_qposadr[free]), qvel + int(model.jnt_dofadr[free])
            self.base_qpos = position
            # MuJoCo's free joint: linear velocity in the world frame, angular velocity in the body frame.
            sources |= {
                "orientation": wxyz_to_xyzw(range(position + 3, position + 7)),
                "gravity": [0] * 3,  # only a place; computed from the orientation
                "angular_velocity": list(range(velocity + 3, velocity + 6)),
                "base_position": list(range(position, position + 3)),
                "base_linear_velocity": list(range(velocity, velocity + 3)),
            }
        if "linear_acceleration" in self.provides:
            sources["linear_acceleration"] = sensor("linear_acceleration")
        if "contacts" in self.provides:
            # Three numbers a contact in its own frame; the first is the normal force.
            sources["contacts"] = [sensor(f"contact_{foot}")[0] for foot in spec.feet]
            slots = [sensor(f"contact_{foot}")[::3] for foot in spec.feet]
            self._contact_slots = np.array(slots) if len(slots[0]) > 1 else None
        if "objects" in self.provides:
            for name in spec.objects:
                for part in _OBJECT_PARTS:
                    found = sensor(f"{name}_{part}")
                    sources[f"{name}/{part}"] = wxyz_to_xyzw(found) if part == "orientation" else found
        return {name: where for name, where in sources.items() if where}

    @property
    def noise_std(self) -> Array:
        """Standard deviations of the noise that `read` takes, (noise_size,); empty for a robot without noise."""
        return self._noise_std

    def noise_at(self, sensor: str) -> slice:
        """Where a sensor's numbers lie in the noise that `read` takes; of the orientation a quaternion x, y, z, w."""
        return self._at[sensor][1]

    def start_qpos(self, start: Start) -> Array:
        """Positions (nq,) of the whole model at the start of an episode; followers in loops at their reference.

        Raises:
            ConfigurationError: an object has no joint to move or turn it by.
        """
        qpos = self._model.qpos0.copy()
        qpos[self.joint_qpos] = start.joint_position
        if self.spec.base == "floating":
            base = self.base_qpos
            qpos[base : base + 2] = 0.0
            qpos[base + 2] = self.spec.simulation.base_height
            qpos[base + 3 : base + 7] = rotation.to_wxyz(rotation.from_yaw(start.base_yaw))
        for name, angle in start.object_yaw.items():
            joints = self._joints_of(name)
            kind, address = joints[-1][:2] if joints else (None, 0)
            if kind == mujoco.mjtJoint.mjJNT_FREE:
                upright = rotation.from_wxyz(self._model.qpos0[address + 3 : address + 7])
                turned = rotation.multiply(rotation.from_yaw(angle), upright)
                qpos[address + 3 : address + 7] = rotation.to_wxyz(turned)
            elif kind == mujoco.mjtJoint.mjJNT_HINGE:
                qpos[address] = self._model.qpos0[address] + angle
            else:
                raise ConfigurationError(
                    f"robot {self.spec.name!r}: object {name!r} cannot be turned; it needs a hinge or a free joint"
                )
        for name, place in start.object_position.items():
            moved = False
            for kind, address, axis in self._joints_of(name):
                if kind == mujoco.mjtJoint.mjJNT_FREE:
                    qpos[address : address + 2], moved = place, True
                elif kind == mujoco.mjtJoint.mjJNT_SLIDE:
                    # A slide takes its share of the way from where the model has the object.
                    way = np.array([*place, 0.0]) - [*self._model.body(name).pos[:2], 0.0]
                    qpos[address], moved = self._model.qpos0[address] + axis @ way, True
            if not moved:
                raise ConfigurationError(f"robot {self.spec.name!r}: object {name!r} cannot be moved to another place")
        return qpos

    def _joints_of(self, name: str) -> list[tuple[int, int, Array]]:
        """Kind, address in qpos and axis of each joint of an object: a free one, or slides and last a hinge."""
        model, body = self._model, self._model.body(name)
        joints = range(int(body.jntadr[0]), int(body.jntadr[0]) + int(body.jntnum[0]))
        return [(int(model.jnt_type[j]), int(model.jnt_qposadr[j]), model.jnt_axis[j]) for j in joints]

    def read(self, stamp: float | Array, raw: Array, noise: Array | None, applied: Array | None) -> RobotState:
        """Builds the state from MuJoCo's arrays; its arrays are read-only.

        Joint and base quantities are those of the new instant. Acceleration, contacts and objects are those that MuJoCo
        computed at the start of the last physics step, so they lag by one `physics_dt`, as a real sensor's filter does.

        Args:
            stamp: s.
            raw: (..., raw_size).
            noise: (..., noise_size) normal with `noise_std`, or None for exact readings.
            applied: (..., n), the command in force.
        """
        measured = raw.take(self._source, axis=-1)
        if self._contact_slots is not None:
            measured[self._at["contacts"]] = raw.take(self._contact_slots, axis=-1).sum(-1)
        attitude = None if self._attitude is None else measured[self._attitude]
        exact = None if attitude is None else components(attitude.copy())
        if noise is not None:
            noisy = measured[self._noisy]
            np.add(noisy, noise, out=noisy)
        if attitude is not None and exact is not None:
            attitude[...] = _attitude(exact, exact if noise is None else components(attitude))
        measured.setflags(write=False)
        readings: dict[str, Any] = {name: measured[where] for name, where in self._fields}
        readings["stamp"] = stamp
        readings["applied"] = applied
        readings["objects"] = {
            name: ObjectState(*[measured[where] for where in parts]) for name, parts in self._objects
        }
        return RobotState.of(readings)


def _attitude(exact: list[Any], read: list[Any]) -> Array:
    """Unit quaternion, direction of gravity and velocity of the base in its own frame, (..., 10).

    Args:
        exact: orientation, three numbers unused, and velocity in the world frame, by component.
        read: the same with noise. A robot feels gravity where it thinks down is, and moves where it really heads.
    """
    x, y, z, w = exact[:4]
    velocity = rotation.turned(-x, -y, -z, w, *read[7:])
    if read is not exact:
        x, y, z, w = read[:4]
        shrink = 1.0 / sqrt(x * x + y * y + z * z + w * w)
        x, y, z, w = x * shrink, y * shrink, z * shrink, w * shrink
    return from_components((x, y, z, w, *rotation.down(x, y, z, w), *velocity))
