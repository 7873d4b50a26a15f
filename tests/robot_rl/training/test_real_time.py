"""Training in real time: what the learner does with what arrives, and two real processes on good and bad days."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from robot_rl.algorithms.sac import SAC, SACSettings
from robot_rl.errors import ConfigurationError, HelpNeeded, LearnerEnded, RobotFault, RobotTimeout, StorageError
from robot_rl.training import control_loop
from robot_rl.training.checkpoint import latest_checkpoint, load_checkpoint, load_values
from robot_rl.training.control_loop import train_in_real_time
from robot_rl.training.learner_process import RealTimeTrainer, actor_shape
from robot_rl.training.link import Link
from robot_rl.training.real_time import RealTimeSettings
from robot_rl.training.rescue import FILE, save_rescued
from robot_rl.training.run import Run
from robot_rl.training.trainer import TrainerSettings

SPAWN = multiprocessing.get_context("spawn")
make_learner = partial(SAC, 2, 1, SACSettings(hidden_sizes=(8, 8)), 1)


def settings(**changes) -> TrainerSettings:
    values = {
        "total_steps": 1000, "start_steps": 20, "batch_size": 8, "replay_capacity": 5000, "checkpoint_interval": 60,
        "log_interval": 50, "threads": 1,
    }  # fmt: skip
    return TrainerSettings(**(values | changes))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", {})


# -- the learner, in this process -------------------------------------------------------------------------------------


def link() -> Link:
    return Link(actor_shape(make_learner()), 256, SPAWN)


def send(to: Link, count: int, first: int = 0, late: Callable[[int], float] = lambda number: 0.0) -> None:
    """Transitions whose reward is their number."""
    for number in range(first, first + count):
        assert to.transitions.push(
            observation=np.full(2, number), action=0.0, reward=number, next_observation=np.ones(2), terminated=0.0,
            late=late(number),
        )  # fmt: skip


def learn_all(from_link: Link, run: Run, real_time: RealTimeSettings | None = None, **changes) -> RealTimeTrainer:
    """Lets a learner take what is there, save and end."""
    from_link.finish()
    trainer = RealTimeTrainer(
        from_link, make_learner(), settings(**changes), real_time or RealTimeSettings(), run, lambda step: None
    )
    trainer.train()
    return trainer


def rewards(trainer: RealTimeTrainer) -> set[int]:
    return set(trainer.replay.sample(20_000).reward.astype(int).tolist())


def late_by_turns(number: int) -> float:
    return (0.0, 0.004, 0.006)[number % 3]


def test_transitions_whose_tick_was_late_are_marked_and_their_share_is_logged(run: Run):
    here = link()
    send(here, 60, late=late_by_turns)
    result = learn_all(here, run, RealTimeSettings(late_after=0.005))._latest
    assert result["real_time/late_share"] == pytest.approx(1 / 3)
    assert result["real_time/late_max"] == pytest.approx(0.006)
    saved = load_checkpoint(latest_checkpoint(run.checkpoints)).part("collector")
    assert saved.arrays["late_steps"].tolist() == list(range(2, 60, 3))


@pytest.mark.parametrize(("keep", "left"), [(True, set(range(60))), (False, set(range(60)) - set(range(2, 60, 3)))])
def test_late_transitions_are_learnt_from_only_if_wanted(run: Run, keep: bool, left: set[int]):
    here = link()
    send(here, 60, late=late_by_turns)
    trainer = learn_all(here, run, RealTimeSettings(keep_late=keep))
    assert trainer.step == 60
    assert rewards(trainer) == left


def test_updates_per_step_is_an_upper_bound_and_is_reached_where_there_is_time(run: Run):
    here = link()

    def send_then_finish() -> None:
        send(here, 60)
        deadline = time.monotonic() + 30.0
        while trainer.updates < 20 and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.2)  # time for more of them
        here.finish()

    thread = threading.Thread(target=send_then_finish)
    trainer = RealTimeTrainer(
        here, make_learner(), settings(updates_per_step=0.5), RealTimeSettings(), run, lambda step: thread.start()
    )
    result = trainer.train()
    thread.join()
    assert (result.steps, result.updates) == (60, 20)  # half of 60 less 20 random ones
    assert here.weights.version > 1


def test_rescued_transitions_come_back_once_and_are_saved_before_new_ones_come(run: Run):
    first = link()
    send(first, 40)
    learn_all(first, run)
    dead = link()
    send(dead, 30, first=30)  # ten of these are in the checkpoint already
    save_rescued(run.path, 30, dead.transitions.kept(0), robot_time=12.5, falls=3)
    told = []
    here = link()
    trainer = RealTimeTrainer(
        here, make_learner(), settings(), RealTimeSettings(), run,
        lambda step: (told.append((step, (run.path / FILE).exists())), here.finish()),
    )  # fmt: skip
    trainer.train()
    assert told == [(60, False)]
    assert rewards(trainer) == set(range(60))
    assert len(trainer.replay) == 60
    assert (here.robot_time, here.falls) == (12.5, 3)


def test_a_gap_before_rescued_transitions_is_an_error(run: Run):
    dead = link()
    send(dead, 10)
    save_rescued(run.path, 5, dead.transitions.kept(0), 0.0, 0)
    with pytest.raises(StorageError, match="transitions before step 5 are missing"):
        learn_all(link(), run)


def test_a_damaged_rescue_is_an_error_that_says_what_to_do(run: Run):
    (run.path / FILE).write_bytes(b"PK nothing")
    with pytest.raises(StorageError, match=r"rescued\.npz is damaged.*delete it"):
        learn_all(link(), run)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_minutes": 0.0}, "max_minutes must be positive, got 0"),
        ({"max_falls": 0}, "max_falls must be at least 1"),
        ({"late_after": 0.0}, "late_after must be positive"),
        ({"learner_niceness": 20}, "learner_niceness must be from 0 to 19"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(changes, message: str):
    with pytest.raises(ConfigurationError, match=message):
        RealTimeSettings(**changes)


# -- control loop and learner, two processes --------------------------------------------------------------------------


@pytest.fixture
def scripted(small):
    """A point mass to which things happen: a function for a tick is called before that tick."""

    class Scripted(small.PointMass):
        def __init__(self, events=None, resets=None) -> None:
            super().__init__()
            self.events, self.resets = events or {}, resets or {}
            self.ticks = self.episodes = 0

        def reset(self, **options):
            self.episodes += 1
            self.resets.get(self.episodes, lambda: None)()
            return super().reset(**options)

        def step(self, action):
            self.events.get(self.ticks, lambda: None)()
            time.sleep(0.002)
            found = super().step(action)
            self.ticks += 1
            return found

    return Scripted


def begin(env, run: Run, real_time: RealTimeSettings | None = None, total: int = 1000, **options):
    return train_in_real_time(
        env, make_learner, settings(total_steps=total), real_time or RealTimeSettings(), run, **options
    )


def steps_saved(run: Run) -> tuple[int, int]:
    """Steps of the newest checkpoint, and transitions in its replay."""
    values = load_values(latest_checkpoint(run.checkpoints))
    return values["trainer/step"], values["replay/total"]


def raiser(error: BaseException) -> Callable[[], None]:
    def happen() -> None:
        raise error

    return happen


def kill_learner() -> None:
    (process,) = [child for child in multiprocessing.active_children() if child.name == "learner"]
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def test_a_killed_learner_stops_the_robot_and_costs_no_transition(run: Run, scripted):
    env, stops = scripted({150: kill_learner}), []
    with pytest.raises(LearnerEnded, match=r"killed by SIGKILL; the robot is stopped, \d+ transitions") as ended:
        begin(env, run, stop=lambda: stops.append((run.path / FILE).exists()))
    assert ended.value.exit_code == 3
    assert stops[-1:] == [False]  # the robot first, the rescue then
    assert env.ticks in (150, 151)
    result = begin(scripted(), run, total=200)
    assert (result.steps, result.interrupted) == (200, False)
    assert steps_saved(run) == (200, 200)
    assert result.updates <= 180


def test_help_pause_fault_and_interrupt_lose_nothing(run: Run, scripted):
    said, stops, pause = [], [], {"until": 0.0}
    env = scripted(
        {20: lambda: pause.update(until=time.monotonic() + 0.6), 77: raiser(RobotFault("the robot left"))},
        {1: raiser(HelpNeeded("put it on its feet"))},
    )
    with pytest.raises(RobotFault, match="the robot left"):
        begin(
            env, run, stop=lambda: stops.append(env.ticks), paused=lambda: time.monotonic() < pause["until"],
            ask=lambda request, check: said.append(request),
        )  # fmt: skip
    assert said == ["put it on its feet"]
    assert stops == sorted(stops)
    assert {0, 21, 77} <= set(stops)  # for the person, for the pause (at the end of its tick), for the fault
    assert steps_saved(run) == (77, 77)

    result = begin(scripted({33: raiser(KeyboardInterrupt())}), run)
    assert (result.interrupted, result.exit_code) == (True, 130)
    assert steps_saved(run) == (110, 110)


def test_training_ends_at_its_limit_of_falls_and_not_before(run: Run, scripted):
    class Falling(scripted):
        def step(self, action):
            observation, reward, _, truncated, info = super().step(action)
            return observation, reward, self.tick >= 10, truncated, info

    # A gap in the robot's state, at tick 15 and at the reset after it, cuts an episode short, no more.
    gaps = {"events": {15: raiser(RobotTimeout("silent"))}, "resets": {3: raiser(RobotTimeout("still silent"))}}
    env, stops, said = Falling(**gaps), [], []
    gaps["resets"][4] = lambda: gaps["events"].pop(15)
    result = begin(env, run, RealTimeSettings(max_falls=3), stop=lambda: stops.append(env.ticks), say=said.append)
    assert (result.steps, result.interrupted) == (35, False)
    assert 15 in stops
    assert "silent; this episode ends here" in said


def test_a_gap_at_the_very_first_reset_is_waited_for_too(run: Run, scripted):
    said = []
    result = begin(scripted(resets={1: raiser(RobotTimeout("silent"))}), run, total=60, say=said.append)
    assert result.steps == 60
    assert "silent; waiting until it is back" in said


def test_a_robot_that_stays_silent_is_waited_for_as_long_as_is_said_and_no_longer(
    run: Run, scripted, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(control_loop, "_SILENCE", 0.6)
    asked: list[float] = []

    def stay_silent() -> None:
        asked.append(time.monotonic())
        raise RobotTimeout("still silent")

    env = scripted({15: raiser(RobotTimeout("silent"))}, dict.fromkeys(range(2, 10_000), stay_silent))
    with pytest.raises(RobotTimeout, match=r"^silent; after 1 s it is not back: still silent$"):
        begin(env, run)
    assert 0.5 < asked[-1] - asked[0] < 2.0  # a busy machine's share
    assert steps_saved(run) == (15, 15)
