"""Training over ROS 2 against the twin in another process: in lock step beside in-process training, and in real time.

    python benchmarks/train_over_ros.py lock-step --seeds 0 1 2
    python benchmarks/train_over_ros.py real-time --robots go2 minitaur --minutes 15

`lock-step` trains Go2 to walk by its recipe, in this process and over ROS in turns, with equal steps and seeds, and
compares the returns of the policies at the end, 10 episodes each, in simulation.

`real-time` trains from scratch at the robot's control rate, on a twin that waits for nobody, and says how the policy
follows its speed, and how punctual the control loop was: once with a learner that makes no updates, so that what the
machine itself delays is known, and once with one that learns.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from twin_process import twin

from robot_rl.commands.config_files import layered, recipe
from robot_rl.commands.configuration import resolve
from robot_rl.commands.evaluate import actor, policy_env
from robot_rl.commands.exporting import export_run
from robot_rl.commands.real_time import TIMING
from robot_rl.commands.training import start, train_only
from robot_rl.evaluation import evaluate
from robot_rl.settings import from_mapping
from robot_rl.spec_file import load_robot
from robot_rl.training.metrics import read_metrics
from robot_rl.training.run import Run
from robot_rl.training.trainer import TrainerSettings


def train_walk(folder: Path, robot: str, seed: int, values: dict[str, Any]) -> tuple[Run, dict[str, float], float]:
    """One training by the recipe, with some values changed.

    Returns:
        The run, the newest value of every metric, and the s it took.
    """
    given = {"robot": robot, "task": {"name": "walk"}, "seed": seed}
    config = resolve(layered(recipe("walk", robot), given, values), "benchmark")
    run = Run.open(start(config, ["benchmark"], folder))
    began = time.monotonic()
    result = train_only(run, config, from_mapping(TrainerSettings, config.trainer, "trainer"))
    if result.interrupted:
        sys.exit(result.exit_code)
    return run, result.metrics, time.monotonic() - began


def compare_lock_step(folder: Path, seeds: list[int], steps: int | None, episodes: int) -> dict[str, Any]:
    """Returns at equal steps, in process and over ROS."""
    trainer: dict[str, Any] = {"evaluation_episodes": episodes}
    if steps is not None:
        trainer |= {"total_steps": steps, "start_steps": min(1000, steps // 2)}
    places = {"in process": {}, "over ROS": {"on": "ros", "ros": {"lock_step": True}}}
    found: dict[str, Any] = {name: {"returns": [], "seconds": []} for name in places}
    with twin("go2", "--lock-step"):
        for seed in seeds:
            for name, place in places.items():
                at = folder / f"{name.replace(' ', '_')}_{seed}"
                _, metrics, seconds = train_walk(at, "go2", seed, {"trainer": trainer, **place})
                found[name]["returns"].append(metrics["evaluation/return"])
                found[name]["seconds"].append(seconds)
                reached = metrics["evaluation/return"]
                print(f"{name}, seed {seed}: return {reached:.1f}, {seconds:.0f} s", file=sys.stderr)
    ranges = [(min(found[name]["returns"]), max(found[name]["returns"])) for name in places]
    found["ranges_overlap"] = max(low for low, _ in ranges) <= min(high for _, high in ranges)
    return found


def train_in_real_time(folder: Path, robot: str, minutes: float, baseline: float, seed: int) -> dict[str, Any]:
    """Trains from scratch on a twin in real time."""
    punctuality, rate = {}, load_robot(robot).control_rate
    start_steps = min(1000, round(600 * minutes))
    for name, length, trainer in (
        ("without learning", baseline, {"updates_per_step": 0.0}),
        ("with learning", minutes, {}),
    ):
        values = {
            "on": "ros",
            "real_time": {"max_minutes": length},
            # As many as fit into the time without any reset, so that the time is the limit.
            "trainer": {"total_steps": round(60 * length * rate), "start_steps": start_steps, **trainer},
        }
        with twin(robot):
            run, metrics, _ = train_walk(folder / f"{robot}_{name.replace(' ', '_')}", robot, seed, values)
        punctuality[name] = json.loads((run.path / TIMING).read_text())
    lines = read_metrics(run.metrics)
    policy_file = run.path / "policy.onnx"
    export_run(run.path, policy_file)
    env, policy = policy_env(policy_file, robot)
    evaluation = evaluate(env, actor(policy))
    late = [(line["step"], line["real_time/late_share"]) for line in lines if "real_time/late_share" in line]
    return {
        "robot": robot,
        "steps": lines[-1]["step"],
        "robot_minutes": metrics["real_time/robot_time"] / 60.0,
        "falls": metrics["real_time/falls"],
        "updates_per_step": metrics["real_time/updates_per_step"],
        "training_return": metrics.get("training/return"),
        "return_in_simulation": evaluation.summary()["return"],
        "speed": evaluation.mean("forward_velocity"),
        "commanded_speed": evaluation.mean("commanded_forward"),
        "successes": evaluation.successes,
        "late_share": sum(share for _, share in late) / len(late) if late else None,
        "punctuality": punctuality,
    }


def print_lock_step(found: dict[str, Any]) -> None:
    """A table for a person."""
    for name in ("in process", "over ROS"):
        returns, seconds = found[name]["returns"], found[name]["seconds"]
        each = ", ".join(f"{value:.1f}" for value in returns)
        print(f"{name:12} return {min(returns):.1f} to {max(returns):.1f} ({each}), {sum(seconds):.0f} s in all")
    print(f"ranges overlap: {'yes' if found['ranges_overlap'] else 'no'}")


def print_real_time(found: dict[str, Any]) -> None:
    """A table for a person."""
    late = found["late_share"]
    print(
        f"{found['robot']}: {found['steps']:,} steps in {found['robot_minutes']:.1f} min with the robot, "
        f"{found['falls']:.0f} falls, {found['updates_per_step']:.2f} updates per step\n"
        f"  speed {found['speed']:.3f} of {found['commanded_speed']:.3f} m/s, {found['successes']} of 10 episodes "
        f"within 20 %, return {found['return_in_simulation']:.1f} in simulation"
        + (f"\n  late by more than the allowance: {100 * late:.2f} % of ticks" if late is not None else "")
    )
    for name, timing in found["punctuality"].items():
        period = timing["seconds"]["period"]
        print(
            f"  {name:17} {timing['ticks']:,} ticks, {timing['overruns']} overruns; period "
            f"p50 {1e3 * period['p50']:.2f}, p99 {1e3 * period['p99']:.2f}, max {1e3 * period['max']:.2f} ms"
        )


def main() -> None:
    """Reads the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("lock-step", "real-time"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of trainings; real-time: the first")
    parser.add_argument("--steps", type=int, help="lock-step: of one training [the recipe's]")
    parser.add_argument("--episodes", type=int, default=10, help="lock-step: of the evaluation at the end [10]")
    parser.add_argument("--robots", nargs="+", default=["go2"], help="real-time: one training each [go2]")
    parser.add_argument("--minutes", type=float, default=15.0, help="real-time: with the robot [15]")
    parser.add_argument("--baseline", type=float, default=1.0, help="real-time: minutes without learning [1]")
    parser.add_argument("--out", type=Path, help="keep the runs in this folder")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    # A network of our own, so that nothing that is running is commanded by accident.
    os.environ.setdefault("ROS_DOMAIN_ID", str(os.getpid() % 100 + 1))
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.out or Path(temporary)
        print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}", file=sys.stderr)
        if arguments.what == "lock-step":
            found: Any = compare_lock_step(folder, arguments.seeds, arguments.steps, arguments.episodes)
            print(json.dumps(found)) if arguments.json else print_lock_step(found)
            return
        minutes, baseline, seed = arguments.minutes, arguments.baseline, arguments.seeds[0]
        found = [train_in_real_time(folder, robot, minutes, baseline, seed) for robot in arguments.robots]
        if arguments.json:
            print(json.dumps(found))
        else:
            for each in found:
                print_real_time(each)


if __name__ == "__main__":
    main()
