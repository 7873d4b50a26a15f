"""What an environment's step costs over the bare physics, and what a batch gains from all cores.

    python benchmarks/environment_speed.py
    python benchmarks/environment_speed.py --robot go2 --blocks 400 --json

Every block of steps starts from one saved state and sends the same commands, so all rows of a table do the same
physics. Blocks of the rows take turns: what else the machine does slows all rows alike, and the ratios, taken turn by
turn, hold still. The smallest time is the one with the least of other programs in it.

Rows: `physics` is `data.ctrl[:] = command; mj_step(model, data, substeps)` and no more, `robot` is `MujocoRobot.step`
(command check, physics, sensors, noise), `env` is `RobotEnv.step` (action map, supervisor, reward, observation too).
For the batch, `one thread` and `all cores` are `MujocoBatch.step`, `vector env` is `RobotVectorEnv.step` on all cores,
`single env` is `RobotEnv.step` beside it, and two rows of bare physics, each thread left alone with its copies for the
whole block, say what the machine gives.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mujoco
import numpy as np

from robot_rl.env import RobotEnv, RobotVectorEnv
from robot_rl.robot import JointCommand
from robot_rl.spec_file import builtin_robots, load_robot
from robot_rl.tasks import TASKS
from sim.mujoco_batch import MujocoBatch
from sim.mujoco_robot import MujocoRobot

TASK_OF = {"go2": "walk", "minitaur": "walk", "dclaw": "turn_valve", "leap_hand": "rotate_cube", "planar_arm": "push"}
WARM_UP = 20
"""Steps before the saved state, so that feet and objects are in contact."""

Row = tuple[Callable[[], Any], Callable[[], Any]]
"""What to do before a block, untimed, and the block itself."""


def take_turns(rows: Mapping[str, Row], blocks: int, steps: int) -> dict[str, np.ndarray]:
    """Times blocks of all rows in turn.

    Args:
        rows: by name.
        blocks: how often each row has its turn.
        steps: control ticks in a block.

    Returns:
        us per control tick by row, (blocks,).
    """
    times = {name: np.empty(blocks) for name in rows}
    for prepare, block in rows.values():
        prepare()
        block()
    gc.disable()
    try:
        for turn in range(blocks):
            for name, (prepare, block) in rows.items():
                prepare()
                start = time.perf_counter()
                block()
                times[name][turn] = (time.perf_counter() - start) / steps * 1e6
    finally:
        gc.enable()
    return times


def spread(values: np.ndarray) -> dict[str, float]:
    """Smallest, quartiles and median."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return {"min": float(values.min()), "p25": float(low), "median": float(middle), "p75": float(high)}


def single(name: str, blocks: int, steps: int) -> dict[str, Any]:
    """Physics, robot and environment of one robot.

    Args:
        name: of a built-in robot.
        blocks: turns of each row.
        steps: most control ticks in a block; fewer where the episode ends before.

    Returns:
        us per tick by row, and `overhead`, the share of time that robot and environment add to the physics.
    """
    spec = load_robot(name)
    robot = MujocoRobot(spec)
    env = RobotEnv(robot, TASKS[TASK_OF[name]](spec))
    rng = np.random.default_rng(0)
    actions = [rng.uniform(-0.3, 0.3, spec.action.size).astype(np.float32) for _ in range(WARM_UP + steps)]
    env.reset(seed=0)
    for action in actions[:WARM_UP]:
        env.step(action)
    saved = env.snapshot()
    actions, commands = actions[WARM_UP:], []
    for action in actions:
        *_, terminated, truncated, info = env.step(action)
        commands.append(JointCommand(info["applied"]))
        if terminated or truncated:
            break
    actions = actions[: len(commands)]
    model, data, substeps = robot.model, robot.data, spec.substeps

    def physics() -> None:
        for command in commands:
            data.ctrl[:] = command.position
            mujoco.mj_step(model, data, substeps)

    def robot_steps() -> None:
        for command in commands:
            robot.step(command)

    def env_steps() -> None:
        for action in actions:
            env.step(action)

    times = take_turns(
        {
            "physics": (lambda: robot.restore(saved["robot"]), physics),
            "robot": (lambda: robot.restore(saved["robot"]), robot_steps),
            "env": (lambda: env.restore(saved), env_steps),
        },
        blocks,
        len(commands),
    )
    bare = times["physics"]
    return {
        "us": {row: spread(values) for row, values in times.items()},
        "overhead": {
            row: {**spread(times[row] / bare - 1.0), "of_min": float(times[row].min() / bare.min() - 1.0)}
            for row in ("robot", "env")
        },
    }


