"""Films a policy at work, what the task measures written into the picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robot_rl.evaluation import FIRST_SEED, Act, evaluate
from robot_rl.make import make_camera, make_video

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robot_rl.env import RobotEnv

FRAME_RATE = 25.0
"""Most frames per second that are filmed."""
SMOOTHING = 0.15
"""Share by which a shown figure follows the newest one, so that a person can read it."""


def film(
    env: RobotEnv,
    act: Act,
    path: str | Path,
    seed: int = FIRST_SEED,
    goal: Sequence[float] | None = None,
    episodes: int = 1,
) -> None:
    """Films whole episodes in real time.

    Args:
        env: of a simulated robot.
        act: the policy.
        path: of the MP4 file.
        seed: of the first episode.
        goal: see `evaluate`.
        episodes: how many.
    """
    ticks = max(1, round(env.task.spec.control_rate / FRAME_RATE))
    video = make_video(path, env.task.spec.control_rate / ticks)
    camera = make_camera(env.robot)
    shown: dict[str, float] = {}
    tick = 0

    def watch(_episode: int) -> None:
        nonlocal tick
        if tick % ticks == 0:
            for name, value in env.task.measure(env.state, env.goal).items():
                new = float(np.mean(value))
                shown[name] = shown.get(name, new) + SMOOTHING * (new - shown.get(name, new))
            camera.lines = [(name.replace("_", " "), f"{value:+.2f}") for name, value in shown.items()]
            video.add(camera())
        tick += 1

    try:
        evaluate(env, act, episodes, seed, goal, watch)
        video.close()
    finally:
        video.discard()
        camera.close()
