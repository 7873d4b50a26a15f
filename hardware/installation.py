"""Whether ROS itself is installed as it should be."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from importlib import metadata

import rclpy


def both_installed(environment: Mapping[str, str] | None = None, packages: Iterable[str] | None = None) -> str:
    """Where a ROS installation is sourced while the wheels are installed too: what to do; else an empty text.

    The two bring libraries of the same names and maybe of other versions; which one a process loads depends on the
    order of paths.

    Args:
        environment: of the process; its own by default.
        packages: names of installed Python packages; those of this Python by default.
    """
    environment = os.environ if environment is None else environment
    sourced = [path for path in environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if path]
    if packages is None:
        packages = (package.metadata["Name"] for package in metadata.distributions())
    wheels = sorted({name for name in packages if name and name.startswith("ros-") and name.endswith("-rclpy")})
    if not sourced or not wheels:
        return ""
    return (
        f"ROS is sourced from {sourced[0]} and the wheels {', '.join(wheels)} are installed too; rclpy comes from "
        f"{os.path.dirname(rclpy.__file__)}. Use one: a shell that is not sourced, or pip uninstall the wheels"
    )
