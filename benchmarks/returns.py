"""Returns of a learner, by default plain SAC, on Gymnasium's MuJoCo tasks, beside published figures.

    python benchmarks/returns.py --env HalfCheetah-v5 Hopper-v5 --seed 0 1 2 --out results.jsonl
    python benchmarks/returns.py --algorithm ppo --envs 64 --steps 300000 --out ppo.jsonl
    python benchmarks/returns.py --table --out results.jsonl ppo.jsonl

Every pair of environment and seed is one run of `--steps` steps, one after another; one line of JSON each goes to the
output file. Pairs that are in the file already are skipped, and a run that was cut short goes on from its last
checkpoint (kept beside the output file, removed when the run is done), so the same command can be given again at any
time.

Plain SAC here: the paper's settings (see `SACSettings`), one update per step, batches of 256, a replay of 1e6, and
5,000 uniformly random steps first, as in CleanRL's and REDQ's SAC (the Stable-Baselines3 zoo takes 10,000).
The published TD3 and DDPG had 25,000 before the steps that they count: `--uncounted 25000`. A return is the mean over
10 episodes of the policy's mode.

The other learners have their default settings too; those that learn from their own steps get observations by their
running mean and deviation. They learn better from many environments in step than from one, whose rollout of 2,048
steps is two episodes: `--envs` says from how many (the published ones had 64 for PPO and 16 for the others; A3C has as
many as it has workers).

The published figures, and whose they are, stand in `published_returns.yaml`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import yaml
from gymnasium.vector import SyncVectorEnv
from tables import markdown, over_seeds, read_lines

from robot_rl.algorithms.learner import Learner
from robot_rl.algorithms.on_policy import OnPolicy
from robot_rl.make import ALGORITHMS, algorithm_of
from robot_rl.settings import from_mapping
from robot_rl.training.evaluation import deterministic_evaluation
from robot_rl.training.metrics import read_metrics
from robot_rl.training.normalizer import Normalizer
from robot_rl.training.run import Run, versions
from robot_rl.training.trainer import TrainerSettings, train
from robot_rl.training.worker_trainer import train_with_workers, workers_of

PUBLISHED: dict[str, dict[str, dict[int, tuple[int, int]]]] = yaml.safe_load(
    Path(__file__).with_name("published_returns.yaml").read_text()
)
"""Mean and standard deviation by algorithm, task and steps."""
RANDOM_STEPS = 5_000
"""At first, of learners from a replay; they count."""
MARKS = (50_000, 100_000, 300_000, 1_000_000)
PASSED = 1_000
"""Fewer steps than between two evaluations, more than several environments or workers pass a mark by."""


def make_learner(algorithm: str, name: str, seed: int, given: Mapping[str, Any]) -> Learner:
    """A learner for a Gymnasium environment; `given` are the settings that are not its defaults."""
    env = gymnasium.make(name)
    assert env.observation_space.shape is not None
    assert env.action_space.shape is not None
    sizes = env.observation_space.shape[0], env.action_space.shape[0]
    env.close()
    known = algorithm_of(algorithm)
    kind = known.load(known.learner)
    normalizer = Normalizer.running_statistics(sizes[0]) if issubclass(kind, OnPolicy) else None
    settings = from_mapping(known.load(known.settings), given, algorithm)
    return kind(*sizes, settings, seed, normalizer)


def run_one(
    algorithm: str,
    name: str,
    seed: int,
    steps: int,
    envs: int,
    given: dict[str, Any],
    uncounted: int,
    threads: int,
    folder: Path,
) -> dict[str, Any]:
    """Trains once and returns the line for the output file.

    Args:
        algorithm: name of the learner.
        name: of the Gymnasium environment.
        seed: of everything.
        steps: environment steps, summed over the environments.
        envs: environments in step.
        given: settings of the learner that are not its defaults.
        uncounted: uniformly random steps before them, in place of RANDOM_STEPS of them.
        threads: of torch.
        folder: of the run; continued if it is there.
    """
    settings = TrainerSettings(
        total_steps=uncounted + steps,
        start_steps=uncounted or RANDOM_STEPS,
        evaluation_interval=10_000 if steps <= 100_000 else 25_000,
        evaluation_episodes=10,
        checkpoint_interval=5_000,
        log_interval=5_000,
        seed=seed,
        threads=threads,
    )
    run = Run.open(folder) if folder.exists() else Run.create(folder, {"env": name, "seed": seed})
    started = time.monotonic()
    evaluate = deterministic_evaluation(lambda: gymnasium.make(name), 10, seed=10_000 + seed)
    learner = make_learner(algorithm, name, seed, given)
    if workers_of(learner):
        make = partial(make_learner, algorithm, name, seed, given)
        result = train_with_workers(partial(gymnasium.make, name), make, settings, run, evaluate)
    else:
        one = partial(gymnasium.make, name)
        env = one() if envs == 1 else SyncVectorEnv([one] * envs)
        result = train(env, learner, settings, run, evaluate)
    if result.interrupted:
        sys.exit(result.exit_code)
    print(f"{algorithm} {name} seed {seed}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    lines = read_metrics(run.metrics)
    curve = {line["step"]: line["evaluation/return"] for line in lines if "evaluation/return" in line}
    spreads = {line["step"]: line["evaluation/return_std"] for line in lines if "evaluation/return" in line}
    speeds = [line["speed/updates_per_second"] for line in lines if line.get("speed/updates_per_second")]
    return {
        "algorithm": algorithm,
        "env": name,
        "seed": seed,
        "steps": steps,
        "envs": envs,
        "settings": given,
        "uncounted": uncounted,
        "return_std_over_episodes": at_marks(spreads, uncounted),
        "curve": {str(step): value for step, value in curve.items()},
        "wall_time_s": result.wall_time,
        "updates_per_second": float(np.median(speeds)) if speeds else None,
        "threads": threads,
        "versions": versions(),
    }


def at_marks(curve: dict[int, float], uncounted: int) -> dict[str, float]:
    """What a curve is at each of `MARKS`, `uncounted` steps later; environments in step pass one by a few."""
    found: dict[str, float] = {}
    for mark in MARKS:
        first = mark + uncounted
        steps = [step for step in curve if first <= step < first + PASSED]
        if steps:
            found[str(mark)] = curve[min(steps)]
    return found


def read_results(path: Path) -> list[dict[str, Any]]:
    """The finished runs of an output file; none if there is no file."""
    missing = {"algorithm": "sac", "envs": 1, "settings": {}, "uncounted": 0}
    return [{**missing, **line} for line in read_lines(path)]


def title(result: Mapping[str, Any]) -> str:
    """Learner and settings of a run, those left out that are the learner's defaults by now."""
    known = ALGORITHMS[result["algorithm"]]
    defaults = vars(known.load(known.settings)())
    given = {key: value for key, value in result["settings"].items() if defaults.get(key) != value}
    if result["uncounted"]:
        given["uncounted"] = result["uncounted"]
    return ", ".join([f"`{result['algorithm']}`", *(f"{key} {value}" for key, value in given.items())])


