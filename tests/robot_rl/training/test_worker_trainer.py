"""Asynchronous workers: real processes that share parameters, stop when told, and go on where they were."""

import dataclasses
import functools
import multiprocessing
import os
import signal
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from robot_rl.algorithms.a3c import A3C, A3CSettings
from robot_rl.errors import ConfigurationError, StorageError, WorkerEnded
from robot_rl.training.metrics import read_metrics
from robot_rl.training.normalizer import Normalizer
from robot_rl.training.run import Run
from robot_rl.training.trainer import TrainerSettings, train
from robot_rl.training.worker_trainer import train_with_workers

SETTINGS = A3CSettings(hidden_sizes=(8,), steps=5, workers=1)
TRAINER = TrainerSettings(
    total_steps=120, checkpoint_interval=50, evaluation_interval=0, log_interval=40, threads=1, seed=2
)


class Slope(gymnasium.Env):
    """A point that is pushed along a line; for other processes to import, and to be saved in the middle."""

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.x, self.tick = 0.0, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.tick = float(self.np_random.uniform(-1, 1)), 0
        return self._seen(), {}

    def _seen(self) -> np.ndarray:
        return np.array([self.x, self.tick / 17], np.float32)

    def step(self, action):
        self.x += 0.3 * float(action[0]) + 0.05 * self.np_random.standard_normal()
        self.tick += 1
        return self._seen(), -(self.x**2), abs(self.x) > 3, self.tick >= 17, {}

    def snapshot(self):
        return {"x": self.x, "tick": self.tick, "rng": self.np_random.bit_generator.state}

    def restore(self, snapshot):
        self.x, self.tick = snapshot["x"], snapshot["tick"]
        self.np_random.bit_generator.state = snapshot["rng"]


class Mortal(Slope):
    """Its process dies at the 40th step."""

    steps = 0

    def step(self, action):
        Mortal.steps += 1
        if Mortal.steps == 40:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(action)


class Impatient(Slope):
    """Sends Ctrl-C to the program at its 33rd step."""

    steps = 0

    def step(self, action):
        Impatient.steps += 1
        parent = multiprocessing.parent_process()
        if Impatient.steps == 33 and parent is not None:
            os.kill(parent.pid, signal.SIGINT)
        return super().step(action)


class NotANumber(Slope):
    """Goes wrong at the 30th step."""

    steps = 0

    def step(self, action):
        NotANumber.steps += 1
        observation, reward, *rest = super().step(action)
        return (observation, np.nan if NotANumber.steps == 30 else reward, *rest)


def make_learner(settings: A3CSettings = SETTINGS) -> A3C:
    return A3C(2, 1, settings, seed=4, normalizer=Normalizer.running_statistics(2))


def workers(count: int) -> functools.partial:
    return functools.partial(make_learner, dataclasses.replace(SETTINGS, workers=count))


def last_state(run: Run) -> dict[str, np.ndarray]:
    from robot_rl.training.checkpoint import latest_checkpoint, load_checkpoint

    place = latest_checkpoint(run.checkpoints)
    assert place is not None
    saved = load_checkpoint(place)
    return {**{name: tensor.numpy() for name, tensor in saved.tensors.items()}, **saved.arrays}


def descendants(process: int | None = None) -> set[int]:
    process = process or os.getpid()
    children = {int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()}
    return children.union(*(descendants(child) for child in children))


def test_a_run_with_one_worker_that_was_stopped_ends_bit_for_bit_like_one_that_was_not(tmp_path: Path):
    ends, losses = [], []
    for stops in ((120,), (50, 120)):
        run = Run.create(tmp_path / str(len(stops)), {})
        for stop in stops:
            trainer = dataclasses.replace(TRAINER, total_steps=stop)
            result = train_with_workers(Slope, make_learner, trainer, run)
            assert result.steps == stop
        ends.append(last_state(run))
        losses.append(read_metrics(run.metrics)[-1]["learner/critic_loss"])
    assert losses[0] == losses[1]
    assert ends[0].keys() == ends[1].keys()
    for name, array in ends[0].items():
        np.testing.assert_array_equal(array, ends[1][name], err_msg=name)
    assert "collector/0/collector/books/observation" in ends[0]  # saved in the middle of an episode


def test_several_workers_move_the_same_parameters_and_leave_nobody_behind(tmp_path: Path):
    before, running = make_learner().state().tensors, descendants()
    run = Run.create(tmp_path / "run", {})
    result = train_with_workers(Slope, workers(2), dataclasses.replace(TRAINER, total_steps=400), run)
    assert 400 <= result.steps < 400 + 2 * SETTINGS.steps
    assert result.updates == result.steps // SETTINGS.steps
    after = last_state(run)
    name = "a3c/actor/head.weight"
    assert not np.array_equal(before[name].numpy(), after[f"learner/{name}"])
    assert after["learner/normalizer/mean"].any()
    lines = read_metrics(run.metrics)
    assert any("training/return" in line for line in lines)
    # Two workers, two environments, two streams of random numbers.
    generators = [after[f"collector/{index}/own/generator"] for index in range(2)]
    assert not np.array_equal(*generators)
    with pytest.raises(StorageError, match="1 workers"):
        train_with_workers(Slope, make_learner, dataclasses.replace(TRAINER, total_steps=500), run)
    # What is left are Python's own tracker of shared memory and the server that forks, for all later workers.
    assert len(descendants() - running) <= 2


def test_ctrl_c_stops_the_workers_after_a_whole_rollout_and_keeps_everything(tmp_path: Path):
    run = Run.create(tmp_path / "run", {})
    settings = dataclasses.replace(TRAINER, total_steps=10**9, log_interval=10**8, checkpoint_interval=10**8)
    result = train_with_workers(Impatient, make_learner, settings, run)
    assert (result.interrupted, result.exit_code) == (True, 130)
    assert result.steps >= 35
    assert result.steps % SETTINGS.steps == 0
    assert last_state(run)["learner/a3c/actor/head.weight"].shape == (1, 8)


def test_a_worker_that_is_killed_ends_training_and_the_other_workers():
    running = descendants()
    with pytest.raises(WorkerEnded, match=r"worker \d has died, exit code -9"):
        train_with_workers(Mortal, workers(2), TRAINER)
    assert len(descendants() - running) <= 2


def test_what_goes_wrong_in_a_worker_is_said_with_its_own_exit_code():
    with pytest.raises(WorkerEnded, match=r"worker 0: reward.*nan") as caught:
        train_with_workers(NotANumber, make_learner, TRAINER)
    assert caught.value.exit_code == 2


def test_a_learner_without_workers_is_refused_and_trains_in_step_instead():
    with pytest.raises(ConfigurationError, match="no workers"):
        train_with_workers(Slope, workers(0), TRAINER)
    learner = workers(0)()
    before = {name: tensor.clone() for name, tensor in learner.state().tensors.items()}
    train(Slope(), learner, TRAINER)
    after = learner.state().tensors
    assert not torch.equal(before["a3c/actor/head.weight"], after["a3c/actor/head.weight"])
