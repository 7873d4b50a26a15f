"""The learner's process as the control loop sees it; see `robot_rl.training.learner_process` for what is in there."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from typing import Any

import numpy as np

from robot_rl.algorithms.learner import Learner
from robot_rl.errors import ConfigurationError, LearnerEnded
from robot_rl.training.collector import Episode, Transitions
from robot_rl.training.learner_process import actor_shape, learn
from robot_rl.training.link import Link
from robot_rl.training.numpy_actor import NumpyActor
from robot_rl.training.processes import signals_blocked
from robot_rl.training.real_time import RealTimeSettings
from robot_rl.training.rescue import save_rescued
from robot_rl.training.run import Run
from robot_rl.training.trainer import TrainerSettings

_LEAST_SLOTS = 8192
"""Transitions that the learner may be behind, at least: minutes at the rates of robots."""


class RemoteLearner:
    """Starts a learner, sends it what was lived through, gets its weights, and notices its death.

    Attributes:
        link: what both share.
        actor: the newest policy here.
        step: transitions so far, over all resumptions.
    """

    def __init__(
        self,
        make_learner: Callable[[], Learner],
        sizes: tuple[int, int],
        settings: TrainerSettings,
        real_time: RealTimeSettings,
        run: Run,
    ) -> None:
        """Reserves the memory; `start` comes next.

        Args:
            make_learner: something that another process can be given: a function of a module, or a method of what can
                be pickled.
            sizes: of observation and action.
            settings: of the trainer.
            real_time: see `RealTimeSettings`.
            run: where the learner keeps everything.

        Raises:
            ConfigurationError: the learner has other sizes, or an actor that the control loop cannot compute.
        """
        shape = actor_shape(make_learner())
        if sizes != (shape.observation_size, shape.action_size):
            raise ConfigurationError(
                f"the environment has {sizes[0]} observations and {sizes[1]} actions, the learner was made for "
                f"{shape.observation_size} and {shape.action_size}"
            )
        # One node of ROS brings a dozen threads, and a fork would copy their locks but not them.
        context = multiprocessing.get_context("spawn")
        self.link = Link(shape, max(_LEAST_SLOTS, 2 * settings.checkpoint_interval), context)
        self.step = 0
        self._first_step = 0
        self._run = run
        self._seed = settings.seed
        self._version = 0
        self._connection, theirs = context.Pipe()
        arguments = (self.link, theirs, make_learner, settings, real_time, run.path)
        # A daemon: should this program end by an error, the learner is asked to save and end, not waited for.
        self._process = context.Process(target=learn, args=arguments, name="learner", daemon=True)
        self._theirs = theirs

    def start(self) -> None:
        """Starts the process and waits until it has read the run.

        Raises:
            LearnerEnded: it did not come up; says why.
        """
        with signals_blocked():
            self._process.start()
        # Closed here, so that its end is the learner's end alone: reading from a dead learner is then an error.
        self._theirs.close()
        self.step = self._first_step = self._hear()["step"]
        found = self.link.weights.read()
        assert found is not None
        flat, self._version = found
        seed = int(np.random.SeedSequence([self._seed, self.step, 1]).generate_state(1)[0])
        self.actor = NumpyActor(self.link.shape, flat, seed)

    def check(self) -> None:
        """Costs some microseconds.

        Raises:
            LearnerEnded: it died, or ended for a reason of its own.
        """
        if self._connection.poll():
            self._hear()

    def refresh(self) -> None:
        """Takes the newest weights, where there are newer ones."""
        found = self.link.weights.read(self._version)
        if found is not None:
            flat, self._version = found
            self.actor.load(flat)

    def send(self, rows: Transitions, late: float) -> None:
        """Hands over a transition.

        Raises:
            LearnerEnded: it has not taken any for minutes.
        """
        if not self.link.send(rows, late):
            raise LearnerEnded(
                f"the learner is {self.link.transitions.slots} transitions behind and takes no more; it hangs"
            )
        self.step += 1

    def send_episode(self, episode: Episode) -> None:
        """Tells its log of an episode."""
        self.link.send_episode(episode)

    def finish(self) -> dict[str, Any]:
        """Lets the learner take what is left, save and end; waits for it, and returns the counts of the run.

        Raises:
            LearnerEnded: it died instead.
        """
        self.link.finish()
        if self._process.pid is None:
            return {"steps": 0, "updates": 0, "interrupted": True, "wall_time": 0.0, "metrics": {}}
        try:
            while (found := self._hear())["kind"] != "done":
                pass  # it was still starting
        except KeyboardInterrupt:
            self.rescue()
            raise
        self._process.join()
        return {name: value for name, value in found.items() if name != "kind"}

    def rescue(self) -> int:
        """Saves the transitions that a dead learner did not; returns how many.

        Raises:
            StorageError: the disk is full or not writable.
        """
        self._process.kill()
        self._process.join()
        link = self.link
        rows = link.transitions.kept(link.saved)
        if len(rows):
            first = self._first_step + int(rows["number"][0])
            save_rescued(self._run.path, first, rows, link.robot_time, link.falls)
        return len(rows)

    def _hear(self) -> dict[str, Any]:
        """Waits for what the learner says."""
        try:
            said = self._connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            raise LearnerEnded(f"the learner's process has died{_how(self._process.exitcode)}") from None
        if said["kind"] == "error":
            error = LearnerEnded(said["text"])
            error.exit_code = said["exit_code"]
            raise error
        if said["kind"] == "done" and not self.link.finishing and said["interrupted"]:
            raise LearnerEnded("the learner's process was told to end; it has saved everything")
        return said


def _how(code: int | None) -> str:
    if code is None or code >= 0:
        return f", exit code {code}; its last words are above"
    return f", killed by {signal.Signals(-code).name}"