def table(results: list[dict[str, Any]], marks: Sequence[int] = MARKS) -> str:
    """In Markdown: mean and standard deviation over the seeds after `marks` steps, beside the published ones."""
    heads = ("learner", "environment", "steps", "this project: mean ± deviation (seeds 0, 1, ...)", "published",
             "within one deviation, or better")  # fmt: skip
    by_kind: dict[tuple[str, str, str], dict[int, dict[str, float]]] = {}
    for line in results:
        curve = {int(step): value for step, value in line["curve"].items()}
        seeds = by_kind.setdefault((line["algorithm"], title(line), line["env"]), {})
        seeds[line["seed"]] = at_marks(curve, line["uncounted"])
    rows = []
    for (algorithm, learner, name), seeds in sorted(by_kind.items()):
        for mark in marks:
            returns = {seed: found[str(mark)] for seed, found in seeds.items() if str(mark) in found}
            if not returns:
                continue
            published = PUBLISHED.get(algorithm, {}).get(name.split("-")[0], {}).get(mark)
            theirs, verdict = "-", "-"
            if published is not None:
                mean, deviation = published
                theirs = f"{mean} ± {deviation}"
                verdict = "yes" if np.mean(list(returns.values())) >= mean - deviation else "no"
            rows.append((learner, name, f"{mark:,}", over_seeds(returns), theirs, verdict))
    return markdown(heads, rows)


def main() -> int:
    """Reads the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--algorithm", choices=list(ALGORITHMS), default="sac", help="what learns")
    parser.add_argument("--env", nargs="+", default=["HalfCheetah-v5"], help="Gymnasium environments")
    parser.add_argument("--seed", nargs="+", type=int, default=[0], help="seeds, each with every environment")
    parser.add_argument("--steps", type=int, default=100_000, help="environment steps of a run")
    parser.add_argument("--envs", type=int, default=1, help="environments in step, of learners from their own steps")
    parser.add_argument(
        "--uncounted", type=int, default=0, help="random steps before --steps, of learners from a replay"
    )
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings of the learner")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--out", nargs="+", type=Path, default=[Path("returns.jsonl")], help="output; several: --table")
    parser.add_argument("--table", action="store_true", help="print what the output files hold, run nothing")
    arguments = parser.parse_args()
    if arguments.table:
        print(table([result for path in arguments.out for result in read_results(path)]))
        return 0
    out: Path = arguments.out[0]
    given = {name: yaml.safe_load(value) for name, _, value in (one.partition("=") for one in arguments.set)}
    out.parent.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seed:
        for name in arguments.env:
            wanted = (
                arguments.algorithm, name, seed, arguments.steps, arguments.envs, given, arguments.uncounted,
            )  # fmt: skip
            keys = ("algorithm", "env", "seed", "steps", "envs", "settings", "uncounted")
            if any(wanted == tuple(line[key] for key in keys) for line in read_results(out)):
                continue
            parts = [arguments.algorithm, name, f"s{seed}", str(arguments.steps), *arguments.set]
            if arguments.uncounted:
                parts.append(f"uncounted={arguments.uncounted}")
            folder = out.with_suffix("") / "_".join(parts)
            line = run_one(*wanted, arguments.threads, folder)
            with open(out, "a") as file:
                file.write(json.dumps(line) + "\n")
            shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
