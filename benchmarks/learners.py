"""Go2 learns to walk with each learner: the same number of steps, and the same time.

    python benchmarks/learners.py --seeds 0 1 2 --out learners.jsonl
    python benchmarks/learners.py --algorithm ppo trpo --evaluations 20000 --out learners.jsonl
    python benchmarks/learners.py --table --out learners.jsonl

Every learner gets the settings that `robot-rl train walk --robot go2 --algorithm NAME` would give it, the number of
robots in step included, and one training per seed that ends after `--steps` steps or `--minutes` minutes, whichever is
later: at equal steps and at equal time the returns are read off its curve, each time the last evaluation that was not
after it. Trainings run one after another, so let nothing else run beside them: time is part of what is measured.
Evaluations cost none of it; starting the workers of A3C does.

One line of JSON for every finished training goes to --out; what is in there is not trained again, and a training that
was cut short goes on from its checkpoint, kept beside that file. Prints the table, and draws both curves beside --out.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tables import markdown, over_seeds, read_lines

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
    inner = deterministic_evaluation(lambda: make_env(config.spec(), config.make_task()), settings.evaluation_episodes)
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


def by_algorithm(results: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The trainings of each learner, by seed."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for result in sorted(results, key=lambda result: result["seed"]):
        found.setdefault(result["algorithm"], []).append(result)
    return found


def last_before(curve: Sequence[Mapping[str, float]], axis: str, limit: float) -> Mapping[str, float] | None:
    """The last evaluation up to a limit of `steps` or `seconds`; None if there is none."""
    found = [point for point in curve if point[axis] <= limit]
    return found[-1] if found else None


def table(results: Sequence[Mapping[str, Any]], steps: int, seconds: float) -> str:
    """In Markdown, the best at equal steps first; learners with an evaluation up to both limits."""
    rows = []
    for algorithm, mine in by_algorithm(results).items():
        at_steps = {line["seed"]: last_before(line["curve"], "steps", steps) for line in mine}
        in_time = {line["seed"]: last_before(line["curve"], "seconds", seconds) for line in mine}
        there = {seed: point for seed, point in at_steps.items() if point}
        then = {seed: point for seed, point in in_time.items() if point}
        if len(there) < len(mine) or len(then) < len(mine):
            continue
        cells = (
            f"`{algorithm}`",
            str(mine[0]["robots"]),
            over_seeds({seed: point["return"] for seed, point in there.items()}),
            f"{statistics.mean(point['seconds'] for point in there.values()):.0f}",
            over_seeds({seed: point["return"] for seed, point in then.items()}),
            f"{statistics.mean(point['steps'] for point in then.values()):,.0f}",
        )
        rows.append((statistics.mean(point["return"] for point in there.values()), cells))
    heads = (
        "learner",
        "robots in step",
        f"return at {steps:,} steps: mean ± deviation (seeds 0, 1, ...)",
        "s for them",
        f"return after {seconds:.0f} s",
        "steps in that time",
    )
    return markdown(heads, [cells for _, cells in sorted(rows, reverse=True)])


def plot(results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Return against steps, and against seconds of training: mean over the seeds, least and greatest as a band."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    both = figure.subplots(1, 2, sharey=True)
    for axes, axis, label in zip(both, ("steps", "seconds"), ("environment steps", "s of training"), strict=True):
        for algorithm, mine in by_algorithm(results).items():
            # The curves of one learner have their evaluations at the same steps, but not equally many.
            points = list(zip(*(line["curve"] for line in mine), strict=False))
            where = [statistics.mean(point[axis] for point in several) for several in points]
            returns = [[point["return"] for point in several] for several in points]
            (line,) = axes.plot(where, [statistics.mean(several) for several in returns], label=algorithm)
            band = ([min(several) for several in returns], [max(several) for several in returns])
            axes.fill_between(where, *band, color=line.get_color(), alpha=0.15, linewidth=0)
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    both[0].set_xscale("log")  # the learners from a replay make a fraction of the others' steps
    both[0].set_ylabel(f"return of {TASK} on {ROBOT}")
    figure.legend(*both[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    figure.savefig(path)


def main() -> int:
    """Reads the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--algorithm", nargs="+", choices=list(ALGORITHMS), default=list(ALGORITHMS), help="learners")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of everything, one training each")
    parser.add_argument("--steps", type=int, default=20_000, help="at which all are compared")
    parser.add_argument("--minutes", type=float, default=1.5, help="of training, after which all are compared")
    parser.add_argument("--evaluations", type=int, default=2_500, help="steps between two evaluations")
    parser.add_argument("--out", type=Path, default=Path("learners.jsonl"), help="results, appended to")
    parser.add_argument("--table", action="store_true", help="table and plot of what is there, train nothing")
    arguments = parser.parse_args()
    out, seconds = arguments.out, 60.0 * arguments.minutes
    out.parent.mkdir(parents=True, exist_ok=True)
    for seed in [] if arguments.table else arguments.seeds:
        for algorithm in arguments.algorithm:
            if any((line["algorithm"], line["seed"]) == (algorithm, seed) for line in read_lines(out)):
                continue
            folder = out.with_suffix("") / f"{algorithm}_s{seed}_{arguments.evaluations}"
            found = run_one(algorithm, seed, arguments.steps, seconds, arguments.evaluations, folder)
            with open(out, "a") as file:
                file.write(json.dumps(found) + "\n")
            shutil.rmtree(folder)
    print(table(read_lines(out), arguments.steps, seconds))
    plot(read_lines(out), out.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
