"""Time to walk: our SAC and Stable-Baselines3's SAC on the same `RobotEnv`, in turns.

Every learner trains Go2 to follow 0.6 m/s and is evaluated at fixed intervals. The time to walk is the wall time of
training alone, evaluations left out, until 9 of 10 episodes of 10 s pass without a fall and within 20 % of the speed.

    pip install stable-baselines3
    python benchmarks/time_to_walk.py --seeds 0 1 2

Four learners take turns, seed by seed: `ours` with the recipe of the task; `ours-pipeline`, the same with the
simulation in a process of its own, so on two cores; `sb3`, Stable-Baselines3's SAC with its own defaults; and
`sb3-recipe`, the same with the recipe's hyperparameters and our scaling of observations, so that the implementations
differ and layer normalisation, which its critics do not have.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from walking import EPISODES, Walks, judge

from robot_rl.algorithms.learner import Learner
from robot_rl.commands.config_files import layered, recipe
from robot_rl.commands.configuration import resolve
from robot_rl.commands.training_config import TrainingConfig
from robot_rl.env import RobotEnv
from robot_rl.evaluation import Act
from robot_rl.settings import from_mapping
from robot_rl.training.pipeline import train_in_pipeline
from robot_rl.training.run import versions
from robot_rl.training.speed import machine
from robot_rl.training.trainer import TrainerSettings, train


@dataclass
class Result:
    """One training."""

    learner: str
    seed: int
    seconds: float | None = None
    """Training time until it walked; None if it never did."""
    steps: int | None = None
    total_seconds: float = 0.0
    total_steps: int = 0


class TooLong(Exception):
    """A training has had its seconds."""


class Judge:
    """Evaluates at intervals and keeps evaluations out of the training time."""

    def __init__(self, result: Result, env: RobotEnv, seconds: float) -> None:
        self.result, self._env, self._seconds = result, env, seconds
        self._judging = 0.0
        self._start = time.perf_counter()

    def judge(self, act: Act, steps: int) -> None:
        """Raises Walks when the policy does what is asked, TooLong after the seconds that a training is given."""
        began = time.perf_counter()
        spent = began - self._start - self._judging
        found = judge(self._env, act)
        self.result.total_seconds, self.result.total_steps = spent, steps
        who = f"{self.result.learner} seed {self.result.seed}"
        print(f"{who}: {steps} steps, {spent:.0f} s, {found.good}/{EPISODES}, {found.speed:.2f} m/s", file=sys.stderr)
        self._judging += time.perf_counter() - began
        if found.walks:
            self.result.seconds, self.result.steps = spent, steps
            raise Walks
        if spent > self._seconds:
            raise TooLong


def new_env(config: TrainingConfig) -> RobotEnv:
    """The environment; a function of a module, since another process may be given it."""
    env: RobotEnv = config.make_env(config.make_task())
    return env


def train_ours(config: TrainingConfig, judge: Judge, steps: int, interval: int, pipeline: bool) -> None:
    """Our trainer, nothing written to disk."""
    given = {"total_steps": steps, "evaluation_interval": interval, "pipeline": pipeline}
    settings = from_mapping(TrainerSettings, {**config.trainer, **given}, "trainer")
    done = 0

    def callback(learner: Learner) -> dict[str, float]:
        nonlocal done
        done += interval
        judge.judge(lambda observation: learner.act(observation, deterministic=True), done)
        return {}

    if pipeline:
        train_in_pipeline(partial(new_env, config), config.make_learner, settings, evaluate=callback)
    else:
        train(new_env(config), config.make_learner(), settings, evaluate=callback)


def train_sb3(config: TrainingConfig, judge: Judge, steps: int, interval: int, with_recipe: bool) -> None:
    """Stable-Baselines3's SAC on the same environment."""
    import stable_baselines3

    torch.set_num_threads(int(config.trainer["threads"]) or torch.get_num_threads())
    robot_env = new_env(config)
    env: gymnasium.Env = robot_env
    settings: dict[str, Any] = {"learning_starts": config.trainer["start_steps"]}
    scale: Callable[[Any], Any] = lambda observation: observation  # noqa: E731
    if with_recipe:
        ours = config.algorithm_settings
        layout = robot_env.observation_layout
        offset, width = layout.offset, layout.scale
        scale = lambda observation: np.clip((observation - offset) / width, -10.0, 10.0)  # noqa: E731
        env = gymnasium.wrappers.TransformObservation(env, scale, env.observation_space)
        settings |= {
            "learning_rate": ours["critic_learning_rate"],
            "batch_size": config.trainer["batch_size"],
            "gradient_steps": int(config.trainer["updates_per_step"]),
            "gamma": ours["discount"],
            "tau": ours["tau"],
            "ent_coef": f"auto_{ours['initial_temperature']}",
            "target_entropy": ours["target_entropy"] or "auto",
            "policy_kwargs": {"net_arch": list(ours["hidden_sizes"])},
        }
    model = stable_baselines3.SAC("MlpPolicy", env, seed=config.seed, buffer_size=steps, device="cpu", **settings)
    for done in range(interval, steps + 1, interval):
        model.learn(interval, reset_num_timesteps=False)
        judge.judge(lambda observation: model.predict(scale(observation), deterministic=True)[0], done)


