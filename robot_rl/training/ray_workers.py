"""Many workers on Ray roll out for one learner, on this machine or on many.

Each worker holds one order at a time. The learner takes chunks in the order in which they arrive, learns from them as
from a pipeline's, and gives whoever was quickest the next order with the weights as they are. So nobody waits for the
slowest, and how old the weights are that act depends on who is quick: `rollout/weights_age` in the metrics says it.

A worker that dies is replaced, and its chunk is lost. Checkpoints hold the learner and its replay, not the workers:
after resuming, all of them begin new episodes, so a resumed run is not the same bit for bit.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np

from robot_rl.algorithms.learner import Learner
from robot_rl.errors import ConfigurationError, InvalidInput, WorkerEnded
from robot_rl.training.chunk_trainer import ChunkTrainer
from robot_rl.training.collector import Environment
from robot_rl.training.loop import TrainerSettings, TrainingResult
from robot_rl.training.ray_cluster import connected
from robot_rl.training.rollout_worker import Chunk, Order, RolloutWorker, Workplace, check_takes_others_steps
from robot_rl.training.run import Run
from robot_rl.training.state import State

_SILENCE = 30.0
"""s without a chunk after which that is said."""
_DEATHS_IN_A_ROW = 3
"""Of workers, without a chunk between them, after which there is no point in starting another one."""


@dataclass(frozen=True)
class RaySettings:
    """Of training with workers on Ray."""

    workers: int = 0
    """Workers that roll out, each with an environment of its own (or `robots` copies in step); 0 for none."""
    address: str | None = None
    """Of a running cluster, as Ray takes it: auto, or HOST:PORT of its head; null starts Ray on this machine alone."""
    cpus_per_worker: float = 1.0
    """Processors that Ray sets aside for each worker."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        if self.workers < 0:
            raise ConfigurationError(f"ray: workers must be zero or more, got {self.workers}")
        if not self.cpus_per_worker > 0:
            raise ConfigurationError(f"ray: cpus_per_worker must be positive, got {self.cpus_per_worker}")


def train_on_ray(
    make_env: Callable[[], Environment],
    make_learner: Callable[[], Learner],
    settings: TrainerSettings,
    ray_settings: RaySettings,
    run: Run | None = None,
    evaluate: Callable[[Learner], dict[str, float]] | None = None,
) -> TrainingResult:
    """As `robot_rl.training.trainer.train`, with environments wherever Ray has room for them.

    Args:
        make_env: makes one worker's environment; something that another machine can be given, such as a function of a
            module that is installed there too.
        make_learner: makes the learner, the same every time; likewise.
        settings: of the loop.
        ray_settings: where, and how many.
        run: see `train`.
        evaluate: see `train`; here, not there.

    Raises:
        ConfigurationError: the learner has no replay, Ray is not installed or not reached, or as for `train`.
        WorkerEnded: workers die as soon as they start, or an environment went wrong; after a checkpoint.
    """
    learner = make_learner()
    check_takes_others_steps(learner)
    cpus = max(1, round(ray_settings.workers * ray_settings.cpus_per_worker + 0.5))
    with connected(ray_settings.address, cpus) as ray:
        workers = RayWorkers(ray, make_env, make_learner, settings, ray_settings)
        try:
            return ChunkTrainer(workers, learner, settings, run, evaluate).train()
        finally:
            workers.close()


