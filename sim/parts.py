"""Which parts of a compiled model are the robot's, for those who change them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import mujoco
import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import NoPart, UnknownName
from robot_rl.spec import RobotSpec

Indices = NDArray[np.intp]


class Parts:
    """Indices of a robot's bodies, joints and geometries in its compiled model."""

    def __init__(self, model: mujoco.MjModel, spec: RobotSpec) -> None:
        """Args: model: as built by `compile_model`; spec: the same robot."""
        self.model, self.spec = model, spec

    @cached_property
    def bodies(self) -> Indices:
        """Moving bodies with a mass that are not objects of the workspace."""
        model = self.model
        objects = {int(model.body(name).id) for name in self.spec.objects}
        for body in range(1, model.nbody):
            if int(model.body_parentid[body]) in objects:
                objects.add(body)
        return _indices(
            body
            for body in range(1, model.nbody)
            if model.body_weldid[body] != 0 and model.body_mass[body] > 0.0 and body not in objects
        )

    @cached_property
    def base(self) -> int:
        """The body of a floating base.

        Raises:
            NoPart: the base is fixed.
        """
        if self.spec.base != "floating":
            raise NoPart(f"robot {self.spec.name!r} has no floating base")
        return int(self.model.body(self.spec.simulation.base_body).id)

    @cached_property
    def driven(self) -> Indices:
        """Degree of freedom of each driven joint, in the spec's order."""
        return _indices(self.model.joint(name).dofadr[0] for name in self.spec.joint_names)

    @cached_property
    def joints(self) -> Indices:
        """Degrees of freedom of all hinges and slides of the robot, the driven ones first."""
        model, robot = self.model, set(self.bodies.tolist())
        others = (
            model.jnt_dofadr[joint]
            for joint in range(model.njnt)
            if int(model.jnt_bodyid[joint]) in robot
            and model.jnt_type[joint] != int(mujoco.mjtJoint.mjJNT_FREE)
            and model.jnt_dofadr[joint] not in self.driven
        )
        return np.concatenate([self.driven, _indices(others)])

    @cached_property
    def colliding(self) -> Indices:
        """Geometries that can touch anything, the world's and the objects' among them."""
        return np.flatnonzero((self.model.geom_contype != 0) | (self.model.geom_conaffinity != 0))

    @cached_property
    def floor(self) -> int:
        """The plane that a robot with a floating base stands on."""
        planes = np.flatnonzero(self.model.geom_type == int(mujoco.mjtGeom.mjGEOM_PLANE))
        if self.spec.base != "floating" or not planes.size:
            raise NoPart(f"robot {self.spec.name!r} does not stand on a floor")
        return int(planes[0])

    @cached_property
    def feet(self) -> Indices:
        """Geometry of each foot."""
        return _indices(self.model.geom(name).id for name in self.spec.simulation.foot_geoms)

    def bodies_named(self, names: Sequence[str], where: str) -> Indices:
        """Bodies by name, any of the model; raises UnknownName."""
        known = [self.body_name(body) for body in range(1, self.model.nbody)]
        for name in names:
            if name not in known:
                raise UnknownName.of("body", name, filter(None, known), f"in {where}")
        return _indices(self.model.body(name).id for name in names)

    def joints_named(self, names: Sequence[str], where: str) -> Indices:
        """Degrees of freedom of hinges and slides by name, any of the model; raises UnknownName."""
        free = int(mujoco.mjtJoint.mjJNT_FREE)
        known = [
            self.model.joint(joint).name for joint in range(self.model.njnt) if self.model.jnt_type[joint] != free
        ]
        for name in names:
            if name not in known:
                raise UnknownName.of("joint", name, known, f"in {where}")
        return _indices(self.model.joint(name).dofadr[0] for name in names)

    def body_name(self, body: int) -> str:
        """Name of a body."""
        return self.model.body(int(body)).name

    def dof_name(self, dof: int) -> str:
        """Name of the joint of a degree of freedom."""
        return self.model.joint(int(self.model.dof_jntid[int(dof)])).name


def _indices(values: object) -> Indices:
    return np.array(list(values), dtype=np.intp)  # type: ignore[call-overload]
