"""Evaluation of a policy: whole episodes, the mode of the policy, the same starts every time."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium
import numpy as np

from robot_rl.algorithms.learner import Learner
from robot_rl.training.collector import Collector


def evaluate_policy(
    env: gymnasium.Env,
    act: Callable[[np.ndarray], np.ndarray],
    episodes: int,
    seed: int,
) -> dict[str, float]:
    """Plays whole episodes.

    Args:
        env: a single environment, not the one that training uses.
        act: maps an observation (O,) to an action (A,) in [-1, 1].
        episodes: how many.
        seed: of the first episode's start; the next ones follow on.

    Returns:
        Mean over the episodes of `return`, `length`, `terminated`, `reward_terms/<name>` and `safety/<name>`, and the
        spread of the return as `return_std`, `return_min`, `return_max`.
    """
    collector = Collector(env)
    for index in range(episodes):
        collector.restart(seed + index)
        while len(collector.finished) <= index:
            collector.step(np.asarray(act(collector.observation[0]), dtype=np.float32)[None])
    each = [episode.metrics() for episode in collector.take_finished()]
    names = sorted({name for metrics in each for name in metrics})
    result = {name: float(np.mean([m[name] for m in each if name in m])) for name in names}
    returns = [metrics["return"] for metrics in each]
    result |= {
        "return_std": float(np.std(returns)),
        "return_min": min(returns),
        "return_max": max(returns),
    }
    return result


def deterministic_evaluation(
    make_env: Callable[[], gymnasium.Env], episodes: int, seed: int = 10_000
) -> Callable[[Learner], dict[str, float]]:
    """An evaluation for `train`: the learner's mode in an environment of its own."""
    env: gymnasium.Env | None = None

    def evaluate(learner: Learner) -> dict[str, float]:
        nonlocal env
        env = env or make_env()
        return evaluate_policy(env, lambda observation: learner.act(observation, deterministic=True), episodes, seed)

    return evaluate