class RayWorkers:
    """The `ChunkSource` of workers on Ray.

    Attributes:
        place: what each worker acts in.
        has_snapshots: True, as a checkpoint cuts no episode short; False once there is nobody to go on with.
        lost: workers that died, over all resumptions.
    """

    at_start = False

    def __init__(
        self,
        ray: ModuleType,
        make_env: Callable[[], Environment],
        make_learner: Callable[[], Learner],
        settings: TrainerSettings,
        ray_settings: RaySettings,
    ) -> None:
        """Starts the workers and waits for the first one.

        Args:
            ray: connected.
            make_env: see `train_on_ray`.
            make_learner: see `train_on_ray`.
            settings: of the loop.
            ray_settings: see `RaySettings`.

        Raises:
            ConfigurationError: there is no worker to start.
            WorkerEnded: it cannot be made there; says why.
        """
        if ray_settings.workers < 1:
            raise ConfigurationError(f"ray: workers must be at least 1 to train with, got {ray_settings.workers}")
        self._ray = ray
        # Ray would start a dead worker anew by itself, without a seed and an order; so it is told not to.
        options = {"num_cpus": ray_settings.cpus_per_worker, "max_restarts": 0, "scheduling_strategy": "SPREAD"}
        self._class = ray.remote(**options)(RolloutWorker)
        self._arguments = (make_env, make_learner)
        self._settings = settings
        self.has_snapshots = True
        self.lost = 0
        self._deaths = 0
        self._started = 0
        self._seed = settings.seed
        self._pending: dict[Any, int] = {}  # what will be answered, and by whom, oldest first
        self._workers = [self._start() for _ in range(ray_settings.workers)]
        self._idle: list[int] = []  # who is up and has no order
        wanted = ray_settings.workers * ray_settings.cpus_per_worker
        if (there := ray.cluster_resources().get("CPU", 0.0)) < wanted:
            _say(f"{ray_settings.workers} workers want {wanted:g} processors, Ray has {there:g}: some have to wait")
        self.place: Workplace = self._first_answer()
        self.observation_size, self.action_size = self.place.observation_size, self.place.action_size
        self.parts, self.terms = self.place.parts, self.place.terms

    @property
    def count(self) -> int:
        """See `Source`."""
        return len(self._workers) * self.place.count

    def exchange(self, order: Callable[[int], Order], rest: bool) -> Chunk:
        """See `ChunkSource`; the chunk of whoever was quickest."""
        chunk, index = None, -1
        while chunk is None:
            self._order_idle(order, 0)
            chunk, index = self._arrival()
        self._deaths = 0
        self._idle.append(index)
        self._order_idle(order, len(chunk.rows.reward))
        return chunk

    def metrics(self) -> dict[str, float]:
        """How many workers there are, and how many died."""
        return {"rollout/workers": float(len(self._workers)), "rollout/workers_lost": float(self.lost)}

    def restart(self, seed: int) -> None:
        """New episodes everywhere, from `seed`."""
        self._seed = seed
        self._pending = {self._begins(index): index for index in range(len(self._workers))}
        self._idle = []

    def state(self) -> State:
        """The count of those that died; nothing of the environments."""
        return State(values={"lost": self.lost, "started": self._started})

    def load_state(self, state: State, seed: int) -> None:
        """Goes on counting, with new episodes."""
        self.lost = state.values.get("lost", 0)
        self._started += state.values.get("started", 0)
        self.restart(seed)

    def close(self) -> None:
        """Ends the workers."""
        for worker in self._workers:
            self._ray.kill(worker)

    def _start(self) -> Any:
        """A worker; `_begins` tells it how to explore."""
        self._started += 1
        return self._class.remote(*self._arguments, self._settings.seed, self._settings.keep_terms)

    def _begins(self, index: int) -> Any:
        """Lets a worker begin episodes that no other one has, and explore so; what it will answer, once it is up."""
        # Here and not in `_start`: a resumed run knows only now how many were started before.
        seeds = np.random.SeedSequence([self._seed, index, self._started]).generate_state(2)
        return self._workers[index].restart.remote(*map(int, seeds))

    def _order_idle(self, order: Callable[[int], Order], counted: int) -> None:
        for index in self._idle:
            ahead = counted + len(self._pending) * self._settings.chunk_ticks * self.place.count
            self._pending[self._workers[index].roll_out.remote(order(ahead))] = index
        self._idle = []

    def _arrival(self) -> tuple[Chunk | None, int]:
        """The next chunk and whose it is; None where that one has only come up, or has died and is replaced."""
        since = time.monotonic()
        while not (ready := self._ray.wait(list(self._pending), num_returns=1, timeout=_SILENCE)[0]):
            resources = self._ray.available_resources().get("CPU", 0.0)
            _say(f"no chunk for {time.monotonic() - since:.0f} s; Ray has {resources:g} processors free")
        index = self._pending.pop(ready[0])
        try:
            chunk = self._ray.get(ready[0])
            if not isinstance(chunk, Chunk):
                self._idle.append(index)
                return None, index
            chunk.check(self.place, f"worker {index}")
        except self._ray.exceptions.RayActorError as error:
            self._replace(index, error)
            return None, index
        except (self._ray.exceptions.RayTaskError, InvalidInput) as error:
            raise self._ended(index, error) from error
        # So that the replay tells one worker's pictures from another's. What Ray hands over is read-only.
        which = chunk.rows.environment + index * self.place.count
        return replace(chunk, rows=replace(chunk.rows, environment=which)), index

    def _replace(self, index: int, error: Exception) -> None:
        self.lost += 1
        self._deaths += 1
        reason = str(error).strip().splitlines()[0]
        if self._deaths >= _DEATHS_IN_A_ROW * len(self._workers):
            raise self._ended(index, error)
        _say(f"worker {index} has died and is replaced; its chunk is lost ({reason})")
        self._workers[index] = self._start()
        # It gets its order when it is up, and so by weights that are new then.
        self._pending[self._begins(index)] = index

    def _first_answer(self) -> Workplace:
        asked = {worker.workplace.remote(): index for index, worker in enumerate(self._workers)}
        while not (ready := self._ray.wait(list(asked), num_returns=1, timeout=_SILENCE)[0]):
            _say("waiting for Ray to start a worker")
        try:
            return self._ray.get(ready[0])
        except self._ray.exceptions.RayError as error:
            raise self._ended(asked[ready[0]], error) from error

    def _ended(self, index: int, error: Exception) -> WorkerEnded:
        """What a worker said last, as an error; from here on nothing can be saved but the learner."""
        self.has_snapshots = False
        cause = getattr(error, "cause", None) or error
        ended = WorkerEnded(f"worker {index}: {' '.join(str(cause).split())}")
        ended.exit_code = getattr(cause, "exit_code", ended.exit_code)
        return ended


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
