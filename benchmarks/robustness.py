"""What policies keep of their return where the robot differs: trained with randomisation beside trained without.

    python benchmarks/robustness.py --robot go2 --seed 0 1 2 --out robustness
    python benchmarks/robustness.py --robot go2 --policy plain-after-plain strong-after-plain --out robustness
    python benchmarks/robustness.py --seed 0 --out compiled -- --trainer.compile always
    python benchmarks/robustness.py --table --out robustness

Every policy is trained by `robot-rl train` with the recipe of its task and robot, and judged by `robot-rl transfer`;
flags after `--` go to every training. Asked for are 90 % of its own MuJoCo return in PyBullet (`other_engine`), and
80 % with 20 ms of delay, noise, 15 % more mass and half the friction at once (`together`). Training and evaluation
have no seed in common.

`strong-after-plain` goes on from the run of `plain` and trains as long again; so does `plain-after-plain`, so that both
had as many steps. Otherwise the recipe says how many, more for a robot that differs; `-- --steps` gives all the same.

Runs and certificates are kept in the output folder. What is there already is not done again, and a training that was
cut short goes on from its last checkpoint: the same command can be given at any time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robot_rl.cli import main as robot_rl
from robot_rl.commands.output import relative
from robot_rl.commands.policy_files import POLICY, is_run
from robot_rl.errors import CheckFailed

TASKS = {"go2": "walk", "minitaur": "walk", "dclaw": "turn_valve"}
"""By robot."""
STACKED = ("joint_position", "joint_velocity", "previous_action")
PARTS: Mapping[str, Sequence[str]] = {
    "plain": (),
    "mild": ("--randomize", "mild"),
    "strong": ("--randomize", "strong"),
    "history": ("--observation.history", "4", "--observation.history_of", *STACKED),
    "privileged": ("--observation.privileged", "true"),
}
"""Flags of `robot-rl train`; a policy is one of these, or several joined by a plus."""
AFTER = "-after-"
NOMINAL = "nominal"


def trained(robot: str, policy: str, seed: int, more: Sequence[str], out: Path) -> Path:
    """The run of a policy, trained where it is not, after the one that it goes on from.

    Args:
        robot: name.
        policy: see PARTS and AFTER.
        seed: of training.
        more: flags of every training.
        out: folder of runs.
    """
    folder = out / f"{robot}-{policy}-s{seed}"
    if (folder / POLICY).is_file():
        return folder
    parts, _, before = policy.partition(AFTER)
    flags = [flag for part in parts.split("+") for flag in PARTS[part]] + list(more)
    if before:
        flags += ["--begin-with", str(trained(robot, before, seed, more, out))]
    new = [TASKS[robot], "--robot", robot, "--seed", str(seed), *flags, "--out", str(folder)]
    _robot_rl("train", *(["--resume", str(folder)] if is_run(folder) else new))
    return folder


def certify(folder: Path, episodes: int) -> None:
    """Certifies the policy of a run, where that has not been done, by so many episodes of every condition."""
    if not _certificate(folder).is_file():
        _robot_rl("transfer", str(folder), "--episodes", str(episodes), allowed=(0, CheckFailed.exit_code))


def _robot_rl(*arguments: str, allowed: Sequence[int] = (0,)) -> None:
    with contextlib.redirect_stdout(sys.stderr):
        code = robot_rl(list(arguments))
    if code not in allowed:
        sys.exit(code)


def _certificate(folder: Path) -> Path:
    return folder / "transfer" / "certificate.json"


def read(out: Path, name: str, policies: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Certificates by policy, those of its seeds in their order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for policy in policies:
        for path in sorted(out.glob(f"{name}-{policy}-s*")):
            if _certificate(path).is_file():
                found.setdefault(policy, []).append(json.loads(_certificate(path).read_text()))
    return found


def table(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """A Markdown table: nominal returns, then the share kept under each condition, as a mean and seed by seed."""
    lines = ["| | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
    first = next(iter(found.values()))[0]["conditions"]
    for row, condition in enumerate(first):
        name = condition["name"]
        cells = []
        for certificates in found.values():
            own = [certificate["conditions"][row] for certificate in certificates]
            if name == NOMINAL:
                cells.append(_each([float(np.mean(one["returns"])) for one in own], ""))
            elif own[0]["kept"] is None:
                cells.append(own[0]["verdict"])
            else:
                cells.append(_each([100.0 * one["kept"]["value"] for one in own], " %"))
        asked = "return" if name == NOMINAL else f"at least {condition['threshold']:.0%}"
        lines.append(f"| {name}, {asked} | " + " | ".join(cells) + " |")
    passed = (f"{sum(bool(one['passed']) for one in of)} of {len(of)}" for of in found.values())
    return "\n".join([*lines, "| certificates that pass | " + " | ".join(passed) + " |"])


def _each(values: Sequence[float], unit: str) -> str:
    return f"{np.mean(values):.0f}{unit} ({', '.join(f'{value:.0f}' for value in values)})"


def main() -> int:
    """Reads the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--robot", choices=TASKS, default="go2", help="with its task")
    parser.add_argument(
        "--policy", nargs="+", default=["plain", "strong"], help=f"{', '.join(PARTS)}, joined by + and {AFTER}"
    )
    parser.add_argument("--seed", nargs="+", type=int, default=[0, 1, 2], help="of training")
    parser.add_argument("--episodes", type=int, default=20, help="of each condition")
    parser.add_argument("--out", type=Path, default=Path("robustness"), help="folder of runs")
    parser.add_argument("flags", nargs="*", help="of robot-rl train, for every policy, after --")
    parser.add_argument("--table", action="store_true", help="print what the output folder holds, run nothing")
    arguments = parser.parse_args()
    for policy in arguments.policy:
        unknown = [part for one in policy.split(AFTER) for part in one.split("+") if part not in PARTS]
        if unknown:
            parser.error(f"unknown policy {unknown[0]!r}; known: {', '.join(PARTS)}, joined by + and {AFTER}")
    if not arguments.table:
        for seed in arguments.seed:
            for policy in arguments.policy:
                run = trained(arguments.robot, policy, seed, arguments.flags, arguments.out)
                certify(run, arguments.episodes)
    found = read(arguments.out, arguments.robot, arguments.policy)
    if not found:
        parser.error(f"no certificate of these in {relative(arguments.out)}")
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
