"""Turning a valve by sight beside turning it by its measured angle: success against steps.

    python benchmarks/camera_valve.py                            # both, one seed: an hour
    python benchmarks/camera_valve.py --only camera --seeds 0 1 --out curves.json

Both learn the same task with soft actor-critic: one goal, the valve at any angle at the start. `state` observes the
valve's angle; `camera` a 32 x 32 picture from the palm, its critics the angle; `camera-alone` the picture, and so do
its critics. Every so many steps the mode of the policy plays episodes that training never sees; an episode succeeds
where the valve ends within 0.25 rad of the goal. The state-based recipe is the robot's own, but for its goal and for
what makes the three comparable: equal batches and updates per step, which --own-recipe leaves as they are.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from robot_rl.commands.config_files import layered, recipe
from robot_rl.commands.configuration import resolve
from robot_rl.commands.training_config import TrainingConfig
from robot_rl.evaluation import evaluate
from robot_rl.make import make_env
from robot_rl.settings import from_mapping
from robot_rl.training.files import replace_file, to_json
from robot_rl.training.trainer import TrainerSettings, train

KINDS = ("state", "camera", "camera-alone")


def configuration(kind: str, arguments: argparse.Namespace, seed: int) -> TrainingConfig:
    """The recipe of one kind, with what the command line changes."""
    camera = kind != "state"
    seeing = recipe("turn_valve", "dclaw", variants=["camera"])
    own = seeing if camera else recipe("turn_valve", "dclaw")
    shared = {name: seeing["trainer"][name] for name in ("batch_size", "updates_per_step")}
    trainer = {
        **({} if arguments.own_recipe else shared),
        "total_steps": arguments.steps,
        "evaluation_interval": arguments.every,
        "threads": 1,
    }
    given: dict[str, Any] = {
        "robot": "dclaw",
        "task": {"name": "turn_valve", **seeing.get("task", {})},
        "observation": {"camera": camera, "privileged": kind == "camera"},
        "trainer": trainer,
        "seed": seed,
    }
    if arguments.any_goal:
        given["task"].pop("goal", None)
        own = {key: value for key, value in own.items() if key != "task"}
    return resolve(layered(own, given), "benchmark")


def curve(kind: str, arguments: argparse.Namespace, seed: int) -> list[dict[str, float]]:
    """Trains once; a row an evaluation."""
    config = configuration(kind, arguments, seed)
    task = config.make_task()
    judged = make_env(config.spec(), task)
    rows: list[dict[str, float]] = []
    started = time.monotonic()

    def judge(learner: Any) -> dict[str, float]:
        # The mode draws no random number, so looking on changes nothing.
        def act(observation: Any) -> Any:
            row = judged.parts.rows(observation, 1)[0]
            return learner.act(row, deterministic=True)

        result = evaluate(judged, act, arguments.episodes)
        step = min(arguments.every * (len(rows) + 1), arguments.steps)
        row = {
            "step": step,
            "success": (result.successes or 0) / arguments.episodes,
            "return": result.summary()["return"],
            "final_angle_error_rad": result.mean("final_angle_error_rad"),
            "minutes": (time.monotonic() - started) / 60.0,
        }
        rows.append(row)
        figures = f"{row['success']:4.0%} within 0.25 rad, mean error {row['final_angle_error_rad']:.2f} rad"
        print(f"{kind:12s} seed {seed}  {step:7,d} steps  {figures}  return {row['return']:7.1f}", flush=True)
        return {}

    env = config.make_env(task)
    try:
        train(env, config.make_learner(), from_mapping(TrainerSettings, config.trainer, "trainer"), evaluate=judge)
    finally:
        env.close()
        judged.close()
    return rows


def main() -> None:
    """Trains each kind with each seed, in turns, and prints the curves as they grow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=["state", "camera"], help="what to train")
    parser.add_argument("--steps", type=int, default=30_000)
    parser.add_argument("--every", type=int, default=3_000, help="steps between evaluations")
    parser.add_argument("--episodes", type=int, default=20, help="of an evaluation")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--any-goal", action="store_true", help="another goal in every episode, not one for all")
    parser.add_argument("--own-recipe", action="store_true", help="the state-based recipe with its own batches")
    parser.add_argument("--out", help="JSON file for the curves, written anew after every run")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    curves: list[dict[str, Any]] = []
    for seed in arguments.seeds:
        for kind in arguments.only:
            curves.append({"kind": kind, "seed": seed, "curve": curve(kind, arguments, seed)})
            if arguments.out:
                replace_file(Path(arguments.out), to_json(curves))
    print(json.dumps(curves))


if __name__ == "__main__":
    main()
