"""Asynchronous workers: real processes that share parameters, stop when told, and go on where they were."""

import dataclasses
import functools
from pathlib import Path

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
from tests.robot_rl.training.slopes import (
    Impatient,
    Mortal,
    NotANumber,
    Slope,
    UnsavedNotANumber,
    assert_same_state,
    descendants,
    last_state,
)

SETTINGS = A3CSettings(hidden_sizes=(8,), steps=5, workers=1)
TRAINER = TrainerSettings(
    total_steps=120, checkpoint_interval=50, evaluation_interval=0, log_interval=40, threads=1, seed=2
)


def make_learner(settings: A3CSettings = SETTINGS) -> A3C:
    return A3C(2, 1, settings, seed=4, normalizer=Normalizer.running_statistics(2))


def workers(count: int) -> functools.partial:
    return functools.partial(make_learner, dataclasses.replace(SETTINGS, workers=count))


def test_a_run_with_one_worker_that_was_stopped_ends_bit_for_bit_like_one_that_was_not(tmp_path: Path):
    runs, losses = [], []
    for stops in ((120,), (50, 120)):
        run = Run.create(tmp_path / str(len(stops)), {})
        for stop in stops:
            trainer = dataclasses.replace(TRAINER, total_steps=stop)
            result = train_with_workers(Slope, make_learner, trainer, run)
            assert result.steps == stop
        runs.append(run)
        losses.append(read_metrics(run.metrics)[-1]["learner/critic_loss"])
    assert losses[0] == losses[1]
    assert_same_state(*runs)
    assert "collector/0/collector/books/observation" in last_state(runs[0])  # saved in the middle of an episode


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


@pytest.mark.parametrize("count", [1, 2])
def test_what_went_wrong_in_a_worker_is_not_lost_where_nothing_can_be_saved_either(count: int, tmp_path: Path):
    run = Run.create(tmp_path / "run", {})
    settings = dataclasses.replace(TRAINER, log_interval=20)
    with pytest.raises(WorkerEnded, match=r"worker \d: reward.*nan") as caught:
        train_with_workers(UnsavedNotANumber, workers(count), settings, run)
    assert caught.value.exit_code == 2


def test_a_learner_without_workers_is_refused_and_trains_in_step_instead():
    with pytest.raises(ConfigurationError, match="no workers"):
        train_with_workers(Slope, workers(0), TRAINER)
    learner = workers(0)()
    before = {name: tensor.clone() for name, tensor in learner.state().tensors.items()}
    train(Slope(), learner, TRAINER)
    after = learner.state().tensors
    assert not torch.equal(before["a3c/actor/head.weight"], after["a3c/actor/head.weight"])
