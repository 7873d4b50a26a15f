"""Simulated robots."""

import os
import sys

if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    # Without a display MuJoCo can only render through EGL, and it decides when it is first imported.
    os.environ.setdefault("MUJOCO_GL", "egl")
