"""Writes URDF from a compiled MuJoCo model, so that one model serves an engine that reads no MJCF.

A kinematic tree becomes one URDF: the world with all that is jointed to it, and every body that is free. A link's
frame is its joint's, its coordinate is MuJoCo's `qpos`, and its inertia stands in its principal axes. Only what decides
motion is written: masses, joints and the shapes that collide.

URDF has no loops, no armature and no joint friction that a simulator keeps to; whoever loads it adds them. `Export`
says which. What neither can express is an error that names the element.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

from sim.surfaces import (
    Ground,
    Surface,
    collides,
    geom_name,
    grounds,
    inexpressible,
    is_plane,
    sliding_friction,
    surface_of,
)
from sim.urdf_elements import add_inertial, add_joint, add_origin, numbers, rotation_about, rotation_matrix

Array = NDArray[np.float64]

_JOINT, _GEOM, _EQUALITY = mujoco.mjtJoint, mujoco.mjtGeom, mujoco.mjtEq
_UNLIMITED = {"lower": "0", "upper": "-1"}
"""What engines take for a sliding joint without ends."""


@dataclass(frozen=True)
class Loop:
    """Two points that stay together."""

    name: str
    links: tuple[str, str]
    anchors: tuple[Array, Array]
    """(3,) each, m, in the frame of the principal axes of each link, as constraints of PyBullet take them."""


@dataclass(frozen=True)
class Tree:
    """One kinematic tree."""

    root: int
    """Its root body; 0 for the world and what is jointed to it."""
    text: str
    """URDF."""


@dataclass(frozen=True)
class Export:
    """A whole model."""

    trees: tuple[Tree, ...]
    surfaces: tuple[Surface, ...]
    grounds: tuple[Ground, ...]
    loops: tuple[Loop, ...]


def export(model: mujoco.MjModel, apart: Collection[str] = (), folder: Path | None = None) -> Export:
    """Writes a model as URDF.

    Args:
        model: compiled.
        apart: geometries that get a link of their own, so that their contacts can be told from others of the same body.
        folder: where the files of meshes go; needed for a model whose meshes collide.

    Raises:
        ConfigurationError: the model has an element that cannot be expressed; names it.
    """
    _refuse_what_has_no_counterpart(model)
    roots = [0] + [body for body in range(1, model.nbody) if _is_free(model, body)]
    writer = _Writer(model, apart, folder)
    trees = tuple(writer.tree(root) for root in roots if root or _has_content(model))
    return Export(trees, tuple(writer.surfaces), tuple(grounds(model)), tuple(_loops(model)))


def link_name(model: mujoco.MjModel, body: int) -> str:
    """The link of a body."""
    return model.body(body).name or f"body{body}"


def joint_name(model: mujoco.MjModel, joint: int) -> str:
    """The URDF joint of a joint."""
    return model.joint(joint).name or f"joint{joint}"


class _Writer:
    def __init__(self, model: mujoco.MjModel, apart: Collection[str], folder: Path | None) -> None:
        self._model, self._apart, self._folder = model, apart, folder
        self.surfaces: list[Surface] = []

    def tree(self, root: int) -> Tree:
        robot = ET.Element("robot", name=link_name(self._model, root))
        self._link(robot, root, link_name(self._model, root), shift=np.zeros(3))
        self._children(robot, root, shift=np.zeros(3))
        ET.indent(robot)  # PyBullet cannot read a file that is one long line
        return Tree(root, ET.tostring(robot, encoding="unicode"))

    def _children(self, robot: ET.Element, parent: int, shift: Array) -> None:
        model = self._model
        for body in np.flatnonzero(model.body_parentid == parent):
            if body != 0 and not _is_free(model, int(body)):
                self._children(robot, int(body), self._jointed(robot, int(body), shift))

    def _jointed(self, robot: ET.Element, body: int, shift: Array) -> Array:
        """A body with the joints before it, one link a joint; returns where its own frame lies in its link's."""
        model = self._model
        joints = range(model.body_jntadr[body], model.body_jntadr[body] + model.body_jntnum[body])
        before = link_name(model, model.body_parentid[body])
        turn = rotation_matrix(model.body_quat[body])
        place = shift + model.body_pos[body]  # of the body, in the frame of the link before
        name = link_name(model, body)
        if not joints:
            add_joint(robot, f"{name}:fixed", "fixed", before, name, place, turn)
            self._link(robot, body, name, np.zeros(3))
            return np.zeros(3)
        anchor = np.zeros(3)
        for index, joint in enumerate(joints):
            last = index == len(joints) - 1
            link = name if last else f"{name}:{joint_name(model, joint)}"
            anchor, axis, reference = model.jnt_pos[joint], model.jnt_axis[joint], model.qpos0[model.jnt_qposadr[joint]]
            origin, frame = place + turn @ anchor, turn
            # The coordinate is qpos itself: at its reference the body stands as the model draws it.
            if _JOINT(int(model.jnt_type[joint])) == _JOINT.mjJNT_HINGE:
                frame = turn @ rotation_about(axis, -reference)
            else:
                origin = origin - turn @ axis * reference
            add_joint(robot, joint_name(model, joint), _kind(model, joint), before, link, origin, frame,
                   axis, _limits(model, joint))  # fmt: skip
            if not last:
                add_inertial(ET.SubElement(robot, "link", name=link))
            before, place, turn = link, -anchor, np.eye(3)
        self._link(robot, body, name, -anchor)
        return -anchor

    def _link(self, robot: ET.Element, body: int, name: str, shift: Array) -> None:
        model = self._model
        link = ET.SubElement(robot, "link", name=name)
        if body == 0:
            add_inertial(link)
        else:
            diagonal, mass = model.body_inertia[body], model.body_mass[body]
            if mass > 0 and not (2 * diagonal.max() <= diagonal.sum() * (1 + 1e-9)):
                raise inexpressible(f"body {name!r}", f"no solid has the inertia {diagonal.tolist()}")
            add_inertial(link, mass, diagonal, shift + model.body_ipos[body], rotation_matrix(model.body_iquat[body]))
        alike: dict[tuple[object, ...], list[int]] = {}
        for geom in range(model.body_geomadr[body], model.body_geomadr[body] + max(0, model.body_geomnum[body])):
            if not collides(model, geom) or is_plane(model, geom):
                continue
            own = model.geom(geom).name if model.geom(geom).name in self._apart else ""
            touch = (int(model.geom_contype[geom]), int(model.geom_conaffinity[geom]), sliding_friction(model, geom))
            alike.setdefault((own, *touch, int(model.geom_priority[geom])), []).append(geom)
        for index, geoms in enumerate(alike.values()):
            holder, holder_name = link, name
            if index:
                holder_name = f"{name}:{geom_name(model, geoms[0])}"
                add_joint(robot, f"{holder_name}:fixed", "fixed", name, holder_name, np.zeros(3), np.eye(3))
                holder = ET.SubElement(robot, "link", name=holder_name)
                add_inertial(holder)
            for geom in geoms:
                self._shape(ET.SubElement(holder, "collision"), geom, shift)
            self.surfaces.append(surface_of(model, holder_name, geoms))

    def _shape(self, collision: ET.Element, geom: int, shift: Array) -> None:
        model = self._model
        add_origin(collision, shift + model.geom_pos[geom], rotation_matrix(model.geom_quat[geom]))
        size, shape = model.geom_size[geom], ET.SubElement(collision, "geometry")
        kind = _GEOM(int(model.geom_type[geom]))
        if kind == _GEOM.mjGEOM_SPHERE:
            ET.SubElement(shape, "sphere", radius=numbers(size[0]))
        elif kind in (_GEOM.mjGEOM_CAPSULE, _GEOM.mjGEOM_CYLINDER):
            name = "capsule" if kind == _GEOM.mjGEOM_CAPSULE else "cylinder"
            ET.SubElement(shape, name, radius=numbers(size[0]), length=numbers(2 * size[1]))
        elif kind == _GEOM.mjGEOM_BOX:
            ET.SubElement(shape, "box", size=numbers(*(2 * size)))
        elif kind == _GEOM.mjGEOM_MESH and self._folder is not None:
            ET.SubElement(shape, "mesh", filename=str(self._mesh(int(model.geom_dataid[geom]))))
        else:
            word = kind.name.removeprefix("mjGEOM_").lower()
            raise inexpressible(f"geom {geom_name(model, geom)!r}", f"a shape of type {word} cannot be written")

    def _mesh(self, mesh: int) -> Path:
        """The mesh as a file; engines collide with its convex hull, as MuJoCo does."""
        model = self._model
        assert self._folder is not None
        path = self._folder / f"mesh{mesh}.obj"
        start, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
        first, faces = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
        lines = [f"v {numbers(*vertex)}" for vertex in model.mesh_vert[start : start + count]]
        lines += ["f " + " ".join(str(i + 1) for i in face) for face in model.mesh_face[first : first + faces]]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path


