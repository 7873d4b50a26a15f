"""Half of every batch from another run: what a batch is made of, exact resuming, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from robot_rl.algorithms.ppo import PPO
from robot_rl.algorithms.sac import SAC, SACSettings
from robot_rl.commands.configuration import resolve
from robot_rl.commands.offline import check_offline
from robot_rl.errors import ConfigurationError, StorageError
from robot_rl.training.offline import mixed
from robot_rl.training.replay import Replay
from robot_rl.training.run import Run
from robot_rl.training.trainer import Trainer, TrainerSettings, train

SHARED = {"start_steps": 20, "batch_size": 9, "replay_capacity": 500, "checkpoint_interval": 40,
          "evaluation_interval": 0, "log_interval": 30, "threads": 1}  # fmt: skip


def learner(seed: int = 0, observations: int = 2) -> SAC:
    return SAC(observations, 1, SACSettings(hidden_sizes=(8,)), seed)


def settings(**changes) -> TrainerSettings:
    return TrainerSettings(**{**SHARED, "total_steps": 120, **changes})


def filled(count: int, reward: float, seed: int) -> Replay:
    replay = Replay(100, 2, 1, seed=seed)
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, 2)).astype(np.float32)
    replay.add(rows, rows[:, :1], np.full(count, reward, np.float32), rows + 1, np.zeros(count, np.float32))
    return replay


@pytest.fixture
def other(small, tmp_path: Path) -> Run:
    """A finished run of the same environment."""
    run = Run.create(tmp_path / "other", {})
    train(small.make_environment("snapshots"), learner(5), settings(seed=5), run)
    return run


def test_half_of_a_batch_is_offline_and_both_halves_are_drawn_uniformly():
    own, offline = filled(30, 1.0, seed=0), filled(40, -1.0, seed=1)
    for size, half in ((256, 128), (9, 4), (1, 0)):
        reward = mixed(own, offline, size).reward
        assert len(reward) == size
        assert (reward == -1.0).sum() == half
    drawn = np.concatenate([mixed(own, offline, 256).observation[128:, 0] for _ in range(60)])
    _, counts = np.unique(drawn, return_counts=True)
    assert len(counts) == 40
    # Chi squared with 39 degrees of freedom exceeds 88 once in hundred thousand times.
    assert ((counts - 192) ** 2 / 192).sum() < 88


def test_training_learns_from_the_other_run_from_the_first_update_on(small, other: Run, tmp_path: Path):
    run = Run.create(tmp_path / "run", {})
    trainer = Trainer(small.make_environment("snapshots"), learner(), settings(offline=str(other.path)), run)
    seen = []
    update = trainer.learner.update
    trainer.learner.update = lambda batch, metrics=False: (seen.append(batch), update(batch, metrics=metrics))[1]
    trainer.train()
    theirs = Trainer(small.make_environment("snapshots"), learner(), settings(), other)
    theirs._resume()
    known = {tuple(row) for row in theirs.replay._span(0, 120)[:, :3]}
    ours = {tuple(row) for row in trainer.replay._span(0, 120)[:, :3]}
    assert not known & ours
    for batch in seen:
        rows = [tuple(row) for row in np.column_stack([batch.observation, batch.action])]
        assert all(row in ours for row in rows[:5])
        assert all(row in known for row in rows[5:])


def test_a_run_with_offline_data_resumes_exactly_even_when_the_other_run_is_gone(small, other: Run, tmp_path: Path):
    def weights(name: str, stops: tuple[int, ...], remove: bool) -> dict[str, torch.Tensor]:
        run = Run.create(tmp_path / name, {})
        for stop in stops:
            one = learner(3 if stop == stops[0] else 99)
            train(small.make_environment("snapshots"), one, settings(total_steps=stop, offline=str(source.path)), run)
            if remove:
                shutil.rmtree(source.path, ignore_errors=True)
        return one.state().tensors

    source = other
    whole = weights("whole", (120,), remove=False)
    stopped = weights("stopped", (53, 90, 120), remove=True)
    assert all(torch.equal(tensor, stopped[name]) for name, tensor in whole.items())


def test_offline_data_of_other_sizes_or_of_no_replay_is_refused_by_name(small, other: Run, tmp_path: Path):
    class Wider(small.PointMass):
        def __init__(self) -> None:
            super().__init__()
            self.observation_space = type(self.observation_space)(-np.inf, np.inf, (3,), np.float32)

        def reset(self, **given):
            observation, info = super().reset(**given)
            return np.append(observation, np.float32(0)), info

    with pytest.raises(ConfigurationError, match="observations of 2 numbers, this one has 3"):
        train(Wider(), learner(observations=3), settings(offline=str(other.path)))
    empty = Run.create(tmp_path / "empty", {})
    with pytest.raises(ConfigurationError, match="no replay"):
        train(small.PointMass(), learner(), settings(offline=str(empty.path)))
    with pytest.raises(ConfigurationError, match="not a run"):
        train(small.PointMass(), learner(), settings(offline=str(tmp_path / "nowhere")))
    with pytest.raises(ConfigurationError, match="PPO learns from its own steps alone"):
        train(small.PointMass(), PPO(2, 1), settings(offline=str(other.path)))


def test_damaged_offline_data_is_refused_and_named(small, other: Run):
    segment = next(other.replay.glob("*.npy"))
    segment.write_bytes(segment.read_bytes()[:-4] + b"oops")
    with pytest.raises(StorageError, match=segment.name):
        train(small.PointMass(), learner(), settings(offline=str(other.path)))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, None),
        ({"task": {"name": "walk", "forward": [0.3, 0.3]}}, None),
        ({"task": {"name": "walk", "step_height": 0.04}}, "differs in what an action does: stepping"),
        ({"robot": "minitaur"}, "differs in robot: go2 there, minitaur here"),
        ({"task": {"name": "stand"}}, "differs in observation entry 0"),
        ({"observation": {"history": 3}}, "differs in observation size"),
        ({"algorithm": "a3c"}, "a3c learns from its own steps alone"),
    ],
)
def test_what_another_run_collected_has_to_mean_the_same_here(changes, told, tmp_path: Path):
    given = {"robot": "go2", "task": {"name": "walk"}}
    Run.create(tmp_path / "other", json.loads(json.dumps(resolve(given, "there").to_dict())))
    config = resolve({**given, **changes}, "here")
    if told is None:
        check_offline(config, str(tmp_path / "other"))
        return
    with pytest.raises(ConfigurationError, match=told):
        check_offline(config, str(tmp_path / "other"))
