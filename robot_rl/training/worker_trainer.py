"""The training loop of asynchronous learners: many processes act and learn at once, this one keeps the books.

The workers run by themselves up to the next step at which something is due (a line of metrics, an evaluation, a
checkpoint) and come to rest there. So a checkpoint holds every worker at one moment, and an evaluation one policy. With
one worker a resumed run goes on bit for bit; with several it goes on from the same state, but who comes first is up to
the operating system.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from multiprocessing.connection import wait
from typing import Any

import numpy as np

from robot_rl.algorithms.a3c import A3C
from robot_rl.algorithms.learner import Learner
from robot_rl.errors import ConfigurationError, StorageError, WorkerEnded
from robot_rl.training.collector import Environment
from robot_rl.training.loop import TrainerSettings, TrainingLoop, TrainingResult
from robot_rl.training.metrics import as_json, from_json, mean_metrics
from robot_rl.training.normalizer import Normalizer
from robot_rl.training.processes import RemoteObject, clean_context
from robot_rl.training.run import Run
from robot_rl.training.state import State
from robot_rl.training.worker import Shared, Worker

_LOOK = 0.1
"""s between two looks for Ctrl-C while the workers run."""


def workers_of(learner: Learner) -> int:
    """How many worker processes a learner wants; 0 for those that learn in the trainer's own."""
    return learner.settings.workers if isinstance(learner, A3C) else 0


def train_with_workers(
    make_env: Callable[[], Environment],
    make_learner: Callable[[], Learner],
    settings: TrainerSettings,
    run: Run | None = None,
    evaluate: Callable[[Learner], dict[str, float]] | None = None,
) -> TrainingResult:
    """As `robot_rl.training.trainer.train`, with environments and copies of the learner in processes of their own.

    Args:
        make_env: makes one worker's environment; something that another process can be given, such as a function of a
            module.
        make_learner: makes the learner, the same every time; likewise.
        settings: of the loop.
        run: see `train`.
        evaluate: see `train`.

    Raises:
        ConfigurationError: the learner wants no workers.
        WorkerEnded: a worker died; the newest checkpoint can be resumed.
    """
    learner = make_learner()
    if not isinstance(learner, A3C) or workers_of(learner) < 1:
        raise ConfigurationError(f"{type(learner).__name__} has no workers; train it with robot_rl.training.trainer")
    workers = Workers(make_env, make_learner, learner, settings.seed)
    try:
        return WorkerTrainer(workers, learner, settings, run, evaluate).train()
    finally:
        workers.close()


