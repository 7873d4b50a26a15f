"""What of a model can touch, and how: surfaces, planes, which pairs MuJoCo lets meet, and with what friction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import ConfigurationError

Array = NDArray[np.float64]

FRICTION_TOLERANCE = 0.02
"""Relative; of the friction of pairs with something that is not the robot's own body."""
_NO_FRICTION = 1e-6


@dataclass(frozen=True)
class Surface:
    """Shapes of one body that touch alike; they have a link of their own where a body has several."""

    link: str
    body: int
    """In the MuJoCo model."""
    geoms: tuple[str, ...]
    contype: int
    conaffinity: int
    friction: float
    """Sliding; 0 for contacts without friction."""
    priority: int


@dataclass(frozen=True)
class Ground:
    """A plane of the world, which no URDF holds."""

    surface: Surface
    position: Array
    """(3,), m, world frame."""
    orientation_wxyz: Array
    """(4,), plane to world; its normal is the plane's z."""


def inexpressible(element: str, why: str) -> ConfigurationError:
    """The error of a model with an element that another engine cannot have."""
    return ConfigurationError(f"{element} of the model cannot be written as URDF: {why}; simulate this robot in MuJoCo")


def surface_of(model: mujoco.MjModel, link: str, geoms: list[int]) -> Surface:
    """The surface of shapes that touch alike."""
    first = geoms[0]
    return Surface(
        link,
        int(model.geom_bodyid[first]),
        tuple(geom_name(model, geom) for geom in geoms),
        int(model.geom_contype[first]),
        int(model.geom_conaffinity[first]),
        sliding_friction(model, first),
        int(model.geom_priority[first]),
    )


def grounds(model: mujoco.MjModel) -> Iterator[Ground]:
    """Planes; MuJoCo has them in bodies that never move."""
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    for geom in range(model.ngeom):
        if is_plane(model, geom) and collides(model, geom):
            orientation = np.empty(4)
            mujoco.mju_mat2Quat(orientation, data.geom_xmat[geom])
            surface = surface_of(model, f"ground:{geom_name(model, geom)}", [geom])
            yield Ground(surface, data.geom_xpos[geom].copy(), orientation)


def is_plane(model: mujoco.MjModel, geom: int) -> bool:
    """Whether a geometry is a plane."""
    return int(model.geom_type[geom]) == int(mujoco.mjtGeom.mjGEOM_PLANE)


def collides(model: mujoco.MjModel, geom: int) -> bool:
    """Whether a geometry can touch anything."""
    return bool(model.geom_contype[geom] or model.geom_conaffinity[geom])


def sliding_friction(model: mujoco.MjModel, geom: int) -> float:
    """Of a geometry; 0 where its contacts have none."""
    dimensions = model.geom_condim[geom]
    if dimensions not in (1, 3):
        name = geom_name(model, geom)
        raise inexpressible(f"geom {name!r}", f"contacts have 1 or 3 dimensions, not {dimensions}")
    return float(model.geom_friction[geom, 0]) if dimensions == 3 else 0.0


def geom_name(model: mujoco.MjModel, geom: int) -> str:
    """The name of a geometry, or its number."""
    return model.geom(geom).name or f"geom{geom}"


def pairs(model: mujoco.MjModel, surfaces: Sequence[Surface]) -> Iterator[tuple[Surface, Surface, bool]]:
    """Every pair of surfaces and whether MuJoCo lets them touch."""
    for i, one in enumerate(surfaces):
        for other in surfaces[i + 1 :]:
            yield one, other, _may_touch(model, one, other)


def _may_touch(model: mujoco.MjModel, one: Surface, other: Surface) -> bool:
    """MuJoCo's rule: the bits allow it, and the bodies are neither welded together nor parent and child."""
    if not (one.contype & other.conaffinity or other.contype & one.conaffinity):
        return False
    bodies = sorted((one.body, other.body))
    if ((bodies[0] << 16) + bodies[1]) in model.exclude_signature or bodies[0] == bodies[1]:
        return False
    first, second = (int(model.body_weldid[body]) for body in bodies)
    above = [int(model.body_weldid[model.body_parentid[weld]]) for weld in (first, second)]
    if first == second:
        return False
    related = first and second and (first == above[1] or second == above[0])
    return not related or bool(model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_FILTERPARENT)


def fitted_friction(model: mujoco.MjModel, touching: Sequence[tuple[Surface, Surface]]) -> dict[str, float]:
    """One number f for every surface such that f_i f_j is what MuJoCo has for the pair.

    Several numbers cannot always fit all pairs. Those within the robot's own body may be off, others not.

    Raises:
        ConfigurationError: a pair with an object or the ground is off by more than FRICTION_TOLERANCE.
    """
    names = sorted({surface.link for pair in touching for surface in pair})
    if not names:
        return {}
    # log f_i + log f_j = log mu_ij, by least squares; within the body with little weight.
    rows, wanted = np.zeros((len(touching), len(names))), np.zeros(len(touching))
    inner = np.zeros(len(touching), dtype=bool)
    for row, (one, other) in enumerate(touching):
        rows[row, names.index(one.link)] += 1.0
        rows[row, names.index(other.link)] += 1.0
        wanted[row] = np.log(max(_NO_FRICTION, _friction_of(one, other)))
        inner[row] = model.body_rootid[one.body] == model.body_rootid[other.body] != 0
    weight = np.where(inner, 1e-5, 1.0)
    logarithms = np.linalg.lstsq(rows * weight[:, None], wanted * weight, rcond=None)[0]
    off = np.abs(rows @ logarithms - wanted)
    off[inner] = 0.0
    worst = int(np.argmax(off))
    if off[worst] > FRICTION_TOLERANCE:
        one, other = touching[worst]
        raise ConfigurationError(
            f"geoms {one.geoms[0]!r} and {other.geoms[0]!r} of the model: PyBullet multiplies the friction of two "
            "shapes, and no numbers make all products what MuJoCo has; simulate this robot in MuJoCo"
        )
    return dict(zip(names, np.exp(logarithms).tolist(), strict=True))


def _friction_of(one: Surface, other: Surface) -> float:
    """MuJoCo's sliding friction of a pair."""
    if one.priority != other.priority:
        return max((one, other), key=lambda surface: surface.priority).friction
    return max(one.friction, other.friction)
