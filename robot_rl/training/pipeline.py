"""The pipeline: a process of its own simulates the next chunk while this one learns from the last.

    simulation    chunk 0 | chunk 1 | chunk 2 | chunk 3 | ...
    learning                chunk 0 | chunk 1 | chunk 2 | ...

The order for a chunk goes out when the one before it has arrived, so the weights that act in it have learnt from all
chunks but that one: at its first step they are one chunk old, at its last two. Who is quicker changes nothing of this,
so a run depends on its seed alone; and a checkpoint waits for the chunk in the making and holds it too, so a resumed
run goes on bit for bit.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from robot_rl.algorithms.learner import Learner
from robot_rl.errors import StorageError, WorkerEnded
from robot_rl.training.chunk_trainer import ChunkTrainer
from robot_rl.training.collector import Environment
from robot_rl.training.loop import TrainerSettings, TrainingResult
from robot_rl.training.processes import RemoteObject
from robot_rl.training.rollout_worker import Chunk, Order, RolloutWorker, Workplace, check_takes_others_steps
from robot_rl.training.run import Run
from robot_rl.training.state import State


def train_in_pipeline(
    make_env: Callable[[], Environment],
    make_learner: Callable[[], Learner],
    settings: TrainerSettings,
    run: Run | None = None,
    evaluate: Callable[[Learner], dict[str, float]] | None = None,
) -> TrainingResult:
    """As `robot_rl.training.trainer.train`, with the environment in a process of its own.

    Args:
        make_env: makes the environment, or several in step; something that another process can be given, such as a
            function of a module.
        make_learner: makes the learner, the same every time; likewise.
        settings: of the loop; `threads` 0 leaves one core to the simulation.
        run: see `train`.
        evaluate: see `train`.

    Raises:
        ConfigurationError: the learner has no replay, or as for `train`.
        WorkerEnded: the process that simulates died or went wrong; after a checkpoint.
    """
    learner = make_learner()
    check_takes_others_steps(learner)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    settings = dataclasses.replace(settings, threads=settings.threads or max(1, cores - 1))
    pipeline = Pipeline(make_env, make_learner, settings)
    try:
        return ChunkTrainer(pipeline, learner, settings, run, evaluate).train()
    finally:
        pipeline.close()


class Pipeline:
    """The `ChunkSource` of one worker in another process on this machine.

    Attributes:
        place: what the worker acts in.
        has_snapshots: whether its environment can be saved in the middle of an episode; no longer once it is gone.
    """

    def __init__(
        self,
        make_env: Callable[[], Environment],
        make_learner: Callable[[], Learner],
        settings: TrainerSettings,
    ) -> None:
        """Starts the process.

        Args: see `train_in_pipeline`.

        Raises:
            WorkerEnded: the environment cannot be made there; says why.
        """
        seed = int(np.random.SeedSequence([settings.seed, 2]).generate_state(1)[0])
        arguments = (make_env, make_learner, seed, settings.keep_terms)
        self._worker = RemoteObject("simulation", RolloutWorker, arguments)
        self._in_making = False
        self._waiting: Chunk | None = None
        self._at_start = self.has_snapshots = self._lost = False
        try:
            self.place: Workplace = self._asked("workplace")
        except BaseException:
            self.close()
            raise
        self.observation_size, self.action_size = self.place.observation_size, self.place.action_size
        self.parts, self.terms = self.place.parts, self.place.terms

    @property
    def count(self) -> int:
        """See `Source`."""
        return self.place.count

    @property
    def at_start(self) -> bool:
        """Whether the environments stand at the start of their episodes, and no chunk is in the making."""
        return self._at_start and not self._in_making

    def exchange(self, order: Callable[[int], Order], rest: bool) -> Chunk:
        """See `ChunkSource`."""
        if self._waiting is None and not self._in_making:
            self._send(order(0))
        chunk, self._waiting = self._waiting or self._arrival(), None
        if not (rest and self._at_start):
            self._send(order(len(chunk.rows.reward)))
        return chunk

    def metrics(self) -> dict[str, float]:
        """Nothing besides."""
        return {}

    def restart(self, seed: int) -> None:
        """New episodes from `seed`."""
        self._stand(self._asked("restart", seed))

    def state(self) -> State:
        """The worker's own, and the chunk that it was making, for which this waits."""
        if self._in_making:
            self._waiting = self._arrival()
        parts = {"about": State(values={"lost": self._lost})}
        if not self._lost:
            parts["worker"] = self._asked("state")
        if self._waiting is not None:
            parts["chunk"] = self._waiting.state()
        return State.join(parts)

    def load_state(self, state: State, seed: int) -> None:
        """Goes on from `state`; from `seed` where the worker of that state had died.

        Raises:
            StorageError: it is not that of a pipeline.
        """
        about = state.part("about").values
        if "lost" not in about:
            raise StorageError("the checkpoint was made without a pipeline; resume with trainer.pipeline false")
        self._waiting = Chunk.of_state(state.part("chunk"))
        if about["lost"]:
            self.restart(seed)
        else:
            self._stand(self._asked("load_state", state.part("worker"), seed))

    def close(self) -> None:
        """Ends the process."""
        self._worker.close()

    def _send(self, order: Order) -> None:
        self._worker.ask("roll_out", order)
        self._in_making = True

    def _arrival(self) -> Chunk:
        chunk: Chunk = self._heard()
        self._in_making = False
        self._at_start = chunk.at_start
        chunk.check(self.place, "the simulation")
        return chunk

    def _asked(self, method: str, *arguments: Any) -> Any:
        self._worker.ask(method, *arguments)
        return self._heard()

    def _heard(self) -> Any:
        try:
            return self._worker.hear()
        except WorkerEnded:
            # What it was making is lost, and there is nobody to ask for a snapshot.
            self._lost, self._in_making, self.has_snapshots = True, False, False
            raise

    def _stand(self, standing: dict[str, bool]) -> None:
        self._at_start, self.has_snapshots = standing["at_start"], standing["has_snapshots"]