class Workers:
    """The `Source` of a trainer whose steps are made, and learnt from, by other processes."""

    def __init__(
        self,
        make_env: Callable[[], Environment],
        make_learner: Callable[[], Learner],
        learner: A3C,
        seed: int,
    ) -> None:
        """Starts the processes.

        Args:
            make_env: see `train_with_workers`.
            make_learner: see `train_with_workers`.
            learner: whose parameters are shared; made by `make_learner`.
            seed: of the run.
        """
        self.observation_size, self.action_size = learner.observation_size, learner.action_size
        context = clean_context()
        self.steps = context.Value("q", 0)
        self._stop = context.Event()
        # Kept: a semaphore that nobody here holds any more is gone before a worker has found it.
        self._shared = shared = Shared(learner.share(), context.Lock(), self.steps, self._stop)
        self._places: list[dict[str, Any]] = []
        self._ended: WorkerEnded | None = None
        self._workers = [
            RemoteObject(f"worker {index}", Worker, (index, shared, make_env, make_learner, seed))
            for index in range(workers_of(learner))
        ]

    @property
    def count(self) -> int:
        """How many environments there are, one for each worker."""
        return len(self._workers)

    @property
    def at_start(self) -> bool:
        """Whether every environment stands at the start of an episode."""
        return all(place["at_start"] for place in self._places)

    @property
    def has_snapshots(self) -> bool:
        """Whether every environment can be saved in the middle of an episode."""
        return all(place["has_snapshots"] for place in self._places)

    def restart(self, seed: int) -> None:
        """New episodes everywhere."""
        self._places = self._ask("restart", [(own,) for own in self._seeds(seed)])

    def run(self, until: int, normalizer: Normalizer, stop: threading.Event) -> list[dict[str, Any]]:
        """Lets all act and learn; see `Worker.run`. `stop` is asked all the time."""
        self._stop.clear()
        self._places = self._ask("run", [(until, normalizer.state())] * len(self._workers), stop)
        return self._places

    def state(self) -> State:
        """Every worker's own."""
        states = self._ask("state", [()] * len(self._workers))
        return State.join({str(index): state for index, state in enumerate(states)})

    def load_state(self, state: State, seed: int) -> None:
        """Goes on from `state`.

        Raises:
            StorageError: it is of another number of workers.
        """
        parts = [state.part(str(index)) for index in range(len(self._workers) + 1)]
        if not all(part.arrays for part in parts[:-1]) or parts[-1].arrays:
            raise StorageError(f"the checkpoint was not made with {len(self._workers)} workers")
        self._places = self._ask("load_state", list(zip(parts[:-1], self._seeds(seed), strict=True)))

    def _seeds(self, seed: int) -> list[int]:
        return [int(number) for number in np.random.SeedSequence(seed).generate_state(len(self._workers))]

    def _ask(self, name: str, arguments: list[Any], stop: threading.Event | None = None) -> list[Any]:
        """Asks every worker the same thing, each with its own arguments, and waits for all answers.

        Once one has ended, what it said last is raised again: there is no whole answer any more, and the others may
        have answers under way to what they were asked before.
        """
        if self._ended is not None:
            raise self._ended
        for worker, own in zip(self._workers, arguments, strict=True):
            worker.ask(name, *own)
        answers: dict[int, Any] = {}
        while len(answers) < len(self._workers):
            if stop is not None and stop.is_set():
                self._stop.set()
            waiting = {one.connection: index for index, one in enumerate(self._workers) if index not in answers}
            for ready in wait(list(waiting), _LOOK):
                index = waiting[ready]  # type: ignore[index]
                try:
                    answers[index] = self._workers[index].hear()
                except WorkerEnded as error:
                    self._ended = error
                    raise
        return [answers[index] for index in range(len(answers))]

    def close(self) -> None:
        """Ends all processes; those that are in the middle of something are not waited for long."""
        self._stop.set()
        for worker in self._workers:
            worker.disconnect()
        for worker in self._workers:
            worker.close()


class WorkerTrainer(TrainingLoop):
    """Keeps the books of workers that act and learn by themselves."""

    collector: Workers

    def __init__(
        self,
        workers: Workers,
        learner: A3C,
        settings: TrainerSettings,
        run: Run | None = None,
        evaluate: Callable[[Learner], dict[str, float]] | None = None,
    ) -> None:
        """See `train_with_workers`; `learner` is the one that the workers share."""
        super().__init__(workers, learner, settings, run, evaluate)
        self._learnt: list[dict[str, float]] = []

    def _collect(self) -> None:
        answers = self.collector.run(self._next_due(), self.learner.normalizer, self._stop)
        self.step = self.collector.steps.value
        self.updates += sum(answer["updates"] for answer in answers)
        self._learnt += [answer["metrics"] for answer in answers]
        for answer in answers:
            self._note(answer["episodes"])
            seen = Normalizer.running_statistics(self.learner.observation_size)
            seen.load_state(answer["seen"])
            self.learner.normalizer.merge(seen)

    def _next_due(self) -> int:
        """The next step at which something is to be done here."""
        settings = self.settings
        intervals = [settings.log_interval, settings.checkpoint_interval]
        if self.evaluate is not None:
            intervals.append(settings.evaluation_interval)
        return min(settings.total_steps, *((self.step // interval + 1) * interval for interval in intervals))

    def _update(self, metrics: bool) -> dict[str, float]:
        if not metrics:
            return {}
        found, self._learnt = mean_metrics(self._learnt), []
        return found

    def _own_values(self) -> dict[str, Any]:
        return {"learnt": [as_json(metrics) for metrics in self._learnt]}

    def _experience(self) -> dict[str, State]:
        return {}

    def _load_experience(self, saved: State) -> None:
        self.collector.steps.value = self.step
        self._learnt = [from_json(metrics) for metrics in saved.part("trainer").values["learnt"]]
