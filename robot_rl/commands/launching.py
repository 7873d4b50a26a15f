"""What the ROS 2 launch files start: their arguments, and the command lines these become.

The files in `launch/` are two lines each and name one of `LAUNCHES`. Everything started here is a program of its own,
so the same can be had without ROS's launch, from any terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robot_rl.commands.policy_files import find_policy
from robot_rl.errors import ConfigurationError, StorageError
from robot_rl.spec_file import BUILTIN, builtin_robots, load_robot, parse_robot
from robot_rl.tasks import TASKS
from robot_rl.yaml_file import read_yaml

Values = Mapping[str, str]
ROBOT_RL = ("-m", "robot_rl.cli")
POLICY_NODE = ("-m", "hardware.policy_node")


@dataclass(frozen=True)
class Argument:
    """One launch argument; all are texts, as ROS's launch has them."""

    default: str
    description: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Program:
    """One process: `python` with these arguments."""

    name: str
    arguments: tuple[str, ...]
    leads: bool = False
    """Whether everything else ends with it."""
    ready: str = ""
    """What it prints when the programs after it may begin; empty where they need not wait."""


@dataclass(frozen=True)
class Launch:
    """One launch file."""

    arguments: Mapping[str, Argument]
    programs: Callable[[Values], list[Program]]


def programs(name: str, values: Values) -> list[Program]:
    """The processes of a launch file.

    Args:
        name: one of LAUNCHES.
        values: launch arguments; those left out have their defaults.

    Raises:
        ConfigurationError: a file or name does not exist.
    """
    launch = LAUNCHES[name]
    return launch.programs({key: values.get(key, argument.default) for key, argument in launch.arguments.items()})


