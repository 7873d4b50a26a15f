"""What is said where an installation lacks a package."""

from __future__ import annotations

from robot_rl.errors import ConfigurationError


def missing_package(error: ModuleNotFoundError, extra: str) -> ConfigurationError:
    """What to tell a person whose installation lacks a package of an extra."""
    return ConfigurationError(
        f"the Python package {error.name!r} is not installed; install robot_rl with the extra {extra!r}: "
        f"pip install -c constraints.txt -e '.[{extra}]'"
    )


def missing_for_pybullet(error: ModuleNotFoundError) -> ConfigurationError:
    """The same for a robot in PyBullet."""
    if error.name != "pybullet":
        return missing_package(error, "train")
    return ConfigurationError(f"{missing_package(error, 'pybullet')} (there are wheels up to Python 3.11)")


def missing_for_bags(error: ModuleNotFoundError) -> ConfigurationError:
    """The same for bags."""
    return missing_package(error, "bags" if error.name and error.name.startswith("rosbags") else "ros")
