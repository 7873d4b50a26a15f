"""A robot's model as PyBullet simulates it: the trees that `sim.urdf` writes, and what URDF has no words for.

| MuJoCo | here |
|---|---|
| armature a of a joint | a flywheel of inertia a, in a body of its own, that a gear of ratio 1 turns with the joint |
| friction loss | a motor that holds the joint still with that force at most |
| damping | a torque, computed at every physics step |
| connect equality | a point-to-point constraint |
| contact bits, parents, excludes | one decision for every pair of surfaces |
| friction of a pair: the larger one, or by priority | PyBullet multiplies two numbers; these are fitted to the pairs |
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

from robot_rl import rotation
from sim.surfaces import fitted_friction, pairs
from sim.urdf import Export, export, joint_name, link_name


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Keeps C code from writing to stderr."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


with _silent_stderr():  # it announces when it was built
    import pybullet

Array = NDArray[np.float64]

SOLVER_ITERATIONS = 50
UNLIMITED = 1e6
"""Of forces and speeds that PyBullet would else limit."""


@dataclass(frozen=True)
class _Body:
    """One tree in PyBullet."""

    id: int
    joints: list[int]
    """Indices of the joints that move."""
    qpos: NDArray[np.intp]
    """Where MuJoCo keeps their positions."""
    qvel: NDArray[np.intp]
    root: int
    """Body in the MuJoCo model; 0 for the world."""
    base_qpos: int
    """Where MuJoCo keeps the pose of the root; only for a free one."""
    base_qvel: int
    inertial_position: Array
    """(3,), m, of the root's centre of mass in its frame."""
    inertial_xyzw: Array
    """(4,), of its principal axes."""


