"""Ground that is not flat: slopes, steps and rough ground, changed at a reset without compiling anything.

A slope is the floor's plane, turned. Steps and rough ground are a height field that is part of the model from the
beginning, hidden far below the floor while it is not used; its patterns are drawn once, and a reset copies one.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import mujoco
import numpy as np
from numpy.typing import NDArray

from robot_rl.arrays import frozen
from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.section import Section
from sim.distributions import read_distribution
from sim.height_field import CELL, CELLS, FIELD, HIGHEST
from sim.parts import Parts
from sim.term import Bound, optional

if TYPE_CHECKING:
    from sim.varied_copy import VariedCopy

Array = NDArray[np.floating]

KINDS = ("flat", "slope", "steps", "rough")
_EVERYWHERE = (0.0, 0.0, 0.0, 1e6, 1e6, 1e6)
"""Centre and half sizes of a box, m."""
_PATTERNS = 8
_TILE = 8
"""Cells along the side of a step."""


class Ground:
    """Height of the ground under any place."""

    def __init__(self, kind: str, size: float, heading: float, heights: Array | None = None) -> None:
        """Args: kind: one of KINDS; size: rad or m; heading: rad, uphill; heights: (CELLS, CELLS), m, of a field."""
        self.kind = kind
        self._climb = np.tan(size) * np.array([np.cos(heading), np.sin(heading)]) if kind == "slope" else np.zeros(2)
        self._heights = heights

    def height(self, x: float, y: float) -> float:
        """m, of the ground at a place in the world."""
        if self._heights is None:
            return float(self._climb[0] * x + self._climb[1] * y)
        half = 0.5 * (CELLS - 1)
        column = min(max(x / CELL + half, 0.0), CELLS - 1.001)
        row = min(max(y / CELL + half, 0.0), CELLS - 1.001)
        i, j = int(row), int(column)
        u, v = row - i, column - j
        cells = self._heights
        low = (1.0 - v) * cells[i, j] + v * cells[i, j + 1]
        high = (1.0 - v) * cells[i + 1, j] + v * cells[i + 1, j + 1]
        return float((1.0 - u) * low + u * high)


def terrain(section: Section, parts: Parts) -> Bound:
    """Ground of a kind: `kinds`, a list to choose from; `slope` rad; `steps` m, of a step; `rough` m, of a bump."""
    floor = parts.floor
    kinds = section.texts("kinds", KINDS)
    if not kinds:
        raise ConfigurationError(f"{section.where}.kinds: expected at least one of {', '.join(KINDS)}; got none")
    for kind in kinds:
        if kind not in KINDS:
            raise UnknownName.of("terrain", kind, KINDS, f"in {section.where}.kinds")
    sizes = {
        "flat": read_distribution(0.0, ""),
        "slope": optional(section, "slope", [0.0, 0.1], at_least=0.0, at_most=0.5),
        "steps": optional(section, "steps", [0.0, 0.04], at_least=0.0, at_most=HIGHEST),
        "rough": optional(section, "rough", [0.0, 0.03], at_least=0.0, at_most=HIGHEST),
    }
    shapes = {"steps": _steps(), "rough": _rough()} if needs_field(kinds) else {}
    body = int(parts.model.body(FIELD).id) if shapes else -1
    geom = int(parts.model.geom(FIELD).id) if shapes else -1
    world = int(parts.model.body_bvhadr[0])
    boxes = slice(world, world + int(parts.model.body_bvhnum[0]))

    def draw(rng: np.random.Generator) -> Array:
        kind = kinds[int(rng.integers(len(kinds)))]
        return np.array(
            [KINDS.index(kind), sizes[kind].one(rng), rng.uniform(-np.pi, np.pi), float(rng.integers(_PATTERNS))]
        )

    def apply(copy: VariedCopy, values: Array) -> None:
        kind, size, heading = KINDS[int(values[0])], float(values[1]), float(values[2])
        heights = None
        if kind == "slope":
            # Turned about the horizontal axis that is level: uphill lies at a right angle to it.
            axis = np.array([np.sin(heading), -np.cos(heading), 0.0])
            mujoco.mju_axisAngle2Quat(copy.fields["geom_quat"][floor], axis, size)
            copy.fields["geom_sameframe"][floor] = 0
            # MuJoCo looks for contacts with the world only within boxes that were made for a level floor.
            copy.fields["bvh_aabb"][boxes] = _EVERYWHERE
        elif kind in shapes:
            unit = shapes[kind][int(values[3])]
            heights = size * unit
            np.multiply(unit.ravel(), size / HIGHEST, out=copy.fields["hfield_data"])
            copy.fields["body_pos"][body] = 0.0
            copy.fields["geom_friction"][geom] = copy.fields["geom_friction"][floor]
            copy.fields["geom_pos"][floor, 2] -= 0.05
        copy.ground = Ground(kind, size, heading, heights)

    # The field's data are written whole whenever it is used, so they need not be put back.
    fields = ("geom_quat", "geom_pos", "geom_sameframe", "bvh_aabb", "body_pos", "geom_friction")
    return Bound(("kind", "size", "heading", "pattern"), draw, apply, fields)


def needs_field(kinds: object) -> bool:
    """Whether some of the kinds need the height field in the model."""
    return not isinstance(kinds, (list, tuple)) or "steps" in kinds or "rough" in kinds


@functools.cache
def _steps() -> Array:
    """(patterns, CELLS, CELLS) tiles of heights in [0, 1]; at the origin lies the middle of one."""
    tiles = CELLS // _TILE + 2
    coarse = np.random.default_rng(1).uniform(0.0, 1.0, (_PATTERNS, tiles, tiles)).astype(np.float32)
    index = (np.arange(CELLS) - (CELLS - 1) // 2 + _TILE // 2) // _TILE + tiles // 2
    return frozen(coarse[:, index][:, :, index])


@functools.cache
def _rough() -> Array:
    """(patterns, CELLS, CELLS) independent heights in [0, 1] every other cell, and their means between."""
    found = np.random.default_rng(2).uniform(0.0, 1.0, (_PATTERNS, CELLS, CELLS)).astype(np.float32)
    found[:, 1:-1:2] = 0.5 * (found[:, :-2:2] + found[:, 2::2])
    found[:, :, 1:-1:2] = 0.5 * (found[:, :, :-2:2] + found[:, :, 2::2])
    return frozen(found)
