"""Skills learn from each other's experience: every transition, paid by each skill's own weights of the reward's terms.

A composition asks each skill what it thinks of actions that another one would take, and of the states where these lead.
A skill that was trained alone has hardly seen them. Where the skills weigh the same terms of the reward, the others'
replay tells it, without a step in the world: the reward of skill i for a transition of skill j is

    r_i(s, a, s') = sum_k weight_ik value_k(s, a, s')

with the values of the terms that the replay keeps. The skills' learners are off-policy, so they go on as in training,
from batches that hold as many transitions of each replay.

Source: the reuse of data between skills in Haarnoja et al. 2018 (arXiv 1803.06773).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from robot_rl.algorithms.learner import Batch
from robot_rl.errors import ConfigurationError
from robot_rl.task import Task


class KeepsTerms(Protocol):
    """A replay; see `robot_rl.training.replay.Replay`."""

    terms: tuple[str, ...]

    def sample(self, batch_size: int, weights: np.ndarray | None = None) -> Batch:
        """Transitions, with the reward by other weights of the terms."""
        ...


class Learns(Protocol):
    """A learner that may learn from anybody's transitions."""

    def update(self, batch: Batch, metrics: bool = False) -> dict[str, float]:
        """Learns from a batch."""
        ...


def check_sharing(names: Sequence[str], tasks: Sequence[Task], replays: Sequence[KeepsTerms | None]) -> None:
    """Refuses skills that cannot learn from each other's experience.

    Raises:
        ConfigurationError: a replay is missing or keeps no terms, or the skills' rewards have different terms.
    """
    for name, task, replay in zip(names, tasks, replays, strict=True):
        if replay is None:
            raise ConfigurationError(f"skills share their replay, and {name!r} has none")
        if not replay.terms:
            raise ConfigurationError(
                f"skills share what the terms of the reward were worth, which the replay of {name!r} does not hold; "
                "train it with trainer.keep_terms, in simulation"
            )
        if task.name != tasks[0].name or set(task.terms) != set(tasks[0].terms):
            raise ConfigurationError(
                f"skills share experience where they weigh the same terms of one task; {names[0]!r} has "
                f"{tasks[0].name}: {', '.join(tasks[0].terms)}; {name!r} has {task.name}: {', '.join(task.terms)}"
            )


def paid_to_all(tasks: Sequence[Task], replays: Sequence[KeepsTerms]) -> Callable[[int], Batch]:
    """Draws transitions from all replays in equal parts, with the reward of every task side by side, (B, N).

    Args:
        tasks: N of them, whose weights pay.
        replays: see `check_sharing`.
    """
    paid = [np.stack([_weights(task, replay) for task in tasks], axis=1) for replay in replays]  # (T, N) each

    return lambda count: from_all(replays, count, paid)


def from_all(
    replays: Sequence[KeepsTerms], count: int, paid: Sequence[np.ndarray] | None = None
) -> Batch:
    """At least `count` transitions, equally many of each replay.

    Args:
        replays: of the skills.
        count: of transitions.
        paid: weights of the terms that each replay keeps; None for the rewards that were paid.
    """
    portion = -(-count // len(replays))
    tables = [None] * len(replays) if paid is None else paid
    parts = [vars(replay.sample(portion, table)) for replay, table in zip(replays, tables, strict=True)]
    return Batch(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def _weights(task: Task, replay: KeepsTerms) -> np.ndarray:
    """Of the terms that a replay keeps, (T,)."""
    return np.array([task.terms[name].weight for name in replay.terms])


def share(
    learners: Sequence[Learns],
    tasks: Sequence[Task],
    replays: Sequence[KeepsTerms],
    updates: int,
    batch_size: int = 256,
    progress: Callable[[int, Mapping[str, Any]], None] = lambda _update, _metrics: None,
) -> None:
    """Updates every skill's learner, in place, from the experience of all.

    Args:
        learners: of the skills, as their training left them.
        tasks: whose weights pay each of them.
        replays: of the skills; see `check_sharing`.
        updates: of each learner.
        batch_size: transitions of an update, equally many of each replay.
        progress: called with the number of the update and the first learner's metrics.
    """
    weights = [[_weights(task, replay) for replay in replays] for task in tasks]
    for update in range(updates):
        told = update % 500 == 0 or update == updates - 1
        for learner, own in zip(learners, weights, strict=True):
            metrics = learner.update(from_all(replays, batch_size, own), metrics=told)
            if told and learner is learners[0]:
                progress(update, metrics)
