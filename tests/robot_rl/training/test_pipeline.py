"""The pipeline: real processes, in which what is learnt depends on the seed and not on who is quicker."""

import dataclasses
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from robot_rl.algorithms.ppo import PPO
from robot_rl.algorithms.sac import SAC, SACSettings
from robot_rl.errors import ConfigurationError, InvalidInput, WorkerEnded
from robot_rl.make import load_randomization, make_learner, make_suite_env, make_task, make_vector_env
from robot_rl.training.checkpoint import checkpoints
from robot_rl.training.chunk_trainer import ChunkTrainer
from robot_rl.training.metrics import read_metrics
from robot_rl.training.pipeline import Pipeline, train_in_pipeline
from robot_rl.training.rollout_worker import Order, RolloutWorker, acting_weights
from robot_rl.training.run import Run
from robot_rl.training.trainer import Trainer, TrainerSettings, train
from tests.robot_rl.training.slopes import (
    Endless,
    Hesitant,
    Impatient,
    Mortal,
    NotANumber,
    Slope,
    Unsaved,
    assert_same_state,
    counting,
    descendants,
    four_endless,
    pair,
    slope_learner,
)

TRAINER = TrainerSettings(
    total_steps=120, start_steps=20, batch_size=8, replay_capacity=1000, checkpoint_interval=50, evaluation_interval=0,
    log_interval=40, threads=1, seed=2, chunk_ticks=16, pipeline=True,
)  # fmt: skip


def copied_at(step: int, run: Run, copy: Path, learner: object) -> dict[str, float]:
    """An evaluation that keeps the folder of a run as a kill in the middle would leave it."""
    if not copy.exists():
        shutil.copytree(run.path, copy)
    return {}


def test_a_run_depends_on_its_seed_and_not_on_who_is_quicker_nor_on_where_it_was_stopped(tmp_path: Path):
    whole = Run.create(tmp_path / "whole", {})
    result = train_in_pipeline(Slope, slope_learner, TRAINER, whole)
    assert (result.steps, result.updates, result.interrupted) == (120, 100, False)
    stopped = Run.create(tmp_path / "stopped", {})
    # The first stop is by Ctrl-C, in the middle of a chunk and of an episode, wherever the learner is just then.
    first = train_in_pipeline(Impatient, slope_learner, TRAINER, stopped)
    assert first.interrupted
    assert 0 < first.steps < 120
    assert train_in_pipeline(Hesitant, slope_learner, TRAINER, stopped).steps == 120
    assert_same_state(stopped, whole)
    lines, expected = (
        [{n: v for n, v in line.items() if not n.startswith(("speed/", "wall"))} for line in read_metrics(run.metrics)]
        for run in (stopped, whole)
    )
    assert lines == expected


def test_where_nothing_can_be_saved_within_an_episode_a_killed_run_still_ends_like_a_whole_one(tmp_path: Path):
    run, copy = Run.create(tmp_path / "whole", {}), tmp_path / "killed"
    settings = dataclasses.replace(TRAINER, total_steps=200, evaluation_interval=90)
    train_in_pipeline(Unsaved, slope_learner, settings, run, functools.partial(copied_at, 90, run, copy))
    killed = Run.open(copy)
    saved = [int(path.name) for path in killed.checkpoints.glob("0*")]
    # The first chunk that is ordered when the checkpoint is due begins at step 80 and ends with its episode, at 85. It
    # is saved once its first step is learnt from, with the other four.
    assert saved == [81]
    train_in_pipeline(Unsaved, slope_learner, settings, killed, lambda learner: {})
    assert_same_state(killed, run)


