"""`robot-rl bench`: how fast this machine learns, simulates and acts, in about a minute."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robot_rl.commands.flags import Parser, add_json, positive_number, whole_number
from robot_rl.commands.output import print_json, say, table
from robot_rl.commands.policy_files import find_policy
from robot_rl.make import make_env, make_task, make_vector_env, missing_package

ROBOT, TASK, POLICY = "go2", "walk", "go2-walk"
ROUNDS = 5
ROBOTS_AT_ONCE = 32
KEPT = 1_000_000
FILLED = 50_000
"""Transitions put into a replay to see what one takes; a million would take a minute."""


def run(arguments: Sequence[str]) -> int:
    """Measures and prints."""
    parser = Parser("bench", "Measure how fast this machine learns, simulates and acts; about a minute.")
    parser.add_argument("--compiled", action="store_true", help="compiled updates too; a minute each the first time")
    parser.add_argument("--seconds", type=positive_number, default=8.0, help="for each measurement, s [8]")
    threads = "that torch computes with [0: as many as it likes]"
    parser.add_argument("--threads", type=whole_number(0), default=0, metavar="N", help=threads)
    add_json(parser)
    values = parser.parse(arguments)
    try:
        import torch

        from robot_rl.training.memory import keep_freed_memory
        from robot_rl.training.run import versions
        from robot_rl.training.speed import machine
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    if values.threads:
        torch.set_num_threads(values.threads)
    keep_freed_memory()
    found: dict[str, Any] = {"machine": machine(), "threads": torch.get_num_threads(), "versions": versions()}
    # Memory first, while the process is small: what it takes is seen in the size of the process.
    found["replay"] = _replay()
    found["updates"] = _updates(values.seconds, values.compiled)
    found["steps"] = _steps(values.seconds)
    found["policy"] = _policy(values.seconds)
    if values.json:
        print_json(found)
    else:
        print(_report(found))
    return 0


def _rates(run: Callable[[int], Any], seconds: float) -> dict[str, float]:
    """Rounds of `run(count)` that last `seconds` together: median, slowest and fastest per second."""
    count = 1
    while True:
        start = time.perf_counter()
        run(count)
        taken = time.perf_counter() - start
        if taken > 0.05 * seconds / ROUNDS:
            break
        count *= 2
    count = max(1, int(count * seconds / ROUNDS / taken))
    rates = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run(count)
        rates.append(count / (time.perf_counter() - start))
    return {"median": float(np.median(rates)), "slowest": min(rates), "fastest": max(rates)}


def _sizes() -> tuple[int, int]:
    task = make_task(TASK, ROBOT)
    return task.layout.size, task.spec.action.size


def _updates(seconds: float, compiled: bool) -> dict[str, Any]:
    from robot_rl.algorithms.compiled import CannotCompile, has_bfloat16
    from robot_rl.algorithms.sac import SAC, SACSettings
    from robot_rl.training import speed

    say(f"updates of SAC, 256 transitions of {ROBOT}")
    sizes = _sizes()
    replay = speed.made_up_replay(*sizes)
    learner = SAC(*sizes)
    found: dict[str, Any] = {"bound": _rates(speed.products(*sizes), seconds / 2)}
    found["eager"] = _rates(speed.updates(learner, replay), seconds)
    if compiled:
        say("compiling")
        try:
            learner.compile(256)
            found["compiled"] = _rates(speed.updates(learner, replay), seconds)
            if has_bfloat16():
                learner = SAC(*sizes, SACSettings(precision="bfloat16"))
                learner.compile(256)
                found["compiled_bfloat16"] = _rates(speed.updates(learner, replay), seconds)
        except CannotCompile as error:
            found["not_compiled"] = str(error)
    return found


def _steps(seconds: float) -> dict[str, Any]:
    say(f"control steps of {ROBOT}")
    task = make_task(TASK, ROBOT)
    rng = np.random.default_rng(0)
    single = make_env(ROBOT, task)
    many = make_vector_env(ROBOT, task, ROBOTS_AT_ONCE)
    actions = rng.uniform(-0.3, 0.3, (64, ROBOTS_AT_ONCE, task.spec.action.size)).astype(np.float32)
    single.reset(seed=0)
    many.reset(seed=0)

    def one_robot(count: int) -> None:
        for index in range(count):
            *_, terminated, truncated, _ = single.step(actions[index % 64, 0])
            if terminated or truncated:
                single.reset()

    def many_robots(count: int) -> None:
        for index in range(-(-count // ROBOTS_AT_ONCE)):
            many.step(actions[index % 64])

    found = {"one_robot": _rates(one_robot, seconds / 2)}
    # At least one step of all of them, so that a count below their number is no faster than it looks.
    all_at_once = _rates(lambda count: many_robots(count * ROBOTS_AT_ONCE), seconds / 2)
    found["many_robots"] = {name: ROBOTS_AT_ONCE * rate for name, rate in all_at_once.items()}
    single.close()
    many.close()
    return {"robots": ROBOTS_AT_ONCE, **found}


def _policy(seconds: float) -> dict[str, Any]:
    from policies.runtime import OnnxPolicy

    say(f"policy {POLICY}")
    policy = OnnxPolicy.load(find_policy(POLICY).path)
    size = len(policy.contract.normalizer.offset)
    rows = list(np.random.default_rng(0).standard_normal((256, size)).astype(np.float32))
    for row in rows:
        policy.act(row)
    taken = []
    end = time.perf_counter() + seconds / 2
    while time.perf_counter() < end:
        for row in rows:
            start = time.perf_counter_ns()
            policy.act(row)
            taken.append(time.perf_counter_ns() - start)
    p50, p99 = np.percentile(taken, [50, 99]) / 1e3
    return {"name": POLICY, "calls": len(taken), "p50_us": float(p50), "p99_us": float(p99)}


def _replay() -> dict[str, Any]:
    """Bytes of a full replay, and what the process grew by, per transition, while one filled."""
    from robot_rl.training import speed
    from robot_rl.training.replay import Replay

    sizes = _sizes()
    speed.made_up_replay(*sizes, transitions=1000)  # whatever is loaded by the first one is not counted
    before = _resident()
    filled = speed.made_up_replay(*sizes, transitions=FILLED)
    grown = _resident() - before
    return {
        "transitions": KEPT,
        "megabytes": Replay(KEPT, *sizes).memory / 1e6,
        "seen_bytes_per_transition": grown / len(filled),
    }


def _resident() -> int:
    """Bytes of memory that this process holds."""
    status = Path("/proc/self/statm")
    if status.is_file():
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    # Elsewhere only the greatest so far is told, in bytes on a Mac.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _report(found: dict[str, Any]) -> str:
    def rate(rates: dict[str, float], unit: str) -> str:
        return f"{rates['median']:,.0f} {unit} ({rates['slowest']:,.0f} to {rates['fastest']:,.0f})"

    here, updates, steps, policy, replay = (found[n] for n in ("machine", "updates", "steps", "policy", "replay"))
    rows = [("update of SAC, eager", rate(updates["eager"], "1/s"))]
    if "compiled" in updates:
        rows.append(("update of SAC, compiled", rate(updates["compiled"], "1/s")))
    if "compiled_bfloat16" in updates:
        rows.append(("update of SAC, compiled, bfloat16", rate(updates["compiled_bfloat16"], "1/s")))
    if "not_compiled" in updates:
        rows.append(("update of SAC, compiled", updates["not_compiled"]))
    rows += [
        ("its matrix products alone", rate(updates["bound"], "1/s")),
        (f"control steps, one {ROBOT}", rate(steps["one_robot"], "1/s")),
        (f"control steps, {steps['robots']} at once", rate(steps["many_robots"], "1/s")),
        (f"policy {policy['name']}", f"p50 {policy['p50_us']:.0f} us, p99 {policy['p99_us']:.0f} us"),
        (
            f"replay of {replay['transitions']:,}",
            f"{replay['megabytes']:.0f} MB, by the process's growth "
            f"{replay['seen_bytes_per_transition'] * replay['transitions'] / 1e6:.0f} MB",
        ),
    ]
    heads = f"{here['processor']}, {here['cores']} cores, {here['instructions']}, load {here['load']}"
    versions = ", ".join(f"{name} {found['versions'][name]}" for name in ("python", "torch", "numpy", "mujoco"))
    return f"{heads}\n{versions}, {found['threads']} threads of torch\n{table(rows)}"
