"""What randomisation costs: us of a reset and of a control tick, plain, mild and strong, and of each term.

Rows take turns, so that a busy machine slows them alike; the smallest is the cost, the median is what was met.

    python benchmarks/randomization.py --robot go2
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import mujoco
import numpy as np

from robot_rl.robot import JointCommand, Start
from robot_rl.spec_file import builtin_robots, load_robot
from sim.mujoco_robot import MujocoRobot
from sim.randomization import load_randomization, presets
from sim.term import Bound

STEPS = 10
"""Control ticks timed together."""


def take_turns(rows: Mapping[str, Callable[[], Any]], turns: int) -> dict[str, dict[str, float]]:
    """Smallest and median time of each row, us."""
    times = {name: np.empty(turns) for name in rows}
    gc.disable()
    try:
        for turn in range(turns):
            for name, row in rows.items():
                start = time.perf_counter()
                row()
                times[name][turn] = 1e6 * (time.perf_counter() - start)
    finally:
        gc.enable()
    return {name: {"min": float(of.min()), "median": float(np.median(of))} for name, of in times.items()}


def measure(name: str, turns: int) -> dict[str, Any]:
    """Resets, ticks and terms of one robot."""
    spec = load_robot(name)
    start, command, rng = Start(spec.home), JointCommand(spec.home), np.random.default_rng(0)
    robots = {"plain": MujocoRobot(spec)}
    robots |= {preset: MujocoRobot(spec, randomization=load_randomization(preset, spec)) for preset in presets()}
    resets = take_turns({label: partial(robot.reset, start, rng) for label, robot in robots.items()}, turns)

    def ticks(robot: MujocoRobot) -> None:
        for _ in range(STEPS):
            robot.step(command)

    for robot in robots.values():
        robot.reset(start, np.random.default_rng(0))
    steps = take_turns({label: partial(ticks, robot) for label, robot in robots.items()}, turns // 2)
    return {
        "reset": resets,
        "tick": {label: {key: value / STEPS for key, value in of.items()} for label, of in steps.items()},
        "terms": terms_of(robots["strong"], turns),
    }


def terms_of(robot: MujocoRobot, turns: int) -> dict[str, dict[str, float]]:
    """To draw and to write each term, and what MuJoCo takes to compute anew what follows from masses."""
    copy, bound = robot._varied, robot._terms
    assert copy is not None
    assert bound is not None
    rng = np.random.default_rng(0)

    def write(term: Bound, values: np.ndarray) -> None:
        term.draw(rng)
        copy._nominal_state()
        term.apply(copy, values)

    rows: dict[str, Callable[[], Any]] = {}
    for term, where in bound.items:
        first = bound.names[where.start].split(".")[0] if where.stop > where.start else "(without numbers)"
        rows[first] = partial(write, term, copy.values[where])
    rows["(putting everything back)"] = copy._nominal_state
    rows["(mj_setConst)"] = lambda: mujoco.mj_setConst(robot.model, robot.data)
    found = take_turns(rows, turns)
    back = found["(putting everything back)"]
    for label, of in found.items():
        if not label.startswith("("):
            of.update({key: max(0.0, value - back[key]) for key, value in of.items()})
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robot", nargs="+", choices=builtin_robots(), default=list(builtin_robots()))
    parser.add_argument("--turns", type=int, default=200, help="of each row")
    parser.add_argument("--terms", action="store_true", help="each term too")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    given = parser.parse_args()
    results = {}
    for name in given.robot:
        print(f"measuring {name} ...", file=sys.stderr)
        results[name] = measure(name, given.turns)
    if given.json:
        print(json.dumps(results, indent=1))
        return
    for name, of in results.items():
        print(f"\n{name}, us: smallest (median)")
        for kind in ("reset", "tick"):
            shown = [f"{label} {row['min']:.0f} ({row['median']:.0f})" for label, row in of[kind].items()]
            print(f"  {kind:<6} {', '.join(shown)}")
        if given.terms:
            for term, row in of["terms"].items():
                print(f"    {term:<26} {row['min']:6.1f} ({row['median']:.1f})")


if __name__ == "__main__":
    main()
