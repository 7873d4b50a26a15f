"""How fast a learner learns here: updates on made-up transitions, and the least that their matrix products take."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from robot_rl.algorithms.learner import Learner
from robot_rl.training.replay import Replay


def machine() -> dict[str, str | int | float | None]:
    """What figures of speed depend on: processor, cores that this process may use, load."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = names[0] if names else name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    return {
        "processor": name,
        "cores": cores,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "load": load,
    }


def made_up_replay(observation_size: int, action_size: int, transitions: int = 20_000) -> Replay:
    """A replay of random transitions, one environment's, in episodes of 1,000 steps."""
    rng = np.random.default_rng(0)
    replay = Replay(transitions, observation_size, action_size)
    now = rng.standard_normal((1, observation_size), dtype=np.float32)
    for step in range(transitions):
        following = rng.standard_normal((1, observation_size), dtype=np.float32)
        action = rng.uniform(-1.0, 1.0, (1, action_size))
        replay.add(now, action, rng.standard_normal(1), following, np.zeros(1))
        now = following if step % 1000 else rng.standard_normal((1, observation_size), dtype=np.float32)
    return replay


def updates(learner: Learner, replay: Replay, batch_size: int = 256) -> Callable[[int], None]:
    """A function that makes so many updates, sampling included."""

    def run(count: int) -> None:
        for _ in range(count):
            learner.update(replay.sample(batch_size))

    return run


def products(
    observation_size: int, action_size: int, hidden: tuple[int, int] = (256, 256), batch_size: int = 256
) -> Callable[[int], None]:
    """A function that makes the matrix products of so many updates of SAC, and nothing else.

    No update can take less time on the same machine, as long as it is made of products of these shapes.
    """
    o, a, b, (h, k) = observation_size, action_size, batch_size, hidden
    actor = [(b, o, h), (b, h, k), (b, k, 2 * a)]
    critic = [(b, o + a, h), (b, h, k), (b, k, 1)]
    shapes = [
        *actor,  # a' ~ pi(.|s')
        *(2 * critic),  # target critics at (s', a')
        *(2 * critic),  # critics at (s, a), and the gradient of their loss by every weight
        *(2 * [(k, b, 1), (b, 1, k), (h, b, k), (b, k, h), (o + a, b, h)]),
        *actor,  # a ~ pi(.|s)
        *(2 * critic),  # critics at (s, a), and the slope of Q by a
        *(2 * [(b, 1, k), (b, k, h), (b, h, a)]),
        *[(k, b, 2 * a), (b, 2 * a, k), (h, b, k), (b, k, h), (o, b, h)],  # the gradient by every weight of the actor
    ]
    generator = torch.Generator().manual_seed(0)
    factors = [
        (
            torch.randn(n, m, generator=generator),
            torch.randn(m, p, generator=generator),
            torch.empty(n, p),
        )
        for n, m, p in shapes
    ]

    def run(count: int) -> None:
        for _ in range(count):
            for left, right, out in factors:
                torch.mm(left, right, out=out)

    return run


def seconds(run: Callable[[int], None], count: int) -> tuple[float, float]:
    """Wall time and processor time of this process's threads for `run(count)`, s."""
    wall, busy = time.perf_counter(), time.process_time()
    run(count)
    return time.perf_counter() - wall, time.process_time() - busy
