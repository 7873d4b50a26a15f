"""The height field that a model gets for ground that is not flat."""

from __future__ import annotations

import mujoco
import numpy as np

FIELD = "terrain"
"""Name of the height field, its geometry and its body."""
CELLS = 321
"""Heights along each side of the field."""
CELL = 0.05
"""m between two of them."""
HIGHEST = 0.5
"""m, of the field."""
HIDDEN = -20.0
"""m, where the field waits while it is not used."""


def add_field(edit: mujoco.MjSpec) -> None:
    """Adds the height field to a model before it is compiled."""
    half = 0.5 * CELL * (CELLS - 1)
    edit.add_hfield(
        name=FIELD,
        nrow=CELLS,
        ncol=CELLS,
        size=[half, half, HIGHEST, 0.1],
        userdata=np.linspace(0.0, 1.0, CELLS * CELLS),
    )
    body = edit.worldbody.add_body(name=FIELD, pos=[0.0, 0.0, HIDDEN])
    body.add_geom(
        name=FIELD,
        type=mujoco.mjtGeom.mjGEOM_HFIELD,
        hfieldname=FIELD,
        contype=1,
        conaffinity=1,
        condim=3,
        friction=[0.8, 0.02, 0.01],
        rgba=[0.36, 0.42, 0.48, 1.0],
    )
