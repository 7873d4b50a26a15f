"""The loop: what it counts, when it logs, how it stops, what it refuses."""

import json
import os
import signal
import sys
import threading
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from robot_rl.algorithms.sac import SAC, SACSettings
from robot_rl.errors import ConfigurationError, StorageError
from robot_rl.training import files
from robot_rl.training.checkpoint import checkpoints, latest_checkpoint, load_values
from robot_rl.training.evaluation import deterministic_evaluation
from robot_rl.training.metrics import read_metrics
from robot_rl.training.normalizer import Normalizer
from robot_rl.training.run import Run
from robot_rl.training.trainer import Trainer, TrainerSettings, train


def learner(seed: int = 0, normalizer: Normalizer | None = None) -> SAC:
    return SAC(2, 1, SACSettings(hidden_sizes=(8, 8)), seed=seed, normalizer=normalizer)


def settings(**changes) -> TrainerSettings:
    values = {
        "total_steps": 120, "start_steps": 20, "batch_size": 8, "replay_capacity": 1000, "checkpoint_interval": 50,
        "evaluation_interval": 40, "log_interval": 30, "threads": 1,
    }  # fmt: skip
    return TrainerSettings(**(values | changes))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", {"seed": 0})


@pytest.mark.parametrize(("per_step", "updates"), [(1.0, 100), (0.25, 25), (3.0, 300), (0.0, 0)])
def test_updates_per_step_are_kept_to_the_last_one(small, per_step: float, updates: int):
    result = train(small.PointMass(), learner(), settings(updates_per_step=per_step))
    assert (result.steps, result.updates, result.interrupted, result.exit_code) == (120, updates, False, 0)


def test_a_vector_environment_counts_every_transition(small):
    result = train(small.make_environment("vector"), learner(), settings(total_steps=121))
    assert 121 <= result.steps < 124
    assert result.updates == result.steps - 20


def test_no_update_comes_before_the_random_steps_are_over(small):
    trainer = Trainer(small.PointMass(), learner(), settings(total_steps=20))
    before = trainer.learner.state().tensors
    trainer.train()
    after = trainer.learner.state().tensors
    assert trainer.updates == 0
    assert all(np.array_equal(before[name], after[name]) for name in before)
    actions = trainer.replay.sample(500).action
    assert np.abs(actions).max() > 0.7
    assert abs(actions.mean()) < 0.5


def test_two_runs_of_one_seed_are_identical_and_of_two_seeds_are_not(small):
    def weights(seed: int) -> np.ndarray:
        one = learner(seed)
        train(small.PointMass(), one, settings(seed=seed))
        return one.state().tensors["sac/actor/head.weight"].numpy()

    np.testing.assert_array_equal(weights(1), weights(1))
    assert not np.array_equal(weights(1), weights(2))


def test_metrics_are_logged_at_their_intervals_with_reward_terms_and_safety_one_by_one(small, run: Run):
    result = train(small.PointMass(), learner(), settings(), run, evaluate=lambda learner: {"return": 5.0})
    lines = read_metrics(run.metrics)
    assert [line["step"] for line in lines if "wall_time" in line] == [30, 60, 90, 120]
    assert [line["step"] for line in lines if "evaluation/return" in line] == [40, 80, 120]
    last = lines[-1]
    names = {"training/return", "training/length", "training/reward_terms/position", "training/reward_terms/effort"}
    names |= {"training/safety/fast", "learner/alpha", "learner/critic_loss", "speed/updates_per_second"}
    assert names <= set(last)
    terms = last["training/reward_terms/position"] + last["training/reward_terms/effort"]
    assert terms * last["training/length"] == pytest.approx(last["training/return"], rel=0.2)
    assert result.metrics["evaluation/return"] == 5.0


