"""Runs of the dm_control suite, whose policies have no robot and so no policy file: they are evaluated from the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from robot_rl.commands.configuration import saved_config
from robot_rl.commands.exporting import find_checkpoint
from robot_rl.commands.output import print_json, relative, say, table
from robot_rl.commands.writing import make_ready
from robot_rl.errors import ConfigurationError
from robot_rl.evaluation import FIRST_SEED
from robot_rl.make import make_video, missing_package

ROBOTS_ONLY = ("robot", "sim", "seconds", "goal", "weights", "randomize")
"""Flags of `robot-rl evaluate` that mean nothing without a robot."""


def evaluate_command(values: Any) -> int:
    """`robot-rl evaluate RUN` for such a run; `values` are its flags."""
    given = [f"--{name}" for name in ROBOTS_ONLY if getattr(values, name) is not None]
    if given:
        raise ConfigurationError(f"{values.policy} is a run without a robot; not for it: {', '.join(given)}")
    folder = Path(values.policy)
    found = evaluate_checkpoint(folder, values.episodes, values.seed, values.video)
    if values.json:
        print_json({"run": relative(folder), **found})
    else:
        print(report_suite(found))
    return 0


def evaluate_checkpoint(
    folder: Path, episodes: int, seed: int = FIRST_SEED, video: str | None = None
) -> dict[str, Any]:
    """Plays whole episodes with the mode of the newest checkpoint's policy.

    Args:
        folder: of the run.
        episodes: how many.
        seed: of the first one's start; the next ones follow on.
        video: an MP4 file to film one more episode into.

    Returns:
        Figures over all episodes as JSON values.
    """
    config = saved_config(folder)
    try:
        from robot_rl.training.checkpoint import load_checkpoint
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    learner = config.make_learner()
    learner.load_state(load_checkpoint(find_checkpoint(folder, None)).part("learner"))
    if video:
        make_ready(video)
    say(f"{relative(folder)}: {episodes} episodes of {config.task}")
    env = config.make_suite_env("rgb_array" if video else None)
    returns, ended = [], 0
    try:
        for index in range(episodes):
            total, terminated = _play(env, learner, seed + index)
            returns.append(total)
            ended += terminated
        if video:
            say("filming")
            film = make_video(video, 1.0 / env.control_dt)
            try:
                _play(env, learner, seed, lambda: film.add(env.render()))
                film.close()
            finally:
                film.discard()
    finally:
        env.close()
    return {
        "task": config.task,
        "episodes": episodes,
        "return": float(np.mean(returns)),
        "return_std": float(np.std(returns)),
        "completed": episodes - ended,
        "each_return": returns,
        "video": relative(video) if video else None,
    }


def _play(env: Any, learner: Any, seed: int, watch: Any = None) -> tuple[float, bool]:
    """One episode: its return, and whether it ended before its time."""
    low, high = env.action_space.low, env.action_space.high
    observation, _ = env.reset(seed=seed)
    total, terminated, truncated = 0.0, False, False
    while not (terminated or truncated):
        if watch is not None:
            watch()
        # The learner's actions lie in [-1, 1].
        action = low + 0.5 * (learner.act(observation, deterministic=True) + 1.0) * (high - low)
        observation, reward, terminated, truncated, _ = env.step(action)
        total += reward
    return total, terminated


def report_suite(found: dict[str, Any]) -> str:
    """Lines for a person."""
    rows = [
        ("return", f"{found['return']:.1f} +- {found['return_std']:.1f}"),
        ("to the end", f"{found['completed']} of {found['episodes']} episodes"),
    ]
    if found["video"]:
        rows.append(("video", found["video"]))
    return f"{found['task']}, {found['episodes']} episodes\n{table(rows)}"
