"""Training steps per second with simulation and learning in turns, and with each in a process of its own.

    python benchmarks/pipeline.py
    python benchmarks/pipeline.py --environment go2 dclaw-camera --threads 1 2 --rounds 20 --results pipeline.jsonl

Both train the same learner in the same environment. They take turns of some hundred steps, so what else the machine
does slows both alike, and the ratio, taken turn by turn, holds still; while one has its turn the other waits. In turns
torch gets each of `--threads`, in the pipeline too, so with two threads on two cores simulation and learning share one.

`acting` and `learning` are the milliseconds that a step takes in each part when they take turns; no pipeline can be
faster than the longer one, and `at best` is that ratio.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from robot_rl.threads import wait_briefly  # noqa: E402

wait_briefly()  # as `robot-rl train` does

import gymnasium  # noqa: E402
import torch  # noqa: E402

from robot_rl.make import (  # noqa: E402
    load_randomization,
    make_env,
    make_learner,
    make_suite_env,
    make_task,
    make_vector_env,
)
from robot_rl.training.chunk_trainer import ChunkTrainer  # noqa: E402
from robot_rl.training.memory import keep_freed_memory  # noqa: E402
from robot_rl.training.pipeline import Pipeline  # noqa: E402
from robot_rl.training.run import versions  # noqa: E402
from robot_rl.training.speed import machine  # noqa: E402
from robot_rl.training.trainer import Trainer, TrainerSettings  # noqa: E402

ENVIRONMENTS = ("go2", "go2-mild", "go2-8", "dclaw-camera", "HalfCheetah-v5", "dm_control/cheetah-run")


def environment(name: str) -> Any:
    """Go2 walking: plain, randomised, eight in step; a hand that sees; one of Gymnasium; one of the suite."""
    if name == "go2-8":
        return make_vector_env("go2", "walk", 8)
    if name.startswith("go2"):
        randomization = load_randomization("mild", "go2") if name == "go2-mild" else None
        return make_env("go2", "walk", randomization=randomization)
    if name == "dclaw-camera":
        return make_env("dclaw", make_task("turn_valve", "dclaw", observation={"camera": True}))
    return make_suite_env(name) if name.startswith("dm_control/") else gymnasium.make(name)


def learner(name: str) -> Any:
    """SAC as it stands, for that environment."""
    if name.startswith("go2"):
        return make_learner("sac", make_task("walk", "go2"), {}, 0)
    if name == "dclaw-camera":
        task = make_task("turn_valve", "dclaw", observation={"camera": True})
        return make_learner("sac", task, {}, 0, None, {})
    env = environment(name)
    try:
        return make_learner("sac", env, {}, 0)
    finally:
        env.close()


def turn(trainer: Trainer, steps: int, threads: int) -> dict[str, float]:
    """Some steps of training: steps/s, and ms a step of each part."""
    torch.set_num_threads(threads)
    spent = {"collecting": 0.0, "learning": 0.0}
    first = trainer.step
    while trainer.step < first + steps:
        start = time.perf_counter()
        trainer._collect()
        middle = time.perf_counter()
        trainer._update(metrics=False)
        spent["collecting"] += middle - start
        spent["learning"] += time.perf_counter() - middle
    count = trainer.step - first
    return {"steps_per_second": count / sum(spent.values()), **{name: 1e3 * s / count for name, s in spent.items()}}


def measure(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """Turns of both, for every number of threads."""
    settings = TrainerSettings(
        start_steps=500, updates_per_step=given.updates_per_step, chunk_ticks=given.chunk_ticks, replay_capacity=100_000
    )
    make: Callable[[], Any] = partial(environment, name)
    pipeline = Pipeline(make, partial(learner, name), settings)
    env = make()
    try:
        apart = ChunkTrainer(pipeline, learner(name), dataclasses.replace(settings, pipeline=True))
        trainers = {"in turns": Trainer(env, learner(name), settings), "pipeline": apart}
        for trainer in trainers.values():
            trainer.collector.restart(0)
            turn(trainer, settings.start_steps + 50, given.threads[0])
        found: dict[str, Any] = {}
        for _ in range(given.rounds):
            for threads in given.threads:
                for kind, trainer in trainers.items():
                    for figure, value in turn(trainer, given.steps, threads).items():
                        found.setdefault(f"{kind}, {threads} threads", {}).setdefault(figure, []).append(value)
        ages = apart._ages
    finally:
        pipeline.close()
        env.close()
    return {"environment": name, "rows": found, "weights_age": {"mean": float(np.mean(ages)), "max": max(ages)}}


def report(found: dict[str, Any]) -> str:
    """A table: every row beside the quickest one in turns."""
    rows = {name: {f: np.array(v) for f, v in figures.items()} for name, figures in found["rows"].items()}
    turns = {name: figures for name, figures in rows.items() if name.startswith("in turns")}
    best = max(turns, key=lambda name: float(np.median(turns[name]["steps_per_second"])))
    lines = [f"{found['environment']}, acting weights {found['weights_age']['mean']:.0f} steps old on average"]
    lines += [f"| | steps/s | x {best} | acting, ms | learning, ms | at best |", "|---|---|---|---|---|---|"]
    for name, figures in rows.items():
        ratio = figures["steps_per_second"] / rows[best]["steps_per_second"]
        cells = [name, spread(figures["steps_per_second"], "{:.0f}"), spread(ratio, "{:.2f}")]
        if name in turns:
            acting, learning = (float(np.median(figures[part])) for part in ("collecting", "learning"))
            cells += [f"{acting:.2f}", f"{learning:.2f}", f"{(acting + learning) / max(acting, learning):.2f}"]
        else:
            cells += ["", f"{float(np.median(figures['learning'])):.2f}", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spread(values: np.ndarray, form: str) -> str:
    """Median and quartiles."""
    low, middle, high = (form.format(value) for value in np.percentile(values, [25, 50, 75]))
    return f"{middle} ({low} to {high})"


def main() -> None:
    """Measures, prints, appends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", nargs="+", choices=ENVIRONMENTS, default=["go2", "go2-mild"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="of torch")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each")
    parser.add_argument("--steps", type=int, default=200, help="in a turn")
    parser.add_argument("--updates-per-step", type=float, default=1.0)
    parser.add_argument("--chunk-ticks", type=int, default=16)
    parser.add_argument("--results", type=Path, metavar="FILE.jsonl", help="append a line of JSON for each")
    given = parser.parse_args()
    keep_freed_memory()
    here = machine()
    print(f"{here['processor']}, {here['cores']} cores, {here['instructions']}, load {here['load']}")
    for name in given.environment:
        found = measure(name, given)
        print(f"\n{report(found)}", flush=True)
        if given.results:
            about = {"machine": machine(), "given": {k: v for k, v in vars(given).items() if k != "results"}}
            with given.results.open("a") as file:
                file.write(json.dumps({**about, **found, "versions": versions()}) + "\n")


if __name__ == "__main__":
    main()
