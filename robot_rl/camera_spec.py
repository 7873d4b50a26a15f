"""The camera of a robot: the size of its pictures, and where it stands in simulation."""

from __future__ import annotations

import math
from dataclasses import dataclass

from robot_rl.errors import ConfigurationError
from robot_rl.section import Section

LARGEST_SIDE = 256
"""Pixels; a policy is a small network, and a replay holds a hundred thousand pictures."""


@dataclass(frozen=True)
class CameraSpec:
    """A camera that stands still and sees in colour."""

    height: int
    """Pixels."""
    width: int
    """Pixels."""
    position: tuple[float, float, float]
    """m, world frame; of the base at home where the base is fixed."""
    look_at: tuple[float, float, float]
    """m, world frame: what is in the middle of the picture. Seen from straight above, x points up in the picture."""
    field_of_view: float
    """degrees, of the picture's height."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a picture: height, width, and red, green, blue."""
        return (self.height, self.width, 3)


def read_camera(section: Section) -> CameraSpec:
    """Reads the section `camera` of a robot's file.

    Raises:
        ConfigurationError: a key is missing or wrong; names it.
    """
    size = section.value("size")
    good = isinstance(size, (list, tuple)) and len(size) == 2
    good = good and all(isinstance(n, int) and not isinstance(n, bool) and 8 <= n <= LARGEST_SIDE for n in size)
    if not good:
        raise ConfigurationError(
            f"{section.where}.size: expected height and width, whole numbers from 8 to {LARGEST_SIDE}, got {size!r}"
        )
    position, look_at = _place(section, "position"), _place(section, "look_at")
    if math.dist(position, look_at) < 1e-6:
        raise ConfigurationError(f"{section.where}.look_at: expected another place than the camera's own position")
    view = section.number("field_of_view", above=0.0)
    if view >= 180.0:
        raise ConfigurationError(f"{section.where}.field_of_view: expected less than 180 degrees, got {view:g}")
    section.finish()
    return CameraSpec(size[0], size[1], position, look_at, view)


def _place(section: Section, key: str) -> tuple[float, float, float]:
    x, y, z = section.numbers(key, 3)
    return (x, y, z)