@pytest.mark.parametrize(("make", "expected"), [(Endless, list(range(20, 161, 20))), (four_endless, [80, 160])])
def test_episodes_of_several_environments_are_cut_for_a_checkpoint_no_sooner_than_that_of_one(
    make, expected: list[int], tmp_path: Path
):
    run = Run.create(tmp_path / "run", {})
    settings = dataclasses.replace(
        TRAINER, total_steps=160, checkpoint_interval=10, checkpoints_kept=99, evaluation_interval=0, chunk_ticks=2
    )
    train_in_pipeline(make, slope_learner, settings, run)
    assert [int(path.name) for path in checkpoints(run.checkpoints)] == expected


@pytest.mark.parametrize(("make", "count"), [(Slope, 1), (pair, 2)])
def test_the_weights_that_act_are_one_to_two_chunks_old_as_the_metrics_say(make, count: int, tmp_path: Path):
    settings = dataclasses.replace(TRAINER, start_steps=32, checkpoint_interval=1000, log_interval=64, total_steps=192)
    pipeline, run = Pipeline(make, counting, settings), Run.create(tmp_path / "run", {})
    try:
        trainer = ChunkTrainer(pipeline, counting(), settings, run)
        assert trainer.train().updates == 160
    finally:
        pipeline.close()
    rows = trainer.replay._rows.take(np.arange(192))
    chunk = 16 * count
    step = np.arange(192) // count * count
    expected = np.maximum(0, step // chunk * chunk - chunk - 32)  # updates that the acting weights had seen
    acted = rows[:, 2] * 1024
    np.testing.assert_array_equal(acted[32:], expected[32:])
    age = step - step // chunk * chunk + chunk
    assert (age[chunk:].min(), age[chunk:].max()) == (chunk, 2 * chunk - count)
    last = [line for line in read_metrics(run.metrics) if "rollout/weights_age" in line][-1]
    assert last["rollout/weights_age"] == pytest.approx(age[-64:].mean())
    assert last["rollout/weights_age_max"] == age[-64:].max()


def test_learning_alone_differs_from_turns_by_nothing_but_the_weights_that_act(tmp_path: Path):
    """Before the first update both act alike, so the replays agree in every bit."""
    settings = dataclasses.replace(TRAINER, total_steps=60, start_steps=60, log_interval=60)
    pipeline = Pipeline(Slope, slope_learner, settings)
    try:
        parted = ChunkTrainer(pipeline, slope_learner(), settings)
        parted.train()
    finally:
        pipeline.close()
    turns = Trainer(Slope(), slope_learner(), dataclasses.replace(settings, pipeline=False))
    turns.train()
    rows = np.arange(60)
    np.testing.assert_array_equal(parted.replay._rows.take(rows), turns.replay._rows.take(rows))
    np.testing.assert_allclose(parted.learner.normalizer.offset, turns.learner.normalizer.offset, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "says", "code"),
    [(Mortal, "simulation has died, exit code -9", 3), (NotANumber, r"simulation: reward.*nan", 2)],
)
def test_a_simulation_that_dies_ends_training_with_all_saved(make, says: str, code: int, tmp_path: Path):
    running, run = descendants(), Run.create(tmp_path / "run", {})
    with pytest.raises(WorkerEnded, match=says) as caught:
        train_in_pipeline(make, slope_learner, dataclasses.replace(TRAINER, chunk_ticks=8), run)
    assert caught.value.exit_code == code
    # What is left are Python's own tracker of shared memory and the server that forks, for all later processes.
    assert len(descendants() - running) <= 2
    last = 24 if make is NotANumber else 32  # whole chunks of 8 before the 30th and the 40th step
    assert [int(path.name) for path in run.checkpoints.glob("0*")] == [last]
    if make is Mortal:
        assert train_in_pipeline(Slope, slope_learner, dataclasses.replace(TRAINER, chunk_ticks=8), run).steps == 120