def _refuse_what_has_no_counterpart(model: mujoco.MjModel) -> None:
    for joint in range(model.njnt):
        kind, name = _JOINT(int(model.jnt_type[joint])), joint_name(model, joint)
        if kind == _JOINT.mjJNT_BALL:
            raise inexpressible(f"joint {name!r}", "ball joints cannot be written")
        if kind == _JOINT.mjJNT_FREE and model.body_jntnum[model.jnt_bodyid[joint]] > 1:
            raise inexpressible(f"joint {name!r}", "a free body has no further joints")
        if kind != _JOINT.mjJNT_FREE and model.jnt_stiffness[joint]:
            raise inexpressible(f"joint {name!r}", "joints with a spring cannot be written")
    for body in np.flatnonzero(model.body_gravcomp):
        raise inexpressible(f"body {link_name(model, int(body))!r}", "compensated gravity (gravcomp) cannot be written")
    for equality in range(model.neq):
        kind = _EQUALITY(int(model.eq_type[equality]))
        if kind != _EQUALITY.mjEQ_CONNECT:
            word = kind.name.removeprefix("mjEQ_").lower()
            raise inexpressible(
                f"equality {model.equality(equality).name!r}", f"only connect constraints can be added, not {word}"
            )
        if int(model.eq_objtype[equality]) != int(mujoco.mjtObj.mjOBJ_SITE) and not model.eq_obj2id[equality]:
            raise inexpressible(f"equality {model.equality(equality).name!r}", "it connects a body to the world")
    if model.ntendon:
        raise inexpressible(f"tendon {model.tendon(0).name!r}", "tendons cannot be written")
    if model.nflex:
        raise inexpressible(f"flex {model.flex(0).name!r}", "soft bodies cannot be written")
    if model.npair:
        raise inexpressible(f"contact pair {model.pair(0).name!r}", "pairs with their own settings cannot be written")


