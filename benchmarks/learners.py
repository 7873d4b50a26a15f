"""Go2 learns to walk with each learner: the same number of steps, and the same time.

    python benchmarks/learners.py --steps 300000 --minutes 10 --out learners
    python benchmarks/learners.py --algorithm ppo td3 --out learners
    python benchmarks/learners.py --table --out learners

Every learner gets the settings that `robot-rl train walk --robot go2 --algorithm NAME` would give it, the number of
robots in step included, and one run that ends after `--steps` steps or `--minutes` minutes, whichever is later: at
equal steps and at equal time the returns are read off its curve, each time the last evaluation that was not after it.
A run that was cut short goes on from its last checkpoint; one that is finished is not run again. Learners run one
after another, so do not let anything else run beside them: time is part of what is measured. Evaluations cost none of
it; starting the workers of A3C does.

Writes OUT/learners.json, OUT/learners.md (the table) and OUT/learners.png (both curves).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from robot_rl.algorithms.learner import Learner
from robot_rl.commands.config_files import layered, recipe
from robot_rl.commands.configuration import resolve
from robot_rl.commands.training_config import TrainingConfig
from robot_rl.env import RobotEnv
from robot_rl.make import ALGORITHMS, make_env, make_vector_env
from robot_rl.settings import from_mapping
from robot_rl.training.checkpoint import latest_checkpoint, load_values
from robot_rl.training.evaluation import deterministic_evaluation
from robot_rl.training.files import replace_file, to_json
from robot_rl.training.run import Run, versions
from robot_rl.training.trainer import TrainerSettings, train
from robot_rl.training.worker_trainer import train_with_workers, workers_of

TASK, ROBOT = "walk", "go2"
NEVER = 10**12
"""Steps at which a run would end by itself."""


class Enough(Exception):
    """The run has both its steps and its time."""


def configure(algorithm: str, seed: int, evaluations: int) -> TrainingConfig:
    """What the command line would train with; evaluated every `evaluations` steps."""
    given = {
        "task": {"name": TASK},
        "robot": ROBOT,
        "algorithm": algorithm,
        "seed": seed,
        "trainer": {
            "total_steps": NEVER,
            "evaluation_interval": evaluations,
            "checkpoint_interval": evaluations,
            "log_interval": evaluations,
            "threads": 1,
        },
    }
    return resolve(layered(recipe(TASK, ROBOT, algorithm), given), "benchmark")


def run_one(algorithm: str, seed: int, steps: int, seconds: float, evaluations: int, folder: Path) -> dict[str, Any]:
    """Trains once.

    Args:
        algorithm: name of the learner.
        seed: of everything.
        steps: at least so many.
        seconds: of training, at least so many.
        evaluations: steps between two of them.
        folder: of the run; continued if it is there.

    Returns:
        The curve: steps, seconds of training, and the return, of every evaluation.
    """
    config = configure(algorithm, seed, evaluations)
    settings = from_mapping(TrainerSettings, config.trainer, "trainer")
    run = Run.open(folder) if folder.exists() else Run.create(folder, config.to_dict())
    curve_file = folder / "curve.json"
    place = latest_checkpoint(run.checkpoints)
    saved = load_values(place)["trainer/step"] if place else 0
    curve = json.loads(curve_file.read_text()) if curve_file.exists() else []
    enough = bool(curve) and curve[-1]["steps"] >= steps and curve[-1]["seconds"] >= seconds
    if not enough:
        curve = [point for point in curve if point["steps"] <= saved]  # what came after is made again
    before = curve[-1]["seconds"] if curve else 0.0
    inner = deterministic_evaluation(
        lambda: make_env(config.spec(), config.make_task()), settings.evaluation_episodes
    )
    clock = Stopwatch(before)

    def evaluate(learner: Learner) -> dict[str, float]:
        clock.stop()
        found = inner(learner)
        curve.append({"steps": len(curve) * evaluations + evaluations, "seconds": clock.seconds, **_figures(found)})
        replace_file(curve_file, to_json(curve))
        if curve[-1]["steps"] >= steps and clock.seconds >= seconds:
            raise Enough
        clock.start()
        return found

    if not enough:
        clock.start()
        try:
            _train(config, settings, run, evaluate)
        except Enough:
            pass
        else:
            sys.exit(130)  # Ctrl-C; the checkpoint is there
    return {"algorithm": algorithm, "seed": seed, "robots": config.robots, "curve": curve, "versions": versions()}


def _train(
    config: TrainingConfig, settings: TrainerSettings, run: Run, evaluate: Callable[[Learner], dict[str, float]]
) -> None:
    learner, task = config.make_learner(), config.make_task()
    if workers_of(learner):
        train_with_workers(partial(_env_of, config), config.make_learner, settings, run, evaluate)
        return
    env = config.make_env(task) if config.robots == 1 else make_vector_env(config.spec(), task, config.robots)
    try:
        train(env, learner, settings, run, evaluate)
    finally:
        env.close()


def _env_of(config: TrainingConfig) -> RobotEnv:
    return config.make_env(config.make_task())


def _figures(found: dict[str, float]) -> dict[str, float]:
    return {"return": found["return"], "length": found["length"]}


class Stopwatch:
    """Seconds while it runs.

    Attributes:
        seconds: so far, up to the last stop.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        """Stands still at `seconds`."""
        self.seconds = seconds
        self._started = 0.0

    def start(self) -> None:
        """Runs."""
        self._started = time.monotonic()

    def stop(self) -> None:
        """Stands still."""
        self.seconds += time.monotonic() - self._started


