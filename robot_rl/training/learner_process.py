"""The learner in a process of its own: it owns replay, checkpoints and metrics, and never makes a control loop wait.

Transitions come and weights go through shared memory (`Link`). When the control loop dies, the learner takes what is
still there, saves and ends. It knows nothing of robots: `make_learner` is all that is told to it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

from robot_rl.algorithms.actors import DeterministicActor
from robot_rl.algorithms.learner import Learner
from robot_rl.algorithms.networks import Actor
from robot_rl.errors import ConfigurationError, RobotRLError, StorageError
from robot_rl.training.link import Link
from robot_rl.training.memory import keep_freed_memory
from robot_rl.training.metrics import MetricsLog
from robot_rl.training.numpy_actor import ActorShape
from robot_rl.training.real_time import RealTimeSettings
from robot_rl.training.rescue import load_rescued, remove_rescued
from robot_rl.training.run import Run
from robot_rl.training.state import State
from robot_rl.training.trainer import Trainer, TrainerSettings

_UPDATES_AT_ONCE = 8
"""Before the learner looks again for transitions, and for the end."""
_ROWS_AT_ONCE = 1024
_NAP = 0.002
"""s to wait where there is nothing to do."""
_LOCK_TIMEOUT = 60.0
"""s to wait for the learner of a run that was killed a moment ago; it may still be saving."""


def actor_shape(learner: Learner) -> ActorShape:
    """Everything about a learner's actor but its weights.

    Raises:
        ConfigurationError: its actor is not of the kind that the control loop can compute.
    """
    actor, normalizer = learner.actor, learner.normalizer
    if not isinstance(actor, Actor | DeterministicActor):
        raise ConfigurationError(
            f"{type(learner).__name__} does not train in real time with an actor of kind {type(actor).__name__}, which "
            "the control loop cannot compute; those that do: ddpg, sac (not residual), sac_value, td3"
        )
    hidden = tuple(int(layer.bias.numel()) for layer in actor.hidden)  # type: ignore[operator, union-attr]
    sizes = (learner.observation_size, learner.action_size, hidden)
    if isinstance(actor, DeterministicActor):
        return ActorShape(*sizes, 0.0, 0.0, normalizer.clip, exploration_noise=actor.noise)
    return ActorShape(*sizes, actor.log_std_min, actor.log_std_max, normalizer.clip)


def flat_weights(learner: Learner) -> np.ndarray:
    """Normaliser and actor as one vector, as `NumpyActor.load` takes it."""
    actor, normalizer = learner.actor, learner.normalizer
    assert isinstance(actor, Actor | DeterministicActor)
    layers = [*actor.hidden, actor.head]
    with torch.no_grad():
        tensors = [tensor.numpy().ravel() for layer in layers for tensor in (layer.weight, layer.bias)]
    return np.concatenate([normalizer.offset, normalizer.scale, *tensors])


class Arrivals:
    """The `Source` of transitions that another process collects; it keeps their counts and marks.

    Attributes:
        late_steps: numbers of the transitions whose tick was late.
    """

    def __init__(self, link: Link) -> None:
        """Args: link: to the process that collects."""
        self._link = link
        self.observation_size, self.action_size = link.shape.observation_size, link.shape.action_size
        self.late_steps: list[int] = []

    count = 1
    at_start = False
    has_snapshots = True
    """A checkpoint cuts no episode short: the environment is elsewhere."""

    def restart(self, seed: int) -> None:
        """Nothing: the other process begins its episodes itself."""

    def state(self) -> State:
        """Counts and marks."""
        values = {"robot_time": self._link.robot_time, "falls": self._link.falls}
        return State(arrays={"late_steps": np.array(self.late_steps, dtype=np.int64)}, values=values)

    def load_state(self, state: State, seed: int) -> None:
        """Goes on counting."""
        self.late_steps = state.arrays["late_steps"].tolist()
        self._link.robot_time, self._link.falls = state.values["robot_time"], state.values["falls"]


class RealTimeTrainer(Trainer):
    """The loop of a trainer whose transitions come when they come.

    `updates_per_step` is an upper bound: a learner that is too slow for it makes fewer, and none is made up for at the
    end.
    """

    def __init__(
        self,
        link: Link,
        learner: Learner,
        settings: TrainerSettings,
        real_time: RealTimeSettings,
        run: Run,
        ready: Callable[[int], None],
    ) -> None:
        """Makes the loop.

        Args:
            link: to the process that collects.
            learner: made for its sizes.
            settings: of the loop; it is not evaluated here.
            real_time: see `RealTimeSettings`.
            run: where to keep everything.
            ready: told the step to go on from, when the first weights are there.
        """
        self._arrivals = Arrivals(link)
        super().__init__(self._arrivals, learner, dataclasses.replace(settings, evaluation_interval=0), run)
        self._link = link
        self._real_time = real_time
        self._ready = ready
        self._folder = run.path
        self._finished = False
        self._rescued = False
        self._lateness: list[float] = []

    def _is_last(self) -> bool:
        return self._finished or super()._is_last()

    def _collect(self) -> None:
        # Asked before the last look: what was sent before the end was declared must not be left behind.
        ending = self._link.finishing or not _parent_is_alive()
        rows = self._link.transitions.pull(_ROWS_AT_ONCE)
        if len(rows):
            self._take(rows)
        self._episodes += self._link.take_episodes()
        self._finished = ending and len(rows) < _ROWS_AT_ONCE
        if not len(rows) and not self._finished and self._due() == 0:
            time.sleep(_NAP)

    def _take(self, rows: np.ndarray) -> None:
        late = rows["late"] > self._real_time.late_after  # (k,)
        self._arrivals.late_steps += (self.step + np.flatnonzero(late)).tolist()
        self._lateness += rows["late"].tolist()
        self.step += len(rows)
        kept = rows if self._real_time.keep_late else rows[~late]
        if not len(kept):
            return
        self.learner.normalizer.observe(kept["observation"])
        names = ("observation", "action", "reward", "next_observation", "terminated")
        self.replay.add(*(kept[name] for name in names))

    def _due(self) -> int:
        return min(max(0, super()._due()), _UPDATES_AT_ONCE) if len(self.replay) else 0

    def _update(self, metrics: bool) -> dict[str, float]:
        before = self.updates
        found = super()._update(metrics)
        if self.updates > before:
            self._link.weights.write(flat_weights(self.learner))
        return found

    def _own_metrics(self) -> dict[str, float]:
        late = np.array(self._lateness)
        self._lateness = []
        trained = self.step - self.settings.start_steps
        found = {
            "real_time/updates_per_step": self.updates / trained if trained > 0 else 0.0,
            "real_time/waiting": float(self._link.transitions.written - self._link.transitions.read),
            "real_time/robot_time": self._link.robot_time,
            "real_time/falls": float(self._link.falls),
        }
        if len(late):
            found["real_time/late_share"] = float(np.mean(late > self._real_time.late_after))
            found["real_time/late_max"] = float(late.max())
        return found

    def _resume(self) -> int:
        size = super()._resume()
        self._take_rescued()
        self._link.weights.write(flat_weights(self.learner))
        if not self._rescued:
            self._ready(self.step)
        return size

    def _take_rescued(self) -> None:
        """Transitions that the control loop saved when the learner before this one had died."""
        rescued = load_rescued(self._folder)
        if rescued is None:
            return
        known = self.step - int(rescued["first_step"])
        count = len(rescued["reward"])
        if known < 0:
            raise StorageError(f"run {self._folder}: transitions before step {int(rescued['first_step'])} are missing")
        parts = {name: array for name, array in rescued.items() if array.ndim}
        fields = [(name, array.dtype, array.shape[1:]) for name, array in parts.items()]
        rows = np.zeros(max(0, count - known), dtype=fields)
        for name, array in parts.items():
            rows[name] = array[known:]
        if len(rows):
            self._take(rows)
            self._link.robot_time, self._link.falls = float(rescued["robot_time"]), int(rescued["falls"])
            self._rescued = True

    def _checkpoint_due(self) -> bool:
        return self._rescued or super()._checkpoint_due()

    def _write_checkpoint(self, log: MetricsLog) -> None:
        super()._write_checkpoint(log)
        self._link.saved = self._link.transitions.read
        remove_rescued(self._folder)
        if self._rescued:
            # Only now may new transitions come: the next rescue would take the place of this one.
            self._rescued = False
            self._ready(self.step)


def learn(
    link: Link,
    connection: Connection,
    make_learner: Callable[[], Learner],
    settings: TrainerSettings,
    real_time: RealTimeSettings,
    folder: Path,
) -> None:
    """The learner's process from its beginning to its end.

    Args:
        link: to the control loop.
        connection: on which to say `ready`, and at the end `done` or `error`.
        make_learner: called here.
        settings: of the loop.
        real_time: see `RealTimeSettings`.
        folder: of the run.
    """
    # Ctrl-C is for the control loop, which stops the robot before it tells us; SIGTERM is a wish to save and end.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    settings = dataclasses.replace(settings, threads=settings.threads or 1)
    code = 0
    try:
        with _only_learner(folder):
            torch.set_num_threads(settings.threads)
            keep_freed_memory()

            def ready(step: int) -> None:
                # Not before: until then the robot stands still, and the sooner the learner is there the better.
                _stand_back(real_time.learner_niceness)
                connection.send({"kind": "ready", "step": step})

            trainer = RealTimeTrainer(link, make_learner(), settings, real_time, Run.open(folder), ready)
            result = trainer.train()
            if not _parent_is_alive():
                print(f"the control loop has died; all is saved, at step {result.steps}", file=sys.stderr, flush=True)
                return
            connection.send({"kind": "done", **dataclasses.asdict(result)})
    except RobotRLError as error:
        code = error.exit_code
        connection.send({"kind": "error", "text": str(error), "exit_code": code})
    except BrokenPipeError:
        pass  # the control loop died in this very moment; everything is saved
    sys.exit(code)


def _parent_is_alive() -> bool:
    parent = multiprocessing.parent_process()
    return parent is None or parent.is_alive()


def _stand_back(niceness: int) -> None:
    """Lets the control loop run first wherever both want one core."""
    os.nice(niceness)
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


@contextlib.contextmanager
def _only_learner(folder: Path) -> Iterator[None]:
    """Waits until no other learner has this run."""
    deadline = time.monotonic() + _LOCK_TIMEOUT
    with open(folder / "learner.lock", "w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise ConfigurationError(f"run {folder} is being trained by another process") from None
                time.sleep(0.1)
        yield