def test_tensorboard_shows_what_the_record_says_once_even_after_resuming(small, run: Run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(small.PointMass(), learner(), settings(total_steps=60), run)
    train(small.PointMass(), learner(), settings(total_steps=120), run)
    events = EventAccumulator(str(run.tensorboard))
    events.Reload()
    shown = [(event.step, event.value) for event in events.Scalars("learner/alpha")]
    recorded = [(line["step"], line["learner/alpha"]) for line in read_metrics(run.metrics) if "learner/alpha" in line]
    assert [step for step, _ in shown] == [step for step, _ in recorded] == [30, 60, 90, 120]
    np.testing.assert_allclose([value for _, value in shown], [value for _, value in recorded], rtol=1e-6)


def test_episodes_of_several_environments_are_cut_for_a_checkpoint_no_sooner_than_that_of_one(small, tmp_path: Path):
    def saved(env) -> list[int]:
        run = Run.create(tmp_path / str(getattr(env, "num_envs", 1)), {})
        train(env, learner(), settings(total_steps=160, checkpoint_interval=10, checkpoints_kept=99), run)
        return [load_values(place)["trainer/step"] for place in checkpoints(run.checkpoints)]

    class Endless(small.PointMass):
        def step(self, action):
            self.tick = 0
            return (*super().step(0.0 * action)[:2], False, False, {})

    assert saved(Endless()) == [20, 40, 60, 80, 100, 120, 140, 160]
    assert saved(gymnasium.vector.SyncVectorEnv([Endless] * 4)) == [80, 160]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kind", ["snapshots", "episodes"])
def test_ctrl_c_leaves_a_clean_checkpoint_of_that_very_step(small, run: Run, number: signal.Signals, kind: str):
    def evaluate(_) -> dict[str, float]:
        os.kill(os.getpid(), number)
        return {}

    handler = signal.getsignal(number)
    result = train(small.make_environment(kind), learner(), settings(), run, evaluate)
    assert (result.interrupted, result.exit_code, result.steps) == (True, 130, 40)
    place = latest_checkpoint(run.checkpoints)
    assert place is not None
    assert load_values(place)["trainer/step"] == 40
    assert signal.getsignal(number) is handler
    resumed = train(small.make_environment(kind), learner(9), settings(), run)
    assert (resumed.interrupted, resumed.steps, resumed.updates) == (False, 120, 100)


def test_a_stopped_run_of_an_environment_with_snapshots_ends_like_one_that_was_not(small, tmp_path: Path):
    def weights(stop_at: int) -> np.ndarray:
        run = Run.create(tmp_path / str(stop_at), {})
        for total in (stop_at, 120):
            one = learner(3 if total == stop_at else 99, Normalizer.running_statistics(2))
            train(small.make_environment("snapshots"), one, settings(total_steps=total), run)
        return one.state().tensors["sac/actor/head.weight"].numpy()

    np.testing.assert_array_equal(weights(37), weights(83))


def test_training_works_in_a_thread_where_signals_cannot_be_caught(small):
    results = []
    thread = threading.Thread(target=lambda: results.append(train(small.PointMass(), learner(), settings())))
    thread.start()
    thread.join()
    assert results[0].steps == 120


def test_a_finished_run_has_nothing_left_to_do_and_says_so_the_same_way(small, run: Run):
    first = train(small.PointMass(), learner(), settings(), run)
    again = train(small.PointMass(), learner(), settings(), run)
    assert (again.steps, again.updates, again.metrics) == (first.steps, first.updates, first.metrics)


def test_a_full_disk_ends_training_with_a_checkpoint_that_resumes(small, run: Run, monkeypatch: pytest.MonkeyPatch):
    writes = []

    def write(descriptor: int, content: bytes) -> int:
        writes.append(len(content))
        if len(writes) > 8:
            raise OSError(28, "No space left on device")
        return os_write(descriptor, content)

    os_write = os.write
    monkeypatch.setattr(files.os, "write", write)
    with pytest.raises(StorageError, match="No space left"):
        train(small.PointMass(), learner(), settings(), run)
    monkeypatch.setattr(files.os, "write", os_write)
    resumed = train(small.PointMass(), learner(), settings(), run)
    assert resumed.steps == 120
    steps = [line["step"] for line in read_metrics(run.metrics)]
    assert steps == sorted(set(steps))


def test_only_the_newest_checkpoints_and_their_segments_stay(small, run: Run):
    train(small.PointMass(), learner(), settings(total_steps=400, replay_capacity=60, checkpoints_kept=2), run)
    kept = checkpoints(run.checkpoints)
    assert len(kept) == 2
    needed = {segment["file"] for place in kept for segment in load_values(place)["replay/segments"]}
    assert {path.name for path in run.replay.iterdir()} == needed
    assert len(needed) <= 5


def test_a_run_that_goes_back_from_a_damaged_checkpoint_goes_on_and_leaves_the_damaged_one_behind(small, run: Run):
    train(small.PointMass(), learner(), settings(checkpoint_interval=60, checkpoints_kept=2), run)
    older, newest = checkpoints(run.checkpoints)
    (newest / "values.json").write_bytes(b"{}")
    with pytest.raises(StorageError, match=f"An older checkpoint is {older.name}: write that name"):
        train(small.PointMass(), learner(), settings(total_steps=200), run)
    (run.checkpoints / "latest").write_text(f"{older.name}\n")
    between = (int(older.name) + int(newest.name)) // 2
    assert train(small.PointMass(), learner(), settings(total_steps=between), run).steps == between
    assert [int(path.name) for path in checkpoints(run.checkpoints)] == [int(older.name), between]
    # A damaged one that is older than what a run goes on from is in nobody's way either.
    (older / "values.json").write_bytes(b"{}")
    assert train(small.PointMass(), learner(), settings(total_steps=between + 20), run).steps == between + 20


def test_the_checkpoint_to_go_back_to_is_older_than_the_damaged_one(small, run: Run):
    train(small.PointMass(), learner(), settings(checkpoint_interval=60, checkpoints_kept=2), run)
    older, _ = checkpoints(run.checkpoints)
    (older / "values.json").write_bytes(b"{}")
    (run.checkpoints / "latest").write_text(f"{older.name}\n")
    with pytest.raises(StorageError) as caught:
        train(small.PointMass(), learner(), settings(), run)
    assert "older" not in str(caught.value)


def test_a_metric_that_is_not_finite_costs_no_checkpoint(small, run: Run):
    class Rich(small.PointMass):
        def step(self, action):
            observation, reward, *rest = super().step(action)
            return observation, reward * 1e30, *rest

    result = train(Rich(), learner(), settings(evaluation_interval=0), run)
    assert np.isinf(result.metrics["learner/critic_loss"])  # squares of 1e30
    assert read_metrics(run.metrics)[-1]["learner/critic_loss"] is None
    assert np.isnan(train(Rich(), learner(), settings(), run).metrics["learner/critic_loss"])
    assert train(Rich(), learner(), settings(total_steps=130, evaluation_interval=0), run).steps == 130


def test_an_environment_that_never_ends_its_episodes_is_saved_all_the_same(small, run: Run):
    class Endless(small.PointMass):
        def step(self, action):
            observation, reward, _, _, info = super().step(action)
            return np.clip(observation, -3, 3), reward, False, False, info

    train(Endless(), learner(), settings(total_steps=160), run)
    steps = [int(path.name) for path in checkpoints(run.checkpoints)]
    assert steps == [100, 160]


def test_the_running_normaliser_sees_every_observation_the_policy_sees(small):
    one = learner(normalizer=Normalizer.running_statistics(2))
    trainer = Trainer(small.PointMass(), one, settings(total_steps=50))
    trainer.train()
    observations = trainer.replay._rows.take(np.arange(50))[:, :2]
    np.testing.assert_allclose(one.normalizer.offset, observations.mean(axis=0), rtol=1e-4, atol=1e-5)


def test_evaluation_changes_nothing_in_training(small):
    def weights(evaluated: bool) -> np.ndarray:
        one = learner()
        evaluate = deterministic_evaluation(small.PointMass, 2) if evaluated else None
        result = train(small.PointMass(), one, settings(), evaluate=evaluate)
        assert not result.interrupted, "a signal to this process has ended the training early"
        assert ("evaluation/return" in result.metrics) is evaluated
        return one.state().tensors["sac/actor/head.weight"].numpy()

    np.testing.assert_array_equal(weights(True), weights(False))


def test_evaluations_of_one_policy_are_equal_and_tell_the_spread(small):
    evaluate = deterministic_evaluation(small.PointMass, 3)
    one = learner()
    first = evaluate(one)
    assert first == evaluate(one)
    assert first["return_min"] <= first["return"] <= first["return_max"]
    assert first["return_std"] > 0
    assert {"reward_terms/position", "safety/fast", "length"} <= set(first)


def test_a_learner_of_other_sizes_is_refused(small):
    with pytest.raises(ConfigurationError, match="2 observations and 1 actions"):
        train(small.PointMass(), SAC(3, 1, SACSettings(hidden_sizes=(8,))), settings())


def test_resuming_with_another_replay_is_refused_by_name(small, run: Run):
    train(small.PointMass(), learner(), settings(total_steps=60), run)
    with pytest.raises(StorageError, match="capacity is 1000, this run's is 999"):
        train(small.PointMass(), learner(), settings(replay_capacity=999), run)


@pytest.mark.parametrize(
    ("name", "value"), [("total_steps", 0), ("batch_size", 0), ("updates_per_step", -1.0), ("updates_per_step", np.nan)]
)
def test_settings_that_cannot_work_are_refused_by_name(name: str, value: float):
    with pytest.raises(ConfigurationError, match=f"{name} must be at least"):
        settings(**{name: value})


def test_progress_is_one_plain_line_per_interval_without_a_terminal(small, capsys: pytest.CaptureFixture[str]):
    train(small.PointMass(), learner(), settings(), evaluate=lambda learner: {"return": 1.0})
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.strip().split("\n")
    assert [line.split()[1] for line in lines] == ["30/120", "40/120", "60/120", "80/120", "90/120", "120/120"]
    assert all(word in lines[-1] for word in ("return", "alpha", "updates/s", "steps/s", "left"))


def test_progress_is_a_bar_on_a_terminal(small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    train(small.PointMass(), learner(), settings())
    shown = capsys.readouterr().err
    assert "120/120" in shown
    assert "alpha" in shown
    assert "\r" in shown


def test_values_of_a_checkpoint_are_json_for_people(small, run: Run):
    train(small.PointMass(), learner(), settings(), run)
    place = latest_checkpoint(run.checkpoints)
    assert place is not None
    values = json.loads((place / "values.json").read_text())
    assert values["trainer/step"] == 120
    assert values["learner/sac/algorithm"] == "sac"
