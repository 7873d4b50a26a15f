"""Films a policy at work, what the task measures written into the picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robot_rl.evaluation import FIRST_SEED, Act, evaluate
from robot_rl.make import make_camera, make_video

if TYPE_CHECKING:
    from robot_rl.env import RobotEnv
    from robot_rl.robot import Robot

FRAME_RATE = 25.0
"""Most frames per second that are filmed."""
SMOOTHING = 0.15
"""Share by which a shown figure follows the newest one, so that a person can read it."""


@contextmanager
def filming(path: str | Path, rate: float) -> Iterator[Callable[..., None]]:
    """Films a simulated robot in real time; the file is there when all has gone well, and else is not.

    Args:
        path: of the MP4 file.
        rate: control ticks per second.

    Yields:
        What to call after every tick with the robot, and if wanted with a function that gives the lines in the corner
        (`sim.render.Camera.lines`), which is called for every frame.
    """
    ticks = max(1, round(rate / FRAME_RATE))
    video, camera, tick = make_video(path, rate / ticks), None, 0

    def after_tick(robot: Robot, lines: Callable[[], Sequence[tuple[str, str]]] | None = None) -> None:
        nonlocal camera, tick
        camera = camera or make_camera(robot)
        if tick % ticks == 0:
            camera.lines = lines() if lines is not None else []
            video.add(camera())
        tick += 1

    try:
        yield after_tick
        video.close()
    finally:
        video.discard()
        if camera is not None:
            camera.close()


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
    shown: dict[str, float] = {}

    def lines() -> list[tuple[str, str]]:
        for name, value in env.task.measure(env.state, env.goal).items():
            new = float(np.mean(value))
            shown[name] = shown.get(name, new) + SMOOTHING * (new - shown.get(name, new))
        return [(name.replace("_", " "), f"{value:+.2f}") for name, value in shown.items()]

    with filming(path, env.task.spec.control_rate) as after_tick:
        evaluate(env, act, episodes, seed, goal, lambda _episode: after_tick(env.robot, lines))
