"""`robot-rl demo`: the whole way once, from nothing to a policy file that walks, without torch and over ROS 2."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robot_rl.commands.config_files import layered, recipe
from robot_rl.commands.configuration import resolve
from robot_rl.commands.flags import Parser, add_json, whole_number
from robot_rl.commands.output import duration, print_json, relative, say, table
from robot_rl.commands.policy_files import POLICY
from robot_rl.commands.training_config import TrainingConfig
from robot_rl.errors import CheckFailed, ConfigurationError
from robot_rl.evaluation import FIRST_SEED

TASK, ROBOT = "walk", "go2"
SHARE_GOOD = 0.9
"""Of the evaluation episodes, without a fall and near enough to the commanded speed."""
LATE = {"actuation_delay": {"delay": [0.0, 0.015]}}
"""Over ROS a command takes some 10 ms to the motors, depending on how the clocks of policy and twin happen to lie: its
reading ages, then it waits for the next step of the motors. A gait learnt without that falls one time in ten."""
TWIN_SECONDS = 10.0
VIDEO = Path("videos") / "policy.mp4"


def run(arguments: Sequence[str]) -> int:
    """Trains, exports, runs the file without torch and then on the twin over ROS 2, films it, and prints a table."""
    parser = Parser("demo", "Train Go2 to walk, export the policy, run the file without torch, and over ROS 2.")
    parser.add_argument("--steps", type=whole_number(1), help="environment steps to train for [the recipe's]")
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of everything random [0]")
    parser.add_argument("--episodes", type=whole_number(1), default=10, help="evaluation episodes [10]")
    parser.add_argument("--out", metavar="DIR", help="folder of the run [runs/walk-go2/TIME_sac_sSEED]")
    add_json(parser)
    values = parser.parse(arguments)
    began = time.monotonic()
    from robot_rl.commands.training import CURVE, start, train_run

    config = configuration(values.seed, values.steps)
    folder = start(config, ["demo", *arguments], Path(values.out) if values.out else None)
    result = train_run(folder, config)
    if result.export is None:
        return result.training.exit_code
    say("running policy.onnx in simulation, in a process without torch")
    evaluation = _evaluate_without_torch(folder / POLICY, values.episodes)
    twin = over_ros(folder / POLICY, TWIN_SECONDS)
    video = _film(folder)
    found = {
        **result.to_dict(),
        "evaluation": evaluation,
        "over_ros": twin,
        "plot": relative(folder / CURVE),
        "video": video,
        "total_time_s": time.monotonic() - began,
    }
    if values.json:
        print_json(found)
    else:
        print(_report(found))
    check_walks(evaluation, twin)
    return 0


def configuration(seed: int, steps: int | None = None) -> TrainingConfig:
    """What the demo trains: the recipe, with commands as late as over ROS 2; `steps` of the environment where given."""
    longer: dict[str, Any] = {} if steps is None else {"trainer": {"total_steps": steps}}
    given = {"task": {"name": TASK}, "robot": ROBOT, "seed": seed, "randomize": LATE, **longer}
    return resolve(layered(recipe(TASK, ROBOT), given), "demo")


def check_walks(evaluation: dict[str, Any], twin: dict[str, Any]) -> None:
    """Checks that Go2 walks as it was told, in most episodes of the simulation and to the end over ROS 2.

    Args:
        evaluation: what `robot-rl evaluate` found.
        twin: what `over_ros` found; without ROS 2 it does not count.

    Raises:
        CheckFailed: it does not.
    """
    if evaluation["successes"] < SHARE_GOOD * evaluation["episodes"]:
        raise CheckFailed(
            f"Go2 does not walk yet: {evaluation['successes']} of {evaluation['episodes']} episodes without a fall and "
            f"at the right speed, wanted {SHARE_GOOD:.0%}; train longer with robot-rl demo --steps N"
        )
    if twin.get("stopped"):
        raise CheckFailed(
            f"Go2 walks in simulation, but over ROS 2 it was stopped after {twin['seconds']:.1f} s: {twin['stopped']}; "
            "train longer with robot-rl demo --steps N"
        )


def _evaluate_without_torch(policy: Path, episodes: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "robot_rl.cli", "evaluate", str(policy), "--episodes", str(episodes), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise CheckFailed(f"the policy file does not run by itself: {' '.join(command)} ended with {done.returncode}")
    found = json.loads(done.stdout)
    if found["torch_loaded"]:
        raise CheckFailed("running the policy file imported torch")
    return found


def over_ros(policy: Path, seconds: float) -> dict[str, Any]:
    """Runs the file on the twin, each in a process of its own and in real time, and says how that went.

    Returns:
        The report of `robot-rl deploy`, or `skipped` with the reason.
    """
    if importlib.util.find_spec("rclpy") is None:
        say("ROS 2 is not installed, so the policy is not run over it: pip install -c constraints.txt -e '.[ros]'")
        return {"skipped": "ROS 2 is not installed"}
    say(f"running policy.onnx on the twin over ROS 2, for {seconds:g} s of real time")
    # A network of their own, on this machine alone: no real robot may hear this.
    network = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_DOMAIN_ID": str(1 + os.getpid() % 100)}
    environment = {**os.environ, **network}
    program = [sys.executable, "-m", "robot_rl.cli"]
    twin = subprocess.Popen([*program, "twin", ROBOT], env=environment, stderr=subprocess.DEVNULL)
    try:
        command = [*program, "deploy", str(policy), "--robot", ROBOT, "--seconds", f"{seconds:g}", "--yes", "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    finally:
        twin.terminate()
        twin.wait()
    if not done.stdout:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        return {"skipped": last.removeprefix("robot-rl: ") or f"it ended with {done.returncode}"}
    return json.loads(done.stdout)


def _twin_line(found: dict[str, Any]) -> str:
    if "skipped" in found:
        return f"not run: {found['skipped']}"
    if found["stopped"]:
        return f"stopped after {found['seconds']:.1f} s: {found['stopped']}"
    speed, period = found["figures"].get("forward_velocity", float("nan")), found["timing_s"]["period"]
    return (
        f"{speed:.2f} m/s on the twin for {found['seconds']:.0f} s at {found['rate_hz']:.1f} Hz, "
        f"period p99 {1e3 * period['p99']:.1f} ms"
    )


def _film(folder: Path) -> str | None:
    from robot_rl.commands.evaluate import actor, policy_env
    from robot_rl.filming import film

    say("filming")
    env, policy = policy_env(folder / POLICY, ROBOT)
    try:
        film(env, actor(policy), folder / VIDEO, FIRST_SEED)
    except ConfigurationError as error:  # a machine that cannot render has learnt to walk all the same
        say(f"no video: {error}")
        return None
    return relative(folder / VIDEO)


def _report(found: dict[str, Any]) -> str:
    evaluation = found["evaluation"]
    figures, latency, count = evaluation["figures"], evaluation["latency_s"], evaluation["episodes"]
    rows = [
        ("steps", f"{found['steps']:,}"),
        ("training time", duration(found["wall_time_s"])),
        ("whole demo", duration(found["total_time_s"])),
        ("return", f"{evaluation['return']:.1f} +- {evaluation['return_std']:.1f}"),
        ("commanded speed", f"{figures['commanded_forward']:.2f} m/s"),
        ("speed", f"{figures['forward_velocity']:.2f} m/s"),
        (
            "without a fall",
            f"{evaluation['completed']} of {count} episodes of {evaluation['each_episode'][0]['seconds']:.0f} s",
        ),
        ("and at the speed", f"{evaluation['successes']} of {count}, within 20 % of the command"),
        (
            "torch vs ONNX",
            f"{found['export']['max_error']:.1e} largest difference, {found['export']['observations']:,} observations",
        ),
        ("over ROS 2", _twin_line(found["over_ros"])),
        ("latency", f"p50 {1e6 * latency['p50']:.0f} us, p99 {1e6 * latency['p99']:.0f} us per action"),
        ("policy", found["export"]["path"]),
        ("learning curve", found["plot"]),
        ("video", found["video"] or "none: this machine cannot render"),
    ]
    return f"Go2 after the demo; the policy file ran without torch.\n{table(rows)}"