def last_before(curve: list[dict[str, float]], axis: str, limit: float) -> float:
    """The return of the last evaluation up to a limit of `steps` or `seconds`; NaN if there is none."""
    returns = [point["return"] for point in curve if point[axis] <= limit]
    return returns[-1] if returns else math.nan


def table(results: list[dict[str, Any]], steps: int, seconds: float) -> str:
    """A Markdown table, the best at equal steps first."""
    rows = []
    for result in results:
        curve = result["curve"]
        within = [point for point in curve if point["steps"] <= steps]
        rows.append(
            (
                last_before(curve, "steps", steps),
                f"| {result['algorithm']} | {result['robots']} | {last_before(curve, 'steps', steps):.0f} | "
                f"{within[-1]['seconds'] if within else math.nan:.0f} | {last_before(curve, 'seconds', seconds):.0f} | "
                f"{max((p['steps'] for p in curve if p['seconds'] <= seconds), default=0):,} |",
            )
        )
    head = (
        f"| learner | robots in step | return at {steps:,} steps | s for them | return after {seconds:.0f} s | "
        "steps in that time |\n|---|---|---|---|---|---|"
    )
    return "\n".join([head, *(line for _, line in sorted(rows, key=lambda row: -row[0]))])


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Return against steps, and against seconds of training."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    both = figure.subplots(1, 2, sharey=True)
    for axes, axis, label in zip(both, ("steps", "seconds"), ("environment steps", "s of training"), strict=True):
        for result in results:
            points = result["curve"]
            axes.plot([p[axis] for p in points], [p["return"] for p in points], label=result["algorithm"])
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    both[0].set_xscale("log")  # the learners from a replay make a fraction of the others' steps
    both[0].set_ylabel(f"return of {TASK} on {ROBOT}")
    both[0].legend(frameon=False)
    figure.savefig(path)


def main() -> int:
    """Reads the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--algorithm", nargs="+", choices=list(ALGORITHMS), default=list(ALGORITHMS), help="learners")
    parser.add_argument("--steps", type=int, default=300_000, help="at which all are compared")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, after which all are compared")
    parser.add_argument("--evaluations", type=int, default=5_000, help="steps between two evaluations")
    parser.add_argument("--seed", type=int, default=0, help="of everything")
    parser.add_argument("--out", type=Path, default=Path("learners"), help="folder")
    parser.add_argument("--table", action="store_true", help="table and plot of what is there, run nothing")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    record = out / "learners.json"
    found = {result["algorithm"]: result for result in (json.loads(record.read_text()) if record.exists() else [])}
    seconds = 60.0 * arguments.minutes
    if not arguments.table:
        for algorithm in arguments.algorithm:
            folder = out / f"{algorithm}_s{arguments.seed}"
            found[algorithm] = run_one(
                algorithm, arguments.seed, arguments.steps, seconds, arguments.evaluations, folder
            )
            replace_file(record, to_json(list(found.values())))
    results = list(found.values())
    text = table(results, arguments.steps, seconds)
    replace_file(out / "learners.md", f"{text}\n".encode())
    plot(results, out / "learners.png")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
