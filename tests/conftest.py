"""What several folders of tests share."""

import copy
import functools
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from robot_rl.spec import RobotSpec
from robot_rl.spec_file import BUILTIN, load_robot, parse_robot

# Networks this small are slower on several threads, and far slower where other processes want the cores too, since
# threads that wait for each other keep a core busy. It counts for this process, before it loads torch, and for those
# that it starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure() -> None:
    """Where every extra has to be there, as in CI, a test that is skipped for want of one would go unnoticed."""
    missing = [name for name in os.environ.get("ROBOT_RL_TESTS_NEED", "").split() if find_spec(name) is None]
    if missing:
        raise pytest.UsageError(f"ROBOT_RL_TESTS_NEED: not installed: {', '.join(missing)}")


REMOVED = object()
"""As a value: takes the key out."""


@functools.cache
def _builtin_values(name: str) -> dict[str, Any]:
    content = yaml.safe_load((BUILTIN / f"{name}.yaml").read_text(encoding="utf-8"))
    content["simulation"]["model"] = str((BUILTIN / content["simulation"]["model"]).resolve())
    return content


@pytest.fixture
def removed() -> object:
    return REMOVED


@pytest.fixture(scope="session")
def robot_values() -> Callable[..., dict[str, Any]]:
    """A built-in robot's file with some dotted keys changed: `robot_values("go2", {"action.scale": 1.0})`."""

    def values(name: str, changes: dict[str, Any] | None = None) -> dict[str, Any]:
        content = copy.deepcopy(_builtin_values(name))
        for path, value in (changes or {}).items():
            *sections, key = path.split(".")
            section = content
            for name in sections:
                section = section.setdefault(name, {})
            if value is REMOVED:
                del section[key]
            else:
                section[key] = value
        return content

    return values


@pytest.fixture(scope="session")
def robot_spec(robot_values: Callable[..., dict[str, Any]]) -> Callable[..., RobotSpec]:
    """A built-in robot, with some dotted keys of its file changed: `robot_spec("go2", {"action.scale": 1.0})`."""

    def spec(name: str, changes: dict[str, Any] | None = None) -> RobotSpec:
        if not changes:
            return load_robot(name)
        return parse_robot(robot_values(name, changes), where=f"{name}.yaml", folder=BUILTIN, source=name)

    return spec


@pytest.fixture
def write_robot(tmp_path: Path) -> Callable[..., Path]:
    """Writes a robot's YAML file into the test's own folder."""

    def write(values: Any, name: str = "robot.yaml") -> Path:
        path = tmp_path / name
        path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        return path

    return write