def _is_free(model: mujoco.MjModel, body: int) -> bool:
    return bool(model.body_jntnum[body]) and int(model.jnt_type[model.body_jntadr[body]]) == int(_JOINT.mjJNT_FREE)


def _has_content(model: mujoco.MjModel) -> bool:
    """Whether the world's tree has a joint or something to touch, beside planes."""
    ours = [body for body in range(model.nbody) if not _is_free(model, int(model.body_rootid[body]))]
    shapes = [geom for geom in range(model.ngeom) if int(model.geom_bodyid[geom]) in ours]
    solid = any(collides(model, geom) and not is_plane(model, geom) for geom in shapes)
    return solid or any(model.body_jntnum[body] for body in ours)


def _loops(model: mujoco.MjModel) -> Iterator[Loop]:
    for equality in range(model.neq):
        if not model.eq_active0[equality]:
            continue
        objects, points = (model.eq_obj1id[equality], model.eq_obj2id[equality]), model.eq_data[equality, :6]
        if int(model.eq_objtype[equality]) == int(mujoco.mjtObj.mjOBJ_SITE):
            bodies = [int(model.site_bodyid[site]) for site in objects]
            places = [model.site_pos[site] for site in objects]
        else:
            bodies, places = [int(body) for body in objects], [points[:3], points[3:]]
        anchors = [
            rotation_matrix(model.body_iquat[body]).T @ (place - model.body_ipos[body])
            for body, place in zip(bodies, places, strict=True)
        ]
        name = model.equality(equality).name or f"equality{equality}"
        yield Loop(name, (link_name(model, bodies[0]), link_name(model, bodies[1])), (anchors[0], anchors[1]))


def _kind(model: mujoco.MjModel, joint: int) -> str:
    if _JOINT(int(model.jnt_type[joint])) == _JOINT.mjJNT_SLIDE:
        return "prismatic"
    return "revolute" if model.jnt_limited[joint] else "continuous"


def _limits(model: mujoco.MjModel, joint: int) -> dict[str, str]:
    ends = dict(_UNLIMITED)
    if model.jnt_limited[joint]:
        ends = {"lower": numbers(model.jnt_range[joint, 0]), "upper": numbers(model.jnt_range[joint, 1])}
    return {**ends, "effort": "1e6", "velocity": "1e6"}
