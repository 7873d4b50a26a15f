"""Evaluation of a policy in an environment: whole episodes, measured by the task."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import RobotFault

if TYPE_CHECKING:
    from robot_rl.env import RobotEnv

Array = NDArray[np.floating]
Act = Callable[[Array], Array]
"""Maps an observation (O,) to an action (A,) in [-1, 1]."""

FIRST_SEED = 10_000
"""Of the first evaluation episode, away from the small numbers that people seed training with."""


@dataclass(frozen=True)
class EpisodeResult:
    """One episode."""

    seed: int
    goal: tuple[float, ...]
    """In the units of the task's goal labels."""
    seconds: float
    """Of robot time."""
    reward: float
    """Sum over the episode; 0 where a fault ended it."""
    ended_early: bool
    """The task ended or the supervisor stopped the robot, for a walking robot: it fell; or a fault ended it."""
    success: bool | None
    """As the task defines it, and not ended early; None where the task has no such notion, or a fault ended it."""
    figures: dict[str, float]
    """The task's own, in SI; none where a fault ended the episode."""
    safety: dict[str, int]
    """Ticks on which each check failed."""
    randomization: dict[str, float] = field(default_factory=dict)
    """What was drawn for the episode, by name; empty for a robot that is always the same."""
    fault: str = ""
    """Of the robot, or a simulation that diverged, where that ended the episode."""


@dataclass(frozen=True)
class Evaluation:
    """Several episodes."""

    episodes: tuple[EpisodeResult, ...]
    latency: dict[str, float]
    """Seconds from observation to action: p50, p99, max."""

    @property
    def completed(self) -> int:
        """Episodes that ran to their time limit."""
        return sum(not episode.ended_early for episode in self.episodes)

    @property
    def successes(self) -> int | None:
        """Episodes that the task counts as a success; None where it has no such notion."""
        known = [episode.success for episode in self.episodes if episode.success is not None]
        return sum(known) if known else None

    @property
    def faults(self) -> int:
        """Episodes that a fault ended."""
        return sum(bool(episode.fault) for episode in self.episodes)

    def mean(self, name: str) -> float:
        """Mean of one of the task's figures over the episodes that no fault ended."""
        return float(np.mean([episode.figures[name] for episode in self.episodes if not episode.fault]))

    def summary(self) -> dict[str, Any]:
        """Figures over all episodes."""
        rewards = [episode.reward for episode in self.episodes]
        names = next((episode.figures for episode in self.episodes if not episode.fault), {})
        safety = sorted({name for episode in self.episodes for name in episode.safety})
        return {
            "episodes": len(self.episodes),
            "return": float(np.mean(rewards)),
            "return_std": float(np.std(rewards)),
            "completed": self.completed,
            "successes": self.successes,
            "figures": {name: self.mean(name) for name in names},
            "safety": {name: sum(episode.safety.get(name, 0) for episode in self.episodes) for name in safety},
            "latency_s": self.latency,
        }

    def to_dict(self) -> dict[str, Any]:
        """The summary and every episode, as JSON values."""
        return {**self.summary(), "each_episode": [asdict(episode) for episode in self.episodes]}


def evaluate(
    env: RobotEnv,
    act: Act,
    episodes: int = 10,
    seed: int = FIRST_SEED,
    goal: Sequence[float] | None = None,
    watch: Callable[[int], None] | None = None,
    faults_fail: bool = False,
) -> Evaluation:
    """Plays whole episodes and measures them.

    Args:
        env: a single environment.
        act: the policy.
        episodes: how many, at least 1.
        seed: of the first episode; the next ones follow on.
        goal: the same for every episode; sampled by the task by default.
        watch: called with the episode's number after the reset and after every tick, to film.
        faults_fail: whether an episode that a fault ends counts as failed, for a simulation that may diverge.

    Raises:
        RobotFault: the robot's, or a simulation's that diverged, unless `faults_fail`.
    """
    results, latencies = [], []
    for index in range(episodes):
        options = None if goal is None else {"goal": goal}
        observation, started_with = env.reset(seed=seed + index, options=options)
        if watch:
            watch(index)
        total, measured, fault = 0.0, [], ""
        safety: dict[str, int] = {}
        terminated = truncated = False
        while not (terminated or truncated):
            started = time.perf_counter()
            action = act(observation)
            latencies.append(time.perf_counter() - started)
            try:
                observation, reward, terminated, truncated, info = env.step(action)
            except RobotFault as error:
                if not faults_fail:
                    raise
                fault = str(error)
                break
            total += reward
            for name in info["safety"]:
                safety[name] = safety.get(name, 0) + 1
            measured.append(env.task.measure(env.state, env.goal))
            if watch:
                watch(index)
        if fault:
            result = _failed(env, seed + index, safety, len(measured), fault)
        else:
            result = _result(env, seed + index, total, terminated, safety, measured)
        results.append(replace(result, randomization=dict(started_with.get("randomization", {}))))
    p50, p99, longest = np.quantile(latencies, [0.5, 0.99, 1.0])
    return Evaluation(tuple(results), {"p50": float(p50), "p99": float(p99), "max": float(longest)})


def _result(
    env: RobotEnv, seed: int, total: float, terminated: bool, safety: dict[str, int], measured: list[dict[str, Array]]
) -> EpisodeResult:
    steps = {name: np.array([tick[name] for tick in measured]) for name in measured[0]}
    success = env.task.success(steps) if steps else None
    return EpisodeResult(
        seed=seed,
        goal=tuple(float(value) for value in env.goal),
        seconds=len(measured) * env.task.spec.control_dt,
        reward=float(total),
        ended_early=bool(terminated),
        success=None if success is None else success and not (terminated and env.task.end_is_failure),
        figures=env.task.summarise(steps) if steps else {},
        safety=dict(safety),
    )


def _failed(env: RobotEnv, seed: int, safety: dict[str, int], ticks: int, fault: str) -> EpisodeResult:
    """An episode that a fault ended: what numbers that ran away have earned or measured says nothing."""
    return EpisodeResult(
        seed=seed,
        goal=tuple(float(value) for value in env.goal),
        seconds=ticks * env.task.spec.control_dt,
        reward=0.0,
        ended_early=True,
        success=None,
        figures={},
        safety=dict(safety),
        fault=fault,
    )