def shown(found: Sequence[tuple[float | None, float]]) -> str:
    """Median, least and most until trainings walked; those that did not (None) would have taken more than they had."""
    inf = float("inf")
    had = min((had for one, had in found if one is None), default=inf)
    times = sorted(inf if one is None else one for one, _ in found)
    numbers = [f"over {had:.0f}" if one == inf else f"{one:.0f}" for one in times]
    return f"{numbers[times.index(statistics.median_high(times))]} ({numbers[0]} to {numbers[-1]})"


def main() -> None:
    """Runs the benchmark and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    learners = ("ours", "ours-pipeline", "sb3", "sb3-recipe")
    parser.add_argument("--learners", nargs="+", default=["ours", "sb3", "sb3-recipe"], choices=learners)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=60_000, help="most steps of one training")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="most seconds of one training")
    parser.add_argument("--interval", type=int, default=1_000, help="steps between evaluations")
    parser.add_argument("--results", type=Path, metavar="FILE.jsonl", help="append a line of JSON for every training")
    arguments = parser.parse_args()
    results: list[Result] = []
    for seed in arguments.seeds:
        given = {"robot": "go2", "task": {"name": "walk"}, "seed": seed}
        config = resolve(layered(recipe("walk", "go2"), given), "recipe")
        for learner in arguments.learners:
            result = Result(learner, seed)
            results.append(result)
            judge = Judge(result, new_env(config), arguments.seconds)
            try:
                if learner.startswith("ours"):
                    train_ours(config, judge, arguments.steps, arguments.interval, learner == "ours-pipeline")
                else:
                    train_sb3(config, judge, arguments.steps, arguments.interval, learner == "sb3-recipe")
            except (Walks, TooLong):
                pass
            if arguments.results:
                setting = {"machine": machine(), "threads": torch.get_num_threads(), "versions": versions()}
                with arguments.results.open("a") as file:
                    file.write(json.dumps({**vars(result), **setting}) + "\n")
    others = any(not learner.startswith("ours") for learner in arguments.learners)
    packages = ("torch", "mujoco", *(("stable-baselines3",) if others else ()))
    installed = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, Python {platform.python_version()}, {installed}")
    for learner in arguments.learners:
        mine = [result for result in results if result.learner == learner]
        walked = [result for result in mine if result.seconds is not None]
        rate = statistics.median(result.total_steps / result.total_seconds for result in mine)
        times = shown([(result.seconds, result.total_seconds) for result in mine])
        steps = shown([(result.steps, result.total_steps) for result in mine])
        line = f"{learner:13} walked {len(walked)}/{len(mine)}  {rate:4.0f} steps/s"
        line += f"  time to walk {times} s, {steps} steps"
        print(line)


if __name__ == "__main__":
    main()
