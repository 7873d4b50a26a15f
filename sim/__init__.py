"""Simulated robots."""

import contextlib
import ctypes
import os
import sys

_LIBRARIES = {"egl": ("libEGL.so.1",), "osmesa": ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so")}
"""Of the ways to render without a display, in the order of preference."""


def _way_to_render() -> str:
    """What is there; `disabled` for nothing, with which MuJoCo still simulates."""
    for way, files in _LIBRARIES.items():
        for file in files:
            with contextlib.suppress(OSError):
                ctypes.CDLL(file)
                return way
    return "disabled"


if sys.platform == "linux" and not os.environ.get("DISPLAY") and "MUJOCO_GL" not in os.environ:
    # MuJoCo decides when it is first imported, and fails there where what it decided for is missing.
    os.environ["MUJOCO_GL"] = _way_to_render()
