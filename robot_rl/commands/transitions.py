"""`robot-rl transitions`: recorded episodes as transitions to learn from."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from policies.contract import read_contract
from robot_rl.commands.flags import Parser, add_json
from robot_rl.commands.output import print_json, relative, say, table
from robot_rl.commands.policy_files import find_policy
from robot_rl.commands.writing import make_ready
from robot_rl.errors import ConfigurationError
from robot_rl.make import bag_transitions, make_task, open_bag, task_settings_class
from robot_rl.spec import RobotSpec
from robot_rl.spec_file import load_robot
from robot_rl.task import Task
from robot_rl.training.files import replace_file


def run(arguments: Sequence[str]) -> int:
    """Reads the bags and writes one NPZ file."""
    values = _parser().parse(arguments)
    out = Path(values.out)
    if out.suffix != ".npz":
        raise ConfigurationError(f"--out {values.out}: the name must end in .npz")
    bags = [open_bag(path) for path in values.bags]
    begun = [about for bag in bags for _, _, about in bag.markers() if about["event"] == "begin"]
    if not begun:
        raise ConfigurationError(
            f"no episodes of a policy in {', '.join(values.bags)}: `robot-rl record` keeps the robot's topics alone; "
            "episodes are recorded with `robot-rl deploy POLICY --record FOLDER`"
        )
    task = _task(values, begun[0], load_robot(values.robot or begun[0]["robot"]))
    make_ready(out)
    found, report = bag_transitions(bags, task, values.goal)
    content = io.BytesIO()
    np.savez(content, **vars(found))
    replace_file(out, content.getvalue())
    warnings = _warnings(values, begun, task, report)
    for line in warnings:
        say(line)
    result: dict[str, Any] = {
        "file": relative(out),
        "task": task.name,
        "robot": task.spec.name,
        "transitions": len(found),
        "return_per_episode": [float(found.reward[found.episode == k].sum()) for k in range(report.episodes)],
        **vars(report),
        "warnings": warnings,
    }
    if values.json:
        print_json(result)
    else:
        print(f"{result['file']}: {len(found)} transitions of {task.name} on {task.spec.name}\n{table(_rows(result))}")
    return 0


def _task(values: Any, about: Mapping[str, Any], spec: RobotSpec) -> Task:
    """The task that was recorded, that of a policy file, or another with its default settings."""
    if values.policy:
        if values.task:
            raise ConfigurationError(f"--policy {values.policy} says the task: give it without --task")
        contract = read_contract(find_policy(values.policy).path)
        if contract.robot.name != spec.name:
            raise ConfigurationError(
                f"--policy {values.policy} was made for robot {contract.robot.name!r}, not for {spec.name!r}"
            )
        return make_task(contract.task.name, spec, contract.task.settings, contract.observation_settings)
    recorded = about.get("task")
    name = values.task or recorded
    if not name:
        raise ConfigurationError("the bag does not say the task, so give --task NAME or --policy FILE")
    if name != recorded or "task_settings" not in about:
        return make_task(name, spec)
    try:
        return make_task(name, spec, about["task_settings"], about.get("observation_settings"))
    except ConfigurationError as error:
        raise ConfigurationError(
            f"the bag's settings of task {name!r} do not fit, so give --policy FILE or another --task: {error}"
        ) from error


def _warnings(values: Any, begun: Sequence[Mapping[str, Any]], task: Task, report: Any) -> list[str]:
    """What a person must know of how far the transitions are what was recorded."""
    found: list[str] = []
    if report.other_robot_file:
        found.append(f"the file of robot {task.spec.name} has changed since the recording; observations may differ")
    if task.name == begun[0].get("task") and values.policy is None:
        found += _of_settings(begun, task)
    advice = "if the policy was trained with other settings, give its file: --policy FILE"
    if values.policy is not None:
        advice = f"is --policy {values.policy} the very file that was recorded?"
    if task.name != begun[0].get("task"):
        advice = "so its transitions are not those that this task would have had"
    elif values.goal is None:
        found += _of_observations(begun, task, report, advice)
    if report.commands_differing:
        found.append(
            f"the recorded commands differ by up to {report.command_error:.2g} from those that task {task.name!r} "
            f"makes of the recorded actions; {advice}"
        )
    return found


def _of_settings(begun: Sequence[Mapping[str, Any]], task: Task) -> list[str]:
    told = [(about.get("task"), about.get("task_settings"), about.get("observation_settings")) for about in begun]
    if any(each != told[0] for each in told):
        return ["not all episodes were recorded with the same settings; all are computed with the first one's"]
    if told[0][1] is None and task_settings_class(task.name) is not None:
        return [
            f"the bag does not say the settings of task {task.name!r}, so its rewards are those of the defaults; the "
            "file of the policy says them: --policy FILE"
        ]
    return []


def _of_observations(begun: Sequence[Mapping[str, Any]], task: Task, report: Any, advice: str) -> list[str]:
    size = len(begun[0].get("observation_labels", ()))
    if not report.observations_compared:
        if not size or not report.ticks:
            return []
        return [
            f"the recorded observations have other entries ({size} numbers, not {task.layout.size}) than those of task "
            f"{task.name!r}; {advice}"
        ]
    if 2 * report.observations_differing <= report.observations_compared:
        return []
    return [f"the recorded observations differ by up to {report.observation_error:.2g} from those computed; {advice}"]


def _rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    returns = result["return_per_episode"]
    error, differing = result["observation_error"], result["observations_differing"]
    observations = f"as recorded, to within {error:.2g}"
    if differing:
        observations += f"; the newest readings are others on {differing} of {result['observations_compared']} ticks"
    commands = f"as recorded, to within {result['command_error']:.2g}"
    if result["commands_differing"]:
        commands = f"not those recorded, which differ by up to {result['command_error']:.2g}"
    if math.isnan(result["command_error"]):
        commands = "not compared"
    if result["blended"]:
        commands += f"; {result['blended']} ticks aside, in which the policy's were blended in"
    return [
        ("episodes", str(result["episodes"])),
        ("ticks recorded", f"{result['ticks']}, {result['left_out']} of them left out"),
        ("return", f"{sum(returns) / len(returns):.1f} per episode"),
        ("observations", "not those recorded: they have other entries" if math.isnan(error) else observations),
        ("commands", commands),
    ]


def _parser() -> Parser:
    parser = Parser("transitions", "Compute observations, rewards and ends anew from recorded states, for a replay.")
    parser.add_argument("bags", nargs="+", metavar="BAG", help="folder or file; several of the same time are joined")
    parser.add_argument("--out", required=True, metavar="FILE.npz", help="where to write the transitions")
    task = "whose observations and rewards; another than the recorded one has its default settings [recorded]"
    parser.add_argument("--task", metavar="NAME", help=task)
    policy = "task, settings and observation of this policy: ONNX file, run folder, or shipped one [recorded]"
    parser.add_argument("--policy", metavar="FILE", help=policy)
    parser.add_argument("--robot", help="built-in robot or YAML file [the recorded one]")
    parser.add_argument("--goal", type=float, nargs="+", metavar="X", help="of all episodes [the recorded ones]")
    add_json(parser)
    return parser
