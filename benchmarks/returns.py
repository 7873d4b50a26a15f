"""Returns of plain SAC on Gymnasium's MuJoCo tasks, beside published figures.

    python benchmarks/returns.py --env HalfCheetah-v5 Hopper-v5 --seed 0 1 2 --out results.jsonl
    python benchmarks/returns.py --table --out results.jsonl

Every pair of environment and seed is one run of 100,000 steps, one after another; one line of JSON each goes to the
output file. Pairs that are in the file already are skipped, and a run that was cut short goes on from its last
checkpoint (kept beside the output file, removed when the run is done), so the same command can be given again at any
time.

Plain SAC here: the paper's settings (see `SACSettings`), one update per step, batches of 256, a replay of 1e6, and
5,000 uniformly random steps first, as in CleanRL's and REDQ's SAC (the Stable-Baselines3 zoo takes 10,000). A return is
the mean over 10 episodes of the policy's mode.

The published figures are means and standard deviations over 10 seeds of plain SAC on the -v4 environments.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from robot_rl.algorithms.learner import Learner
from robot_rl.algorithms.sac import SAC, SACSettings
from robot_rl.training.evaluation import deterministic_evaluation
from robot_rl.training.metrics import read_metrics
from robot_rl.training.run import Run, versions
from robot_rl.training.trainer import TrainerSettings, train

PUBLISHED = {
    "HalfCheetah": {50_000: (4212, 498), 100_000: (6156, 700)},
    "Hopper": {50_000: (530, 284), 100_000: (1104, 368)},
    "Walker2d": {50_000: (384, 154), 100_000: (690, 241)},
    "Ant": {50_000: (448, 282), 100_000: (747, 501)},
    "Humanoid": {50_000: (481, 93), 100_000: (632, 170)},
}
MARKS = (50_000, 100_000)


def run_one(name: str, seed: int, steps: int, threads: int, folder: Path) -> dict[str, Any]:
    """Trains once and returns the line for the output file.

    Args:
        name: of the Gymnasium environment.
        seed: of everything.
        steps: environment steps.
        threads: of torch.
        folder: of the run; continued if it is there.
    """
    env = gymnasium.make(name)
    settings = TrainerSettings(
        total_steps=steps,
        start_steps=5_000,
        evaluation_interval=10_000,
        evaluation_episodes=10,
        checkpoint_interval=5_000,
        log_interval=5_000,
        seed=seed,
        threads=threads,
    )
    assert env.observation_space.shape is not None
    assert env.action_space.shape is not None
    learner: Learner = SAC(env.observation_space.shape[0], env.action_space.shape[0], SACSettings(), seed)
    run = Run.open(folder) if folder.exists() else Run.create(folder, {"env": name, "seed": seed})
    started = time.monotonic()
    result = train(
        env, learner, settings, run, deterministic_evaluation(lambda: gymnasium.make(name), 10, seed=10_000 + seed)
    )
    if result.interrupted:
        sys.exit(result.exit_code)
    print(f"{name} seed {seed}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    lines = read_metrics(run.metrics)
    curve = {line["step"]: line["evaluation/return"] for line in lines if "evaluation/return" in line}
    spreads = {line["step"]: line["evaluation/return_std"] for line in lines if "evaluation/return" in line}
    speeds = [line["speed/updates_per_second"] for line in lines if line.get("speed/updates_per_second")]
    return {
        "env": name,
        "seed": seed,
        "steps": steps,
        "returns": {str(mark): curve[mark] for mark in MARKS if mark in curve},
        "return_std_over_episodes": {str(mark): spreads[mark] for mark in MARKS if mark in spreads},
        "curve": {str(step): value for step, value in curve.items()},
        "wall_time_s": result.wall_time,
        "updates_per_second": float(np.median(speeds)) if speeds else None,
        "threads": threads,
        "versions": versions(),
    }


def read_results(path: Path) -> list[dict[str, Any]]:
    """The finished runs of an output file; none if there is no file."""
    return read_metrics(path) if path.exists() else []


def table(results: list[dict[str, Any]]) -> str:
    """A Markdown table: mean and standard deviation over the seeds, beside the published ones."""
    lines = [
        "| environment | steps | seeds | this project | published SAC | within one std, or better |",
        "|---|---|---|---|---|---|",
    ]
    for name in sorted({result["env"] for result in results}):
        for mark in MARKS:
            runs = [r for r in results if r["env"] == name and str(mark) in r["returns"]]
            returns = [r["returns"][str(mark)] for r in runs]
            if not returns:
                continue
            published = PUBLISHED.get(name.split("-")[0], {}).get(mark)
            theirs, verdict = "-", "-"
            if published is not None:
                theirs = f"{published[0]} ± {published[1]}"
                verdict = "yes" if np.mean(returns) >= published[0] - published[1] else "no"
            spread = np.std(returns, ddof=1) if len(returns) > 1 else 0.0
            seeds = ", ".join(str(r["seed"]) for r in sorted(runs, key=lambda r: r["seed"]))
            lines.append(
                f"| {name} | {mark} | {seeds} | {np.mean(returns):.0f} ± {spread:.0f} | {theirs} | {verdict} |"
            )
    return "\n".join(lines)


def main() -> int:
    """Reads the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--env", nargs="+", default=["HalfCheetah-v5"], help="Gymnasium environments")
    parser.add_argument("--seed", nargs="+", type=int, default=[0], help="seeds, each with every environment")
    parser.add_argument("--steps", type=int, default=100_000, help="environment steps of a run")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--out", nargs="+", type=Path, default=[Path("returns.jsonl")], help="output; several: --table")
    parser.add_argument("--table", action="store_true", help="print what the output files hold, run nothing")
    arguments = parser.parse_args()
    if arguments.table:
        print(table([result for path in arguments.out for result in read_results(path)]))
        return 0
    out: Path = arguments.out[0]
    out.parent.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seed:
        for name in arguments.env:
            done = {(result["env"], result["seed"], result["steps"]) for result in read_results(out)}
            if (name, seed, arguments.steps) in done:
                continue
            folder = out.with_suffix("") / f"{name}_s{seed}_{arguments.steps}"
            line = run_one(name, seed, arguments.steps, arguments.threads, folder)
            with open(out, "a") as file:
                file.write(json.dumps(line) + "\n")
            shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
