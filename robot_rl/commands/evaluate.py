"""`robot-rl evaluate`: runs a policy file in simulation, without torch, and measures it."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from policies.composed_runtime import ComposedPolicy, load_policy
from policies.contract import Contract, read_contract
from policies.runtime import Policy
from robot_rl.commands.flags import Parser, add_json, positive_number, whole_number
from robot_rl.commands.output import print_json, relative, say, table
from robot_rl.commands.policy_files import PolicyFile, find_policy, is_run
from robot_rl.commands.writing import make_ready
from robot_rl.env import RobotEnv
from robot_rl.errors import ConfigurationError, PolicyError
from robot_rl.evaluation import FIRST_SEED, Act, Evaluation, evaluate
from robot_rl.make import SIMULATORS, load_randomization, make_env, make_task
from robot_rl.spec import RobotSpec
from robot_rl.spec_file import builtin_robots, load_robot
from robot_rl.task import Task


def run(arguments: Sequence[str]) -> int:
    """Evaluates and prints."""
    values = _parser().parse(arguments)
    check_video_name(values.video)
    if _is_of_suite(Path(values.policy)):
        from robot_rl.commands.suite import evaluate_command

        return evaluate_command(values)
    file = find_policy(values.policy)
    contract = read_contract(file.path)
    spec = policy_robot(values.robot, contract, file)
    task = policy_task(contract, spec)
    policy = load_policy(file.path, robot=spec, layout=task.layout)
    _set_weights(policy, values.weights)
    engine = values.sim or _engine(file)
    varied = load_randomization(values.randomize, spec) if values.randomize else None
    env = make_env(spec, task, backend=engine, randomization=varied, time_limit=values.seconds)
    act = actor(policy)
    if values.video:
        make_ready(values.video)
    say(f"{relative(file.path)}: {values.episodes} episodes of {task.name} on {spec.name} in {engine}")
    for line in unseen(contract, values.goal):
        say(line)
    result = evaluate(env, act, values.episodes, values.seed, values.goal)
    video = None
    if values.video:
        from robot_rl.filming import film

        say("filming")
        film(env, act, values.video, values.seed, values.goal)
        video = relative(values.video)
    env.close()
    found = {
        "policy": contract.name,
        "file": relative(file.path),
        "robot": spec.name,
        "task": task.name,
        "randomize": varied.settings if varied else None,
        "sim": engine,
        **result.to_dict(),
        "video": video,
        "torch_loaded": "torch" in sys.modules,
    }
    if values.json:
        print_json(found)
    else:
        print(report(result, task))
        if video:
            print(f"  video      {video}")
    return 0


def actor(policy: Policy) -> Act:
    """The deterministic action of a policy file."""
    return lambda observation: policy.act(observation).action


def report(result: Evaluation, task: Task) -> str:
    """An evaluation as lines for a person."""
    count = len(result.episodes)
    summary = result.summary()
    rows: list[tuple[str, str]] = [
        ("return", f"{summary['return']:.1f} +- {summary['return_std']:.1f}"),
        ("to the end", f"{result.completed} of {count} episodes (the others fell or were stopped)"),
    ]
    if result.successes is not None:
        rows.append(("success", f"{result.successes} of {count} episodes"))
    rows += [(name.replace("_", " "), f"{value:.3f}") for name, value in summary["figures"].items()]
    rows += [(f"safety: {name.replace('_', ' ')}", f"{ticks} ticks") for name, ticks in summary["safety"].items()]
    latency = result.latency
    rows.append(("latency", f"p50 {1e6 * latency['p50']:.0f} us, p99 {1e6 * latency['p99']:.0f} us per action"))
    return f"{task.name} on {task.spec.name}, {count} episodes\n{table(rows)}"


def _parser() -> Parser:
    parser = Parser("evaluate", "Run a policy file in simulation and measure it; torch is not needed.")
    parser.add_argument("policy", help="run folder, ONNX file, or name of a shipped policy (robot-rl list policies)")
    parser.add_argument("--robot", help="YAML file of the robot, where it is not a built-in one")
    parser.add_argument("--sim", choices=SIMULATORS, help="engine to simulate in [the run's, or mujoco]")
    parser.add_argument("--episodes", type=whole_number(1), default=10, help="how many episodes [10]")
    parser.add_argument("--seconds", type=positive_number, help="length of an episode, s [the task's]")
    parser.add_argument("--seed", type=whole_number(0), default=FIRST_SEED, help=f"of the first episode [{FIRST_SEED}]")
    parser.add_argument(
        "--goal",
        type=float,
        nargs="+",
        metavar="X",
        help="the same goal in every episode; `robot-rl info` has its units",
    )
    parser.add_argument(
        "--weights", type=float, nargs="+", metavar="W", help="of a composed policy's skills, sum 1 [the file's]"
    )
    parser.add_argument(
        "--randomize", metavar="WHAT", help="mild, outdoors, strong, or a YAML file: a robot that differs [none]"
    )
    parser.add_argument("--video", metavar="FILE.mp4", help="film one more episode")
    add_json(parser)
    return parser


def unseen(contract: Contract, goal: Sequence[float] | None) -> list[str]:
    """A line for each part of a goal, (g,), that lies outside of what the policy saw in training."""
    found = []
    for label, value in zip(contract.task.goal_labels, goal or (), strict=False):
        low, high = contract.task.goal_ranges.get(label, (-math.inf, math.inf))
        if not low - 1e-9 <= value <= high + 1e-9:
            found.append(f"goal {label}: {value:g} is outside of what the policy saw in training, {low:g} to {high:g}")
    return found


def _set_weights(policy: Policy, weights: list[float] | None) -> None:
    if weights is None:
        return
    if not isinstance(policy, ComposedPolicy):
        raise ConfigurationError(f"--weights: {policy.contract.name} is a plain policy, it has no skills to weigh")
    policy.weights = np.array(weights)


def policy_robot(given: str | None, contract: Contract, file: PolicyFile) -> RobotSpec:
    """The robot of a policy file: the one that was given, that of its run, or the built-in one of that name."""
    if given is not None:
        return load_robot(given)
    if file.run is not None:
        from robot_rl.commands.configuration import saved_robot

        return load_robot(saved_robot(file.run))
    if contract.robot.name not in builtin_robots():
        raise ConfigurationError(
            f"{file.path} was made for robot {contract.robot.name!r}, which is not built in; "
            "give its file with --robot FILE.yaml"
        )
    return load_robot(contract.robot.name)


def _is_of_suite(path: Path) -> bool:
    """Whether it is a run of a task that brings its own body."""
    if not is_run(path):
        return False
    from robot_rl.commands.configuration import has_robot

    return not has_robot(path)


def _engine(file: PolicyFile) -> str:
    """Where a policy is measured that nobody names an engine for: where it was trained."""
    if file.run is None:
        return SIMULATORS[0]
    from robot_rl.commands.configuration import saved_engine

    return saved_engine(file.run)


def policy_task(contract: Contract, spec: RobotSpec) -> Task:
    """The task that a policy file was trained for; raises PolicyError where it does not suit the robot."""
    settings: dict[str, Any] = dict(contract.task.settings)
    try:
        return make_task(contract.task.name, spec, settings, contract.observation_settings)
    except ConfigurationError as error:
        raise PolicyError(f"policy {contract.name!r} does not fit: {error}") from error


def policy_env(path: Path, robot: str | Path, time_limit: float | None = None) -> tuple[RobotEnv, Policy]:
    """A simulated robot with the task that a policy file was trained for, its settings included, and the policy.

    Args:
        path: of the file.
        robot: name or file.
        time_limit: of an episode, s; None for the task's.
    """
    contract, spec = read_contract(path), load_robot(robot)
    task = policy_task(contract, spec)
    return make_env(spec, task, time_limit=time_limit), load_policy(path, robot=spec, layout=task.layout)


def check_video_name(path: str | None) -> None:
    """Refuses a name that no video can have, before any work is done."""
    if path is not None and Path(path).suffix != ".mp4":
        raise ConfigurationError(f"video {path}: the name must end in .mp4")