def test_a_simulation_does_not_outlive_a_trainer_that_is_killed():
    script = (
        "import time; from robot_rl.training.processes import RemoteObject\n"
        "from tests.robot_rl.training.slopes import Hesitant\n"
        "if __name__ == '__main__':\n"
        "    one = RemoteObject('one', Hesitant, ())\n"
        "    one.ask('snapshot'); print(one._process.pid, flush=True)\n"
        "    one.connection.poll(60); print('up', flush=True)\n"
        "    time.sleep(60)\n"
    )
    root = Path(__file__).parents[3]
    trainer = subprocess.Popen(
        [sys.executable, "-c", script], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert trainer.stdout is not None
    simulation = int(trainer.stdout.readline())
    trainer.stdout.readline()
    trainer.send_signal(signal.SIGKILL)
    trainer.wait()
    trainer.stdout.close()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{simulation}/cmdline").exists() and Path(f"/proc/{simulation}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# -- environments of every kind ----------------------------------------------------------------------------------------


def varied_robots() -> gymnasium.vector.VectorEnv:
    return make_vector_env("go2", "walk", 2, time_limit=1.5, randomization=load_randomization("mild", "go2"))


def robot_learner() -> SAC:
    return make_learner("sac", make_task("walk", "go2"), {"hidden_sizes": [16]}, 3)


def pendulum_learner() -> SAC:
    return SAC(3, 1, SACSettings(hidden_sizes=(8,)))


def cartpole_learner() -> SAC:
    return make_learner("sac", make_suite_env("dm_control/cartpole-balance"), {"hidden_sizes": [8]}, 0)


def test_a_randomised_robot_goes_on_in_the_middle_of_its_episodes_bit_for_bit(tmp_path: Path):
    runs = []
    for stops in ((240,), (102, 240)):
        run = Run.create(tmp_path / str(len(stops)), {})
        for stop in stops:
            settings = dataclasses.replace(TRAINER, total_steps=stop, start_steps=60, checkpoint_interval=1000)
            train_in_pipeline(varied_robots, robot_learner, settings, run)
        runs.append(run)
    assert_same_state(*runs)
    episodes = read_metrics(runs[1].episodes)
    assert episodes == read_metrics(runs[0].episodes)
    assert episodes  # with what was drawn for each
    assert any(name.startswith("randomization/") for name in episodes[0])


@pytest.mark.parametrize("name", ["Pendulum-v1", "dm_control/cartpole-balance"])
def test_environments_of_other_kinds_are_simulated_in_a_pipeline_too(name: str):
    if name.startswith("dm_control"):
        pytest.importorskip("dm_control", reason="dm_control is not installed (extra 'suite')")
        make, learner = functools.partial(make_suite_env, name), cartpole_learner
    else:
        make, learner = functools.partial(gymnasium.make, name), pendulum_learner
    assert train_in_pipeline(make, learner, TRAINER).steps == 120


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_learners_of_their_own_steps_and_environments_that_are_made_already_are_refused():
    with pytest.raises(ConfigurationError, match="PPO learns from its own steps"):
        train_in_pipeline(Slope, functools.partial(PPO, 2, 1), TRAINER)
    with pytest.raises(ConfigurationError, match="train_in_pipeline"):
        train(Slope(), slope_learner(), TRAINER)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("observation", lambda a: a[:, :1]),
        ("reward", lambda a: np.where(np.arange(len(a)) == 3, np.inf, a)),
        ("terminated", lambda a: a.astype(object)),
        ("environment", lambda a: a + 1),
        ("action", lambda a: a[1:]),
    ],
)
def test_chunks_of_other_shapes_or_with_numbers_that_are_none_are_refused(name: str, spoil):
    worker = RolloutWorker(Slope, slope_learner, 0)
    worker.restart(0)
    chunk = worker.roll_out(Order(acting_weights(slope_learner()), 0, 5, np.zeros((2, 1, 1), np.float32)))
    chunk.check(worker.workplace(), "worker 7")
    rows = dataclasses.replace(chunk.rows, **{name: spoil(getattr(chunk.rows, name))})
    with pytest.raises(InvalidInput, match="worker 7 sent"):
        dataclasses.replace(chunk, rows=rows).check(worker.workplace(), "worker 7")
