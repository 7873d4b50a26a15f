"""Training in real time: the control loop, in whose process nothing is learnt, so that no tick waits for a gradient.

Any Gymnasium environment will do whose `step` returns at the next tick, as `RobotEnv` on a robot's does. What happens
to the robot comes first everywhere: whatever ends the loop (Ctrl-C, a fault, the learner's death), the robot is
stopped before anything is saved.
"""

from __future__ import annotations

import contextlib
import gc
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np

from robot_rl.algorithms.learner import Learner
from robot_rl.errors import HelpNeeded, LearnerEnded, RobotTimeout
from robot_rl.training.collector import Collector, Episode
from robot_rl.training.real_time import RealTimeSettings
from robot_rl.training.remote_learner import RemoteLearner
from robot_rl.training.run import Run
from robot_rl.training.trainer import TrainerSettings, TrainingResult

_PAUSE_TICK = 0.05
"""s between two looks whether a pause is over."""
_SILENCE = 10.0
"""s that a robot may be silent; then training ends. A gap cuts an episode short, no more."""


class EpisodeCollector(Collector):
    """One environment whose next episode begins when `begin` is called, not by itself.

    Attributes:
        late: s by which the last tick was late; 0 where the environment does not say.
    """

    late = 0.0

    def begin(self) -> None:
        """Begins an episode; the one before is cut short if it has not ended."""
        observation, _ = self.env.reset()
        self._check_finite("observation", observation)
        self.observation = np.array(observation, dtype=np.float32).reshape(1, -1)
        self._episodes = [Episode()]

    def _follow(
        self, ended: np.ndarray, observation: np.ndarray, info: Mapping[str, Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        return observation, observation

    def _account(
        self, real: np.ndarray, reward: np.ndarray, terminated: np.ndarray, ended: np.ndarray, info: Mapping[str, Any]
    ) -> None:
        super()._account(real, reward, terminated, ended, info)
        self.late = float(info.get("late", 0.0))


class ControlLoop:
    """Acts in an environment with the newest weights there are, until a limit is reached."""

    def __init__(
        self,
        collector: EpisodeCollector,
        learner: RemoteLearner,
        settings: TrainerSettings,
        real_time: RealTimeSettings,
        stop: Callable[[], None],
        paused: Callable[[], bool],
        ask: Callable[[str, Callable[[], None]], None],
        say: Callable[[str], None],
    ) -> None:
        """See `train_in_real_time`; the learner has started."""
        self._collector, self._learner = collector, learner
        self._settings, self._real_time = settings, real_time
        self._stop, self._paused, self._ask, self._say = stop, paused, ask, say
        self._silence: tuple[float, RobotTimeout] | None = None
        seed = np.random.SeedSequence([settings.seed, learner.step])
        reset_seed, action_seed = seed.generate_state(2)
        self._actions = np.random.default_rng(int(action_seed))
        collector.env.unwrapped.np_random = np.random.default_rng(int(reset_seed))  # type: ignore[union-attr]
        self._counted = 0.0

    def run(self) -> str:
        """Acts until a limit is reached; returns which."""
        gc.collect()
        # What is there now stays: later collections, between episodes, need not look through all of torch.
        gc.freeze()
        gc.disable()
        self._counted = time.monotonic()
        try:
            while not (reason := self._limit()):
                if self._paused():
                    self._wait()
                    continue
                gc.collect()
                self._begin()
                try:
                    self._play()
                except RobotTimeout as error:
                    self._fall_silent(error, "this episode ends here")
            return reason
        finally:
            self._count_time()
            gc.enable()
            gc.unfreeze()

    def _limit(self) -> str:
        """Why training ends here; empty while it goes on."""
        link, real_time = self._learner.link, self._real_time
        if self._learner.step >= self._settings.total_steps:
            return "all steps are made"
        if real_time.max_falls is not None and link.falls >= real_time.max_falls:
            return f"the limit of {real_time.max_falls} falls is reached"
        if real_time.max_minutes is not None and link.robot_time >= 60.0 * real_time.max_minutes:
            return f"the limit of {real_time.max_minutes:g} minutes with the robot is reached"
        return ""

    def _count_time(self) -> None:
        now = time.monotonic()
        self._learner.link.robot_time += now - self._counted
        self._counted = now

    def _wait(self) -> None:
        """A pause: the robot stands still, the learner goes on learning."""
        self._count_time()
        self._stop()
        while self._paused():
            self._learner.check()
            time.sleep(_PAUSE_TICK)
        self._counted = time.monotonic()

    def _begin(self) -> None:
        """Brings the robot to the start of an episode, with a person's help where it needs that."""
        while True:
            try:
                self._collector.begin()
                self._silence = None
                return
            except RobotTimeout as error:
                since, first = self._silence or self._fall_silent(error, "waiting until it is back")
                silent = time.monotonic() - since
                if silent > _SILENCE:
                    raise RobotTimeout(f"{first}; after {silent:.0f} s it is not back: {error}") from error
                self._learner.check()
                time.sleep(_PAUSE_TICK)
            except HelpNeeded as error:
                self._silence = None
                self._count_time()
                self._stop()
                self._ask(str(error), self._learner.check)
                self._counted = time.monotonic()

    def _fall_silent(self, error: RobotTimeout, consequence: str) -> tuple[float, RobotTimeout]:
        """The robot cannot be heard: from now on its silence counts."""
        self._stop()
        self._silence = (time.monotonic(), error)
        self._say(f"{error}; {consequence}")
        return self._silence

    def _play(self) -> None:
        """One episode, or as much of it as limits and pauses leave."""
        collector, learner = self._collector, self._learner
        while not collector.finished:
            learner.check()
            learner.refresh()
            rows = collector.step(self._action())
            learner.send(rows, collector.late)
            self._count_time()
            if self._limit() or self._paused():
                break
        for episode in collector.take_finished():
            learner.link.falls += episode.terminated
            learner.send_episode(episode)
            if episode.terminated:
                self._stop()

    def _action(self) -> np.ndarray:
        """In [-1, 1], (1, A)."""
        if self._learner.step < self._settings.start_steps:
            return self._actions.uniform(-1.0, 1.0, (1, self._collector.action_size)).astype(np.float32)
        return self._learner.actor.act(self._collector.observation[0])[None]


def train_in_real_time(
    env: gymnasium.Env,
    make_learner: Callable[[], Learner],
    settings: TrainerSettings,
    real_time: RealTimeSettings,
    run: Run,
    *,
    stop: Callable[[], None] = lambda: None,
    paused: Callable[[], bool] = lambda: False,
    ask: Callable[[str, Callable[[], None]], None] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> TrainingResult:
    """Trains on an environment that waits for nobody; continues from the run's newest checkpoint if it has one.

    Args:
        env: its `step` returns at the next tick; `info["late"]`, where there is one, tells by how many s it was late.
        make_learner: made for the sizes of `env`; called in the learner's process, so it must be picklable.
        settings: of the trainer; `updates_per_step` is an upper bound, and nothing is evaluated.
        real_time: limits, and what counts as late.
        run: where everything is kept.
        stop: makes the robot safe; called whenever the loop does not command it.
        paused: whether training shall stand still.
        ask: asks a person for help and returns when it was given; gets what to say, and something to call now and then
            while waiting. None refuses.
        say: for lines to a person.

    Returns:
        How it ended; interrupted after Ctrl-C or SIGTERM.

    Raises:
        RobotFault: the robot stopped, or was silent for longer than a moment; everything is saved.
        LearnerEnded: the learner's process died; the transitions that it had not saved are.
    """
    collector = EpisodeCollector(env)
    sizes = (collector.observation_size, collector.action_size)
    learner = RemoteLearner(make_learner, sizes, settings, real_time, run)
    interrupted = False
    try:
        with interruptible():
            try:
                learner.start()
                if learner.step:
                    say(f"resumed at step {learner.step}")
                loop = ControlLoop(collector, learner, settings, real_time, stop, paused, ask or _refuse, say)
                say(f"training ends: {loop.run()}")
            finally:
                stop()
    except KeyboardInterrupt:
        interrupted = True
        say("interrupted: the robot is stopped, the learner saves; once more to leave at once")
    except LearnerEnded as error:
        raise _without_learner(error, learner) from error
    except BaseException:
        learner.finish()
        raise
    try:
        with interruptible():
            found = learner.finish()
    except LearnerEnded as error:
        raise _without_learner(error, learner) from error
    return TrainingResult(**{**found, "interrupted": interrupted})


def _without_learner(error: LearnerEnded, learner: RemoteLearner) -> LearnerEnded:
    """Saves what the learner did not; what to say of both."""
    kept = learner.rescue()
    ended = LearnerEnded(f"{error}; the robot is stopped, {kept} transitions since the last checkpoint are kept")
    ended.exit_code = error.exit_code
    return ended


def _refuse(request: str, check: Callable[[], None]) -> None:
    raise HelpNeeded(request)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and Ctrl-C raise KeyboardInterrupt at once, also where the shell began us with Ctrl-C ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
