"""`robot-rl list`: the names that other commands take."""

from __future__ import annotations

from collections.abc import Sequence

from policies.contract import read_contract
from robot_rl.commands.flags import Parser, add_json
from robot_rl.commands.output import print_json, table
from robot_rl.commands.policy_files import shipped_policies
from robot_rl.errors import PolicyError
from robot_rl.make import ALGORITHMS, SUITE
from robot_rl.spec_file import builtin_robots, load_robot
from robot_rl.tasks import TASKS


def run(arguments: Sequence[str]) -> int:
    """Prints the names with a line about each."""
    parser = Parser("list", "List the names that other commands take.")
    parser.add_argument("kind", nargs="?", choices=sorted(_LISTS), help="only these")
    add_json(parser)
    values = parser.parse(arguments)
    lists = {kind: _LISTS[kind]() for kind in _LISTS if values.kind in (None, kind)}
    if values.json:
        print_json(lists)
        return 0
    sections = []
    for kind, entries in lists.items():
        body = table(entries.items()) if entries else "  none yet"
        sections.append(f"{kind}\n{body}" if values.kind is None else body)
    print("\n\n".join(sections))
    return 0


def _robots() -> dict[str, str]:
    return {name: load_robot(name).description for name in builtin_robots()}


def _tasks() -> dict[str, str]:
    tasks = {name: (task.__doc__ or "").strip().splitlines()[0] for name, task in TASKS.items()}
    return tasks | {f"{SUITE}DOMAIN-TASK": f"A task of the dm_control suite, such as {SUITE}quadruped-walk; no robot."}


def _algorithms() -> dict[str, str]:
    return {name: algorithm.description for name, algorithm in ALGORITHMS.items()}


def _policies() -> dict[str, str]:
    described = {}
    for name, path in shipped_policies().items():
        try:
            contract = read_contract(path)
            described[name] = f"{contract.task.name} on {contract.robot.name}, {path.stat().st_size / 1e3:.0f} kB"
        except PolicyError as error:
            described[name] = f"damaged: {error}"
    return described


_LISTS = {"robots": _robots, "tasks": _tasks, "algorithms": _algorithms, "policies": _policies}