class PyBulletWorld:
    """One client of PyBullet with one robot and its objects in it; positions and velocities as MuJoCo orders them."""

    def __init__(self, model: mujoco.MjModel, apart: Sequence[str] = ()) -> None:
        """Loads the model.

        Args:
            model: compiled; nothing of it is changed.
            apart: geometries whose contacts are asked for by name.

        Raises:
            ConfigurationError: the model has an element that cannot be expressed; names it.
        """
        self._model = model
        self.client = int(pybullet.connect(pybullet.DIRECT))
        try:
            with tempfile.TemporaryDirectory() as folder:
                found = export(model, apart, Path(folder))
                self._load(found, Path(folder))
            self._set_physics(found)
        except BaseException:
            self.close()
            raise
        self._fresh = pybullet.saveState(physicsClientId=self.client)

    # -- building -----------------------------------------------------------------------------------------------------

    def _load(self, found: Export, folder: Path) -> None:
        client = self.client
        # Nothing else about the order of solving depends on what was simulated before.
        pybullet.setPhysicsEngineParameter(deterministicOverlappingPairs=1, physicsClientId=client)
        self._bodies: list[_Body] = []
        self._links: dict[str, tuple[int, int]] = {}
        flags = pybullet.URDF_USE_INERTIA_FROM_FILE | pybullet.URDF_USE_SELF_COLLISION
        for tree in found.trees:
            path = folder / f"{tree.root}.urdf"
            path.write_text(tree.text, encoding="utf-8")
            body = pybullet.loadURDF(str(path), useFixedBase=tree.root == 0, flags=flags, physicsClientId=client)
            self._bodies.append(self._described(body, tree.root))
        for ground in found.grounds:
            shape = pybullet.createCollisionShape(
                pybullet.GEOM_PLANE, planeNormal=[0, 0, 1], physicsClientId=client
            )
            pose = (ground.position.tolist(), rotation.from_wxyz(ground.orientation_wxyz).tolist())
            body = pybullet.createMultiBody(0, shape, -1, *pose, physicsClientId=client)
            self._links[ground.surface.link] = (body, -1)
        self._flywheels = self._add_flywheels(folder)

    def _described(self, body: int, root: int) -> _Body:
        model, client = self._model, self.client
        moving, qpos, qvel = [], [], []
        self._links[link_name(model, root)] = (body, -1)
        names = {joint_name(model, joint): joint for joint in range(model.njnt)}
        for index in range(pybullet.getNumJoints(body, physicsClientId=client)):
            info = pybullet.getJointInfo(body, index, physicsClientId=client)
            self._links[info[12].decode()] = (body, index)
            if info[2] != pybullet.JOINT_FIXED:
                joint = names[info[1].decode()]
                moving.append(index)
                qpos.append(int(model.jnt_qposadr[joint]))
                qvel.append(int(model.jnt_dofadr[joint]))
        free = model.body_jntadr[root] if root else -1
        dynamics = pybullet.getDynamicsInfo(body, -1, physicsClientId=client)
        return _Body(
            body,
            moving,
            np.array(qpos, dtype=np.intp),
            np.array(qvel, dtype=np.intp),
            root,
            int(model.jnt_qposadr[free]) if free >= 0 else -1,
            int(model.jnt_dofadr[free]) if free >= 0 else -1,
            np.array(dynamics[3]),
            np.array(dynamics[4]),
        )

    def _add_flywheels(self, folder: Path) -> tuple[int, list[tuple[int, int]]] | None:
        """A body with a wheel for every joint that has armature: its id, and body and number of the wheels' joints."""
        model, client = self._model, self.client
        geared = [
            (body, number, float(model.dof_armature[body.qvel[number]]))
            for body in self._bodies
            for number in range(len(body.joints))
            if model.dof_armature[body.qvel[number]] > 0
        ]
        if not geared:
            return None
        path = folder / "flywheels.urdf"
        path.write_text(_flywheels([inertia for _, _, inertia in geared]), encoding="utf-8")
        flags = pybullet.URDF_USE_INERTIA_FROM_FILE
        wheels = int(pybullet.loadURDF(str(path), useFixedBase=True, flags=flags, physicsClientId=client))
        for wheel, (body, number, _) in enumerate(geared):
            gear = pybullet.createConstraint(
                body.id, body.joints[number], wheels, wheel, pybullet.JOINT_GEAR, [0, 0, 1], [0, 0, 0], [0, 0, 0],
                physicsClientId=client,
            )  # fmt: skip
            # PyBullet's ratio counts against each other what turns alike.
            pybullet.changeConstraint(gear, gearRatio=-1, maxForce=UNLIMITED, erp=0.0, physicsClientId=client)
        order = {body.id: index for index, body in enumerate(self._bodies)}
        return wheels, [(order[body.id], number) for body, number, _ in geared]

    def _set_physics(self, found: Export) -> None:
        model, client = self._model, self.client
        pybullet.setGravity(*model.opt.gravity.tolist(), physicsClientId=client)
        pybullet.setTimeStep(float(model.opt.timestep), physicsClientId=client)
        pybullet.setPhysicsEngineParameter(
            numSolverIterations=SOLVER_ITERATIONS, solverResidualThreshold=0.0, physicsClientId=client
        )
        everything = [body.id for body in self._bodies] + ([self._flywheels[0]] if self._flywheels else [])
        for body in everything:
            count = pybullet.getNumJoints(body, physicsClientId=client)
            for link in range(-1, count):
                pybullet.changeDynamics(
                    body, link, linearDamping=0.0, angularDamping=0.0, jointDamping=0.0, maxJointVelocity=UNLIMITED,
                    restitution=0.0, rollingFriction=0.0, spinningFriction=0.0, physicsClientId=client,
                )  # fmt: skip
        # PyBullet holds every joint with a motor unless told otherwise.
        for moving in self._bodies:
            if moving.joints:
                forces = model.dof_frictionloss[moving.qvel].tolist()
                pybullet.setJointMotorControlArray(
                    moving.id, moving.joints, pybullet.VELOCITY_CONTROL, forces=forces, physicsClientId=client
                )
        if self._flywheels:
            wheels = list(range(len(self._flywheels[1])))
            pybullet.setJointMotorControlArray(
                self._flywheels[0], wheels, pybullet.VELOCITY_CONTROL, forces=[0.0] * len(wheels),
                physicsClientId=client,
            )  # fmt: skip
        for loop in found.loops:
            (body, link), (other, other_link) = (self._links[name] for name in loop.links)
            anchors = [anchor.tolist() for anchor in loop.anchors]
            closed = pybullet.createConstraint(
                body, link, other, other_link, pybullet.JOINT_POINT2POINT, [0, 0, 0], *anchors, physicsClientId=client
            )
            pybullet.changeConstraint(closed, maxForce=UNLIMITED, physicsClientId=client)
        self._set_contacts(found)

    def _set_contacts(self, found: Export) -> None:
        client, model = self.client, self._model
        touching = []
        for one, other, touch in pairs(model, [*found.surfaces, *(ground.surface for ground in found.grounds)]):
            (body, link), (other_body, other_link) = self._links[one.link], self._links[other.link]
            pybullet.setCollisionFilterPair(body, other_body, link, other_link, int(touch), physicsClientId=client)
            if touch:
                touching.append((one, other))
        for surface, value in fitted_friction(model, touching).items():
            body, link = self._links[surface]
            pybullet.changeDynamics(body, link, lateralFriction=value, physicsClientId=client)
        self._surfaces = {
            geom: self._links[surface.link] for surface in found.surfaces for geom in surface.geoms
        }

    # -- simulating ---------------------------------------------------------------------------------------------------

    def place(self, qpos: Array) -> None:
        """Teleports everything to rest at `qpos`, (nq,), and forgets all contacts.

        A free body is where its base body is; loops must be closed.
        """
        client = self.client
        pybullet.restoreState(self._fresh, physicsClientId=client)
        for body in self._bodies:
            if body.base_qpos >= 0:
                pose = qpos[body.base_qpos : body.base_qpos + 7]
                orientation = rotation.from_wxyz(pose[3:])
                centre = pose[:3] + rotation.rotate(orientation, body.inertial_position)
                principal = rotation.multiply(orientation, body.inertial_xyzw)
                pybullet.resetBasePositionAndOrientation(
                    body.id, centre.tolist(), principal.tolist(), physicsClientId=client
                )
            if body.joints:
                positions = [[float(value)] for value in qpos[body.qpos]]
                pybullet.resetJointStatesMultiDof(
                    body.id, body.joints, positions, [[0.0]] * len(positions), physicsClientId=client
                )
        if self._flywheels:
            wheels, geared = self._flywheels
            for wheel, (order, number) in enumerate(geared):
                body = self._bodies[order]
                pybullet.resetJointState(
                    wheels, wheel, float(qpos[body.qpos[number]]), 0.0, physicsClientId=client
                )

    def step(self, force: Array) -> None:
        """One physics step under generalised forces, (nv,), N m or N; only joints can be given any."""
        for body in self._bodies:
            if body.joints:
                pybullet.setJointMotorControlArray(
                    body.id, body.joints, pybullet.TORQUE_CONTROL, forces=force[body.qvel].tolist(),
                    physicsClientId=self.client,
                )  # fmt: skip
        pybullet.stepSimulation(physicsClientId=self.client)

    def read(self, qpos: Array, qvel: Array) -> None:
        """Writes positions (nq,) and velocities (nv,) of joints and free bodies as they are now."""
        for body in self._bodies:
            if body.joints:
                states = pybullet.getJointStates(body.id, body.joints, physicsClientId=self.client)
                qpos[body.qpos] = [state[0] for state in states]
                qvel[body.qvel] = [state[1] for state in states]
            if body.base_qpos >= 0:
                self._read_base(body, qpos, qvel)

    def _read_base(self, body: _Body, qpos: Array, qvel: Array) -> None:
        client = self.client
        centre, principal = pybullet.getBasePositionAndOrientation(body.id, physicsClientId=client)
        linear, angular = (np.array(v) for v in pybullet.getBaseVelocity(body.id, physicsClientId=client))
        orientation = rotation.multiply(np.array(principal), rotation.conjugate(body.inertial_xyzw))
        arm = rotation.rotate(orientation, body.inertial_position)  # from the body's frame to its centre of mass
        at, moving = body.base_qpos, body.base_qvel
        qpos[at : at + 3] = np.array(centre) - arm
        qpos[at + 3 : at + 7] = rotation.to_wxyz(orientation)
        # As MuJoCo has it: of the frame's origin in the world's axes, and angular in the body's own.
        qvel[moving : moving + 3] = linear - rotation.cross(angular, arm)
        qvel[moving + 3 : moving + 6] = rotation.rotate_inverse(orientation, angular)

    def contact_force(self, geom: str) -> float:
        """N, normal force on a surface in the last step, all its contacts together."""
        body, link = self._surfaces[geom]
        points = pybullet.getContactPoints(bodyA=body, linkIndexA=link, physicsClientId=self.client)
        return float(sum(point[9] for point in points))

    def mass_matrix(self, qpos: Array) -> tuple[Array, NDArray[np.intp]]:
        """Inertia (k, k) of the joints of the tree with most joints, without armature, and their addresses in qvel.

        Args:
            qpos: positions (nq,).
        """
        body = max(self._bodies, key=lambda body: len(body.joints))
        rows = pybullet.calculateMassMatrix(body.id, qpos[body.qpos].tolist(), physicsClientId=self.client)
        return np.array(rows), body.qvel

    def save(self, path: Path) -> None:
        """Writes the state of the engine, contacts included."""
        pybullet.saveBullet(str(path), physicsClientId=self.client)

    def load(self, path: Path) -> None:
        """Takes over a state that a world of the same model wrote."""
        pybullet.restoreState(fileName=str(path), physicsClientId=self.client)

    def close(self) -> None:
        """Disconnects; may be called any number of times."""
        if self.client >= 0 and pybullet.isConnected(self.client):
            pybullet.disconnect(self.client)
        self.client = -1


def _flywheels(inertias: Sequence[float]) -> str:
    """URDF of wheels that turn about axes fixed in the world, each with an inertia in kg m^2."""
    massless = "<mass value='0'/><inertia ixx='0' ixy='0' ixz='0' iyy='0' iyz='0' izz='0'/>"
    lines = ["<robot name='flywheels'>", f"<link name='world'><inertial>{massless}</inertial></link>"]
    for wheel, inertia in enumerate(inertias):
        moments = f"<inertia ixx='{inertia!r}' ixy='0' ixz='0' iyy='{inertia!r}' iyz='0' izz='{inertia!r}'/>"
        lines += [
            f"<link name='wheel{wheel}'><inertial><mass value='1e-6'/>{moments}</inertial></link>",
            f"<joint name='turn{wheel}' type='continuous'><parent link='world'/><child link='wheel{wheel}'/>",
            "<axis xyz='0 0 1'/></joint>",
        ]
    return "\n".join([*lines, "</robot>"])