def batch(name: str, blocks: int, steps: int, count: int) -> dict[str, Any]:
    """A batch on one thread and on all cores, and a vector environment beside a single one.

    Args:
        name: of a built-in robot.
        blocks: turns of each row.
        steps: control ticks in a block.
        count: copies.

    Returns:
        us per copy and tick by row, and `speedup` of all cores over one thread, and of the vector environment over the
        single one.
    """
    spec = load_robot(name)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    alone, together = MujocoBatch(spec, count, threads=1), MujocoBatch(spec, count, threads=cores)
    env = RobotVectorEnv(MujocoBatch(spec, count, threads=cores), TASKS[TASK_OF[name]](spec))
    rng = np.random.default_rng(0)
    actions = rng.uniform(-0.3, 0.3, (WARM_UP + steps, count, spec.action.size)).astype(np.float32)
    env.reset(seed=0)
    for action in actions[:WARM_UP]:
        env.step(action)
    saved = env.snapshot()
    commands = [JointCommand(env.step(action)[4]["applied"]) for action in actions[WARM_UP:]]

    one = RobotEnv(MujocoRobot(spec), TASKS[TASK_OF[name]](spec))
    one.reset(seed=0)
    for action in actions[:WARM_UP, 0]:
        one.step(action)
    saved_one = one.snapshot()

    def single_env() -> None:
        for action in actions[WARM_UP:].reshape(-1, spec.action.size):
            *_, terminated, truncated, _ = one.step(action)
            if terminated or truncated:
                one.restore(saved_one)

    def batch_steps(robots: MujocoBatch) -> Row:
        return lambda: robots.restore(saved["robot"]), lambda: [robots.step(command) for command in commands]

    def physics(datas: Sequence[mujoco.MjData]) -> None:
        for data in datas:
            mujoco.mj_step(alone.model, data, spec.substeps * steps)

    def physics_on(threads: int) -> Row:
        shares = [alone.datas[i::threads] for i in range(threads)]
        return lambda: alone.restore(saved["robot"]), lambda: list(pool.map(physics, shares))

    pool = ThreadPoolExecutor(cores)
    times = take_turns(
        {
            "physics, one": physics_on(1),
            "physics, all": physics_on(cores),
            "one thread": batch_steps(alone),
            "all cores": batch_steps(together),
            "single env": (lambda: one.restore(saved_one), single_env),
            "vector env": (lambda: env.restore(saved), lambda: [env.step(action) for action in actions[WARM_UP:]]),
        },
        blocks,
        steps * count,
    )
    pool.shutdown()
    for robots in (alone, together, env):
        robots.close()

    def speedup(slow: str, fast: str) -> dict[str, float]:
        best = times[slow].min() / times[fast].min()
        return {**spread(times[slow] / times[fast]), "of_min": float(best)}

    return {
        "cores": cores,
        "count": count,
        "us": {row: spread(values) for row, values in times.items()},
        "speedup": {
            "physics, all": speedup("physics, one", "physics, all"),
            "all cores": speedup("one thread", "all cores"),
            "vector env": speedup("single env", "vector env"),
        },
    }


def show(name: str, one: Mapping[str, Any], many: Mapping[str, Any] | None) -> None:
    """Prints one robot's figures."""
    print(f"\n{name} ({TASK_OF[name]})          min   median   us a tick")
    for row, us in one["us"].items():
        line = f"  {row:<12} {us['min']:10.1f} {us['median']:8.1f}"
        if row in one["overhead"]:
            over = one["overhead"][row]
            line += f"   +{over['of_min']:.0%} of the smallest, by turns {over['median']:+.0%}"
            line += f" (quartiles {over['p25']:+.0%} to {over['p75']:+.0%})"
        print(line)
    if many is None:
        return
    print(f"  batch of {many['count']} on {many['cores']} cores, us a copy and tick")
    for row, us in many["us"].items():
        line = f"  {row:<12} {us['min']:10.1f} {us['median']:8.1f}   {1e6 / us['min']:7.0f} steps/s at best"
        if row in many["speedup"]:
            gain = many["speedup"][row]
            line += f", x{gain['of_min']:.2f} of the smallest, by turns x{gain['median']:.2f}"
            line += f" (quartiles {gain['p25']:.2f} to {gain['p75']:.2f})"
        print(line)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robot", nargs="+", choices=builtin_robots(), default=list(builtin_robots()))
    parser.add_argument("--blocks", type=int, default=300, help="turns of each row")
    parser.add_argument("--steps", type=int, default=10, help="control ticks in a block")
    parser.add_argument("--count", type=int, default=32, help="copies in the batch; 0 leaves the batch out")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    given = parser.parse_args()
    results = {}
    for name in given.robot:
        print(f"measuring {name} ...", file=sys.stderr)
        one = single(name, given.blocks, given.steps)
        many = batch(name, max(5, given.blocks // 5), 5, given.count) if given.count else None
        results[name] = {"single": one, "batch": many}
        if not given.json:
            show(name, one, many)
    if given.json:
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load": load}
        versions = {"python": platform.python_version(), "mujoco": mujoco.__version__, "numpy": np.__version__}
        print(json.dumps({"machine": machine, "versions": versions, "robots": results}, indent=1))


if __name__ == "__main__":
    main()
