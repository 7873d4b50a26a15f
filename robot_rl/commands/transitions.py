"""`robot-rl transitions`: recorded episodes as transitions to learn from."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robot_rl.commands.flags import Parser, add_json
from robot_rl.commands.output import print_json, relative, say, table
from robot_rl.commands.writing import make_ready
from robot_rl.errors import ConfigurationError
from robot_rl.make import bag_transitions, make_task, open_bag, task_class
from robot_rl.spec_file import load_robot
from robot_rl.training.files import replace_file


def run(arguments: Sequence[str]) -> int:
    """Reads the bags and writes one NPZ file."""
    values = _parser().parse(arguments)
    out = Path(values.out)
    if out.suffix != ".npz":
        raise ConfigurationError(f"--out {values.out}: the name must end in .npz")
    bags = [open_bag(path) for path in values.bags]
    about = next((marker for bag in bags for _, _, marker in bag.markers()), {})
    robot, name = values.robot or about.get("robot"), values.task or about.get("task")
    if not robot or not name:
        missing = [flag for flag, value in (("--robot", robot), ("--task", name)) if not value]
        raise ConfigurationError(f"the bag does not say it, so give {' and '.join(missing)}")
    task_class(name)
    task = make_task(name, load_robot(robot))
    make_ready(out)
    found, report = bag_transitions(bags, task, values.goal)
    content = io.BytesIO()
    np.savez(content, **vars(found))
    replace_file(out, content.getvalue())
    if report.other_robot_file:
        say(f"the file of robot {task.spec.name} has changed since the recording; observations may differ")
    result: dict[str, Any] = {
        "file": relative(out),
        "task": name,
        "robot": task.spec.name,
        "transitions": len(found),
        "return_per_episode": [float(found.reward[found.episode == k].sum()) for k in range(report.episodes)],
        **vars(report),
    }
    if values.json:
        print_json(result)
    else:
        print(f"{result['file']}: {len(found)} transitions of {name} on {task.spec.name}\n{table(_rows(result))}")
    return 0


def _rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    returns = result["return_per_episode"]
    error = result["observation_error"]
    return [
        ("episodes", str(result["episodes"])),
        ("ticks recorded", f"{result['ticks']}, {result['left_out']} of them left out"),
        ("return", f"{sum(returns) / len(returns):.1f} per episode"),
        ("observations", "of another task" if math.isnan(error) else f"as recorded, to within {error:.2g}"),
        ("commands", f"as recorded, to within {result['command_error']:.2g}"),
    ]


def _parser() -> Parser:
    parser = Parser("transitions", "Compute observations, rewards and ends anew from recorded states, for a replay.")
    parser.add_argument("bags", nargs="+", metavar="BAG", help="folder or file; several of the same time are joined")
    parser.add_argument("--out", required=True, metavar="FILE.npz", help="where to write the transitions")
    parser.add_argument("--task", help="whose observations and rewards [the recorded one]")
    parser.add_argument("--robot", help="built-in robot or YAML file [the recorded one]")
    parser.add_argument("--goal", type=float, nargs="+", metavar="X", help="of all episodes [the recorded ones]")
    add_json(parser)
    return parser