def description(name: str) -> Any:
    """The LaunchDescription of a launch file; needs ROS's own package `launch`."""
    from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, RegisterEventHandler, Shutdown
    from launch.event_handlers import OnProcessIO

    from launch import LaunchDescription  # type: ignore[attr-defined]

    def process(program: Program) -> Any:
        return ExecuteProcess(
            cmd=[sys.executable, *program.arguments],
            name=program.name,
            output="screen",
            # A robot is brought to rest on Ctrl-C, and a recording or a run completed: that takes its time.
            sigterm_timeout="30",
            on_exit=[Shutdown(reason=f"{program.name} ended")] if program.leads else None,
        )

    def start(context: Any) -> list[Any]:
        wanted = programs(name, context.launch_configurations)
        first, *others = [process(program) for program in wanted]
        if not wanted[0].ready:
            return [first, *others]

        def listen(event: Any) -> list[Any]:
            ready = wanted[0].ready.encode() in event.text
            return [others.pop(0) for _ in range(len(others))] if ready else []

        return [RegisterEventHandler(OnProcessIO(target_action=first, on_stderr=listen)), first]

    declared = [
        DeclareLaunchArgument(
            key,
            default_value=argument.default,
            description=argument.description,
            choices=list(argument.choices) or None,
        )
        for key, argument in LAUNCHES[name].arguments.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def robot_with_safety(robot: str, safety: str) -> str:
    """A robot's file with some keys of its safety section replaced.

    The new file is written beside the one with the replacements, since runs and recordings go on referring to it.

    Args:
        robot: built-in name or YAML file.
        safety: YAML file with keys of the section; empty for the robot as it is.

    Returns:
        The robot as other commands take it.

    Raises:
        ConfigurationError: a file is missing, or a key is wrong.
        StorageError: the new file cannot be written.
    """
    import yaml

    spec = load_robot(robot)
    if not safety:
        return robot
    place = Path(safety)
    try:
        content = place.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot read safety file {safety}: {error}") from error
    changes = read_yaml(content, f"safety file {safety}")
    if not isinstance(changes, dict):
        raise ConfigurationError(f"safety file {safety}: expected keys of a robot's safety section")
    source = BUILTIN / f"{robot}.yaml" if robot in builtin_robots() else Path(robot)
    values = yaml.safe_load(source.read_text(encoding="utf-8"))
    values["safety"] = {**values.get("safety", {}), **changes}
    values["simulation"]["model"] = spec.simulation.model
    path = place.with_name(f"{spec.name}_{place.stem}.yaml")
    parse_robot(values, where=path.name, folder=path.parent)
    try:
        path.write_text(f"# {source.name} with the safety of {place.name}\n{yaml.safe_dump(values, sort_keys=False)}")
    except OSError as error:
        raise StorageError(f"cannot write {path}, the robot with that safety: {error.strerror}") from error
    return str(path)


def _twin(values: Values) -> list[Program]:
    robot = robot_with_safety(values["robot"], values["safety"])
    flags = ["--lock-step"] if _yes(values, "lock_step") else []
    flags += ["--rate", values["rate"]] if values["rate"] else []
    twin = Program("twin", (*ROBOT_RL, "twin", robot, *flags, *_namespace(values)), leads=True)
    return [twin, *_recorder(values, robot)]


def _policy(values: Values) -> list[Program]:
    robot = robot_with_safety(values["robot"], values["safety"])
    parameters = {
        "policy": str(find_policy(values["policy"]).path.resolve()),
        "robot": robot,
        "autostart": "true" if _yes(values, "autostart") else "false",
        "lock_step": "true" if _yes(values, "lock_step") else "false",
    }
    # The node records by itself: only it knows what the policy sees and does.
    parameters |= {"record": values["record"]} if values["record"] else {}
    given = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    namespace = values["namespace"].strip("/")
    given += ["-r", f"__ns:=/{namespace}"] if namespace else []
    node = Program("policy", (*POLICY_NODE, "--ros-args", *given), leads=True)
    return [*_twin_beside(values, robot), node]


def _train(values: Values) -> list[Program]:
    robot = robot_with_safety(values["robot"], values["safety"])
    flags = ["--on", "ros", "--yes", *_namespace(values)]
    flags += ["--lock-step"] if _yes(values, "lock_step") else []
    flags += ["--steps", values["steps"]] if values["steps"] else []
    if values["resume"]:
        training = Program("train", (*ROBOT_RL, "train", "--resume", values["resume"], "--yes"), leads=True)
    else:
        training = Program("train", (*ROBOT_RL, "train", values["task"], "--robot", robot, *flags), leads=True)
    return [*_twin_beside(values, robot), training, *_recorder(values, robot)]


def _twin_beside(values: Values, robot: str) -> list[Program]:
    if not _yes(values, "twin"):
        return []
    (twin, *_) = _twin({**values, "robot": robot, "safety": "", "record": ""})
    return [Program(twin.name, twin.arguments, ready=f"twin of {load_robot(robot).name}")]


def _recorder(values: Values, robot: str) -> list[Program]:
    if not values["record"]:
        return []
    return [Program("record", (*ROBOT_RL, "record", robot, "--out", values["record"], *_namespace(values)))]


def _namespace(values: Values) -> list[str]:
    return ["--namespace", values["namespace"]] if values["namespace"] else []


def _yes(values: Values, name: str) -> bool:
    text = values[name].lower()
    if text not in ("true", "false"):
        raise ConfigurationError(f"{name}: expected true or false, got {values[name]!r}")
    return text == "true"


_YES_NO = ("true", "false")
_ROBOT = Argument("go2", f"{', '.join(builtin_robots())}, or a robot's YAML file")
_COMMON = {
    "namespace": Argument("", "before all relative topic names"),
    "safety": Argument("", "YAML file with keys that replace those of the robot's safety section"),
    "record": Argument("", "new folder for a bag of the robot's topics, and of the policy's side"),
    "rate": Argument("", "Hz of the twin's readings [up to 200]"),
    "lock_step": Argument("false", "whether the twin waits for a command after each reading", _YES_NO),
}
_BESIDE = Argument("false", "whether to start the robot's twin as well", _YES_NO)

LAUNCHES: Mapping[str, Launch] = {
    "twin": Launch({"robot": _ROBOT, **_COMMON}, _twin),
    "policy": Launch(
        {
            "policy": Argument("go2-walk", "ONNX file, run folder, or name of a shipped policy"),
            "robot": _ROBOT,
            "autostart": Argument("true", "whether the node activates by itself; the robot moves then", _YES_NO),
            "twin": _BESIDE,
            **_COMMON,
        },
        _policy,
    ),
    "train": Launch(
        {
            "task": Argument("walk", f"what to learn: {', '.join(TASKS)}"),
            "robot": _ROBOT,
            "steps": Argument("", "environment steps to train for [the recipe's]"),
            "resume": Argument("", "run folder to go on with, in place of task and robot"),
            "twin": _BESIDE,
            **_COMMON,
        },
        _train,
    ),
}
"""Every file `launch/NAME.launch.py`."""
