"""`robot-rl info`: what a run, a policy file, a robot or a bag is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from policies.contract import read_contract
from policies.description import describe
from robot_rl.commands.bags import bag_content, describe_bag, is_bag, write_timing
from robot_rl.commands.flags import Parser, add_json
from robot_rl.commands.output import duration, print_json, relative, table
from robot_rl.commands.policy_files import POLICY, find_policy, is_run
from robot_rl.commands.robot_page import describe_robot, is_robot, robot_content
from robot_rl.errors import ConfigurationError, PolicyError, StorageError
from robot_rl.make import measured_legs
from robot_rl.spec_file import load_robot

_WHAT = "run folder, ONNX file, name of a shipped policy, YAML file or name of a robot, bag folder or MCAP file"


def run(arguments: Sequence[str]) -> int:
    """Prints a page about it."""
    parser = Parser("info", "Say what a run, a policy file, a robot or a bag is.")
    parser.add_argument("what", help=_WHAT)
    parser.add_argument("--timing", metavar="FILE.csv", help="of a bag: write its control loop's timing log")
    parser.add_argument("--video", metavar="FILE.mp4", help="of a robot: film it at home, without a policy")
    parser.add_argument("--legs", action="store_true", help="of a robot: print the section 'legs' as its model has it")
    add_json(parser)
    values = parser.parse(arguments)
    path = Path(values.what)
    robot = is_robot(values.what) and not path.is_dir()
    if values.video and not robot:
        raise ConfigurationError(f"--video: {values.what} is no robot; of a policy: robot-rl evaluate --video")
    if values.legs:
        if not robot:
            raise ConfigurationError(f"--legs: {values.what} is no robot")
        print(measured_legs(load_robot(values.what)), end="")
        return 0
    if values.timing and not is_bag(path):
        raise ConfigurationError(f"--timing: {values.what} is no bag")
    if robot:
        content = robot_content(values.what, values.video)
        if values.json:
            print_json(content)
        else:
            print(describe_robot(content))
        return 0
    if path.is_dir() and is_run(path) and not values.timing:
        found = _run(path)
        if values.json:
            print_json(found)
        else:
            print(_describe_run(found))
        return 0
    if is_bag(path):
        if values.timing:
            write_timing(path, values.timing)
        content = bag_content(path)
        if values.json:
            print_json(content)
        else:
            print(describe_bag(content))
        return 0
    file = find_policy(values.what)
    try:
        contract = read_contract(file.path)
    except PolicyError as error:
        if file.path.suffix == ".onnx":
            raise
        raise ConfigurationError(f"{values.what} is nothing that info tells about; it takes: {_WHAT}") from error
    if values.json:
        print_json(contract.to_dict())
    else:
        print(describe(contract, file.path.stat().st_size), end="")
    return 0


def _run(folder: Path) -> dict[str, Any]:
    checkpoints = folder / "checkpoints"
    names = sorted(path.name for path in checkpoints.glob("*") if path.is_dir() and path.name.isdigit())
    files = ("metrics.jsonl", POLICY, "plots/learning_curve.png", "videos/policy.mp4", "evaluation.json")
    return {
        "run": relative(folder),
        "config": _read(folder / "config.json"),
        **_read(folder / "command.json"),
        "checkpoints": names,
        "latest": _latest(folder / "metrics.jsonl"),
        "evaluation": _read(folder / "evaluation.json") if (folder / "evaluation.json").is_file() else None,
        "files": [name for name in files if (folder / name).is_file()],
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise StorageError(f"{path} is damaged: {error}") from error


def _latest(path: Path) -> dict[str, Any]:
    """The newest value of every metric."""
    if not path.is_file():
        return {}
    latest: dict[str, Any] = {}
    for line in path.read_bytes().splitlines():
        try:
            latest |= json.loads(line)
        except ValueError:
            break  # a last line that a crash cut short
    return latest


def _describe_run(found: dict[str, Any]) -> str:
    config, latest = found["config"], found["latest"]
    task = dict(config.get("task", {}))
    rows = [
        ("task", task.pop("name", "-")),
        ("robot", f"{config.get('robot', 'none,')} on {config.get('on', 'mujoco')}"),
        ("algorithm", f"{config.get('algorithm', '-')}, seed {config.get('seed', '-')}"),
        ("started", found.get("started", "-")),
        ("steps", f"{latest.get('step', 0):,} of {config.get('trainer', {}).get('total_steps', 0):,}"),
    ]
    if latest.get("wall_time") is not None:
        rows.append(("training time", duration(latest["wall_time"])))
    for name, label in (("training/return", "return, training"), ("evaluation/return", "return, evaluation")):
        if latest.get(name) is not None:
            rows.append((label, f"{latest[name]:.1f}"))
    rows.append(("checkpoints", ", ".join(str(int(name)) for name in found["checkpoints"]) or "none yet"))
    rows.append(("files", ", ".join(found["files"]) or "none yet"))
    rows.append(("command", " ".join(found.get("command", []))))
    sections = [f"Run {found['run']}\n{table(rows)}"]
    for title, values in (
        ("Task settings", task),
        ("Observation", config.get("observation", {})),
        ("Encoder", config.get("encoder", {})),
        ("Trainer", config.get("trainer", {})),
        ("Versions", found.get("versions", {})),
    ):
        if values:
            sections.append(f"{title}\n{table((name, json.dumps(value)) for name, value in values.items())}")
    return "\n\n".join(sections)
