"""One worker of an asynchronous learner: a process with an environment of its own and the parameters of all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.synchronize import Event, Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robot_rl.algorithms.a3c import A3C
from robot_rl.algorithms.rollout import Rollout
from robot_rl.errors import ConfigurationError
from robot_rl.training.collector import Collector, Environment
from robot_rl.training.metrics import mean_metrics
from robot_rl.training.normalizer import Normalizer
from robot_rl.training.rollout_trainer import collect
from robot_rl.training.state import State


@dataclass(frozen=True)
class Shared:
    """What the workers have in common."""

    tensors: Mapping[str, Tensor]
    """Of the learner, in shared memory."""
    lock: Lock
    """Held while they, or the count, are read or written."""
    steps: Any
    """Steps of all workers so far, a shared whole number."""
    stop: Event
    """Set when all should come to rest after the rollout that they are in."""


class Worker:
    """Answers to what the trainer asks, one thing after another."""

    def __init__(
        self,
        index: int,
        shared: Shared,
        make_env: Callable[[], Environment],
        make_learner: Callable[[], A3C],
        seed: int,
    ) -> None:
        """Makes the worker in its process.

        Args:
            index: which of the workers.
            shared: see `Shared`.
            make_env: called here.
            make_learner: called here.
            seed: of the run.
        """
        self._shared = shared
        self._collector = Collector(make_env())
        home = make_learner()
        home.adopt(shared.tensors, shared.lock)
        self._learner = make_learner()
        self._learner.work_for(home, int(np.random.SeedSequence([seed, index]).generate_state(1)[0]))
        found = (self._collector.observation_size, self._collector.action_size)
        needed = (home.observation_size, home.action_size)
        if found != needed:
            raise ConfigurationError(
                f"the environment has {found[0]} observations and {found[1]} actions, the learner was made for "
                f"{needed[0]} and {needed[1]}"
            )

    def restart(self, seed: int) -> dict[str, Any]:
        """New episodes from `seed`."""
        self._collector.restart(seed)
        return self._place()

    def run(self, until: int, normalizer: State) -> dict[str, Any]:
        """Acts and learns until all workers together have made `until` steps, or should stop.

        Args:
            until: steps.
            normalizer: as it is, for all workers and all this time.
        """
        learner, shared = self._learner, self._shared
        learner.normalizer.load_state(normalizer)
        learner.normalizer.running = False
        seen = Normalizer.running_statistics(learner.observation_size)
        learnt = []
        while shared.steps.value < until and not shared.stop.is_set():
            learner.refresh()
            rollout = Rollout(learner.observation_size, learner.action_size)
            while len(rollout) < learner.rollout_steps:
                _, steps = collect(self._collector, learner)
                rollout.add(steps)
            learnt.append(learner.update(rollout.steps(), metrics=True))
            seen.observe(rollout.steps().observation)
            with shared.lock:
                shared.steps.value += len(rollout)
        return {
            **self._place(),
            "updates": len(learnt),
            "metrics": mean_metrics(learnt),
            "episodes": self._collector.take_finished(),
            "seen": seen.state(),
        }

    def state(self) -> State:
        """What this worker alone knows: its environment and its random numbers."""
        own = State(arrays={"generator": self._learner._generator.get_state().numpy().copy()})
        return State.join({"collector": self._collector.state(), "own": own})

    def load_state(self, state: State, seed: int) -> dict[str, Any]:
        """Goes on from `state`; an environment without snapshots starts afresh from `seed`."""
        self._learner._generator.set_state(torch.from_numpy(state.part("own").arrays["generator"]))
        self._collector.load_state(state.part("collector"), seed)
        return self._place()

    def close(self) -> None:
        """Closes the environment."""
        self._collector.env.close()

    def _place(self) -> dict[str, Any]:
        return {"at_start": self._collector.at_start, "has_snapshots": self._collector.has_snapshots}
