"""Configuration files, presets and recipes as they are written: read, keys checked, and laid over each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.make import ALGORITHMS, PARTED
from robot_rl.spec_file import builtin_robots
from robot_rl.yaml_file import read_yaml

RECIPES = Path(__file__).parent.parent / "recipes"
"""Settings that suit a task: TASK-ROBOT.yaml on one robot, TASK.yaml on any other, TASK-ALGORITHM.yaml with that."""
PRESETS = Path(__file__).parent.parent / "presets"
"""Settings for any task and robot, which `--config` knows by name."""

SECTIONS = ("task", "observation", "encoder", "trainer", "ros", "real_time", "ray", *ALGORITHMS)
KEYS = ("task", "robot", "algorithm", "robots", "seed", "on", "randomize", "begin_with", *SECTIONS[1:])
RECORDED = ("robot_digest",)
"""Keys that a run's config.json has beside those that a person gives."""


def read_file(path: str | Path) -> dict[str, Any]:
    """Reads a configuration file and checks its keys, not yet their values.

    Args:
        path: of the file; or, where there is none, the name of one of `PRESETS` or `RECIPES`.

    Raises:
        ConfigurationError: no such file, not YAML, or a key that is unknown or given twice.
    """
    presets = {preset.stem: preset for folder in (RECIPES, PRESETS) for preset in folder.glob("*.yaml")}
    file = Path(path)
    if not file.is_file():
        file = presets.get(str(path), file)
    try:
        values = read_yaml(file.read_text(encoding="utf-8"), f"configuration {path}")
    except OSError as error:
        reason = f"{error.strerror or error} (built in: {', '.join(sorted(presets))})"
        raise ConfigurationError(f"cannot read configuration {path}: {reason}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"configuration {path} is not valid YAML: {error}") from error
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise ConfigurationError(f"configuration {path}: expected a mapping of keys, got {type(values).__name__}")
    if True in values:
        values["on"] = values.pop(True)  # YAML 1.1 takes the bare word `on` for a truth value
    for key in values:
        if key not in (*KEYS, *RECORDED):
            raise UnknownName.of("key", key, KEYS, f"in {path}")
    for section in SECTIONS:
        if section == "task" and isinstance(values.get("task"), str):
            values["task"] = {"name": values["task"]}
        if not isinstance(values.get(section, {}), dict):
            raise ConfigurationError(f"{path}.{section}: expected a mapping of keys, got {values[section]!r}")
    check_names(values, str(path))
    return values


def check_names(values: Mapping[str, Any], where: str) -> None:
    """Refuses names of task, robot, algorithm and place that are no text; by them all else is looked up.

    Args:
        values: with the keys of a configuration file.
        where: they came from, for messages.
    """
    names = {key: values.get(key) for key in ("robot", "algorithm", "on")}
    names["task.name"] = values.get("task", {}).get("name")
    for key, name in names.items():
        if not isinstance(name, (str, type(None))):
            raise ConfigurationError(f"{where}.{key}: expected text, got {type(name).__name__} {name!r}")


def advice(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe for what a person has chosen so far; `chosen` has the keys of a configuration file."""
    variants = []
    if chosen.get("observation", {}).get("camera"):
        variants.append("camera")
    # What goes on from another run observes what that one did.
    if chosen.get("randomize") and not chosen.get("begin_with"):
        variants.append("randomized")
    return recipe(chosen.get("task", {}).get("name"), chosen.get("robot"), chosen.get("algorithm"), variants)


def recipe(
    task: str | None, robot: str | None, algorithm: str | None = None, variants: Sequence[str] = ()
) -> dict[str, Any]:
    """The recommended settings of a task on a robot; empty where there are none.

    Args:
        task: name.
        robot: name, or a file; what has no recipe TASK-ROBOT gets the general one of the task.
        algorithm: whose; None for the one that the recipe recommends. Another one gets the general recipe
            TASK-ALGORITHM, and of the robot's what is to be done and observed; where there is none, all of the robot's
            but the settings of its own algorithm, and but those of the trainer where it does not learn from a replay.
        variants: `camera` where the robot's camera is to be observed, `randomized` where the robot is to differ; the
            first of them that has a file TASK-ROBOT-VARIANT counts: what differs there from the robot's recipe. That of
            the camera goes before an algorithm's.
    """
    if not task or not robot:
        return {}

    def file(*variant: str) -> Path:
        return RECIPES / ("-".join([task, *variant]) + ".yaml")

    known = robot in builtin_robots() and file(robot).is_file()
    special = next((one for one in variants if known and file(robot, one).is_file()), None)
    layers = [file(robot) if known else file(), *([file(robot, special)] if special else [])]
    found = layered(*(read_file(layer) for layer in layers if layer.is_file()))
    if algorithm in (None, found.get("algorithm", "sac")):
        return found
    own = file(algorithm) if special != "camera" and file(algorithm).is_file() else None
    if own or (algorithm in ALGORITHMS and not ALGORITHMS[algorithm].replay):
        found = {key: value for key, value in found.items() if key in ("task", "observation")}
    found = {key: value for key, value in found.items() if key not in ("algorithm", *ALGORITHMS) or key == algorithm}
    if algorithm not in PARTED and "observation" in found:
        found["observation"] = {key: value for key, value in found["observation"].items() if key != "privileged"}
    return layered(found, read_file(own)) if own else found


def layered(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Later layers win, section by section."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            result[key] = {**result.get(key, {}), **value} if key in SECTIONS else value
    return result
