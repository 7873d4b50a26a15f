"""Learners that learn from what they just did: when they learn, from what, and how a run of theirs goes on."""

import os
import signal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from robot_rl.algorithms.a3c import A3C, A3CSettings
from robot_rl.algorithms.acktr import ACKTR, ACKTRSettings
from robot_rl.algorithms.npg import NPG, NPGSettings
from robot_rl.algorithms.on_policy import OnPolicy
from robot_rl.algorithms.ppo import PPO, PPOSettings
from robot_rl.algorithms.reinforce import Reinforce, ReinforceSettings
from robot_rl.algorithms.rollout import Rollout
from robot_rl.algorithms.trpo import TRPO, TRPOSettings
from robot_rl.errors import StorageError
from robot_rl.training.checkpoint import latest_checkpoint, load_checkpoint
from robot_rl.training.metrics import read_metrics
from robot_rl.training.normalizer import Normalizer
from robot_rl.training.rollout_trainer import RolloutTrainer
from robot_rl.training.run import Run
from robot_rl.training.trainer import TrainerSettings, train

LEARNERS = {
    "ppo": (PPO, PPOSettings, {"objective": "adaptive_kl", "epochs": 2, "critic_epochs": 2}),
    "reinforce": (Reinforce, ReinforceSettings, {"critic_epochs": 2}),
    "npg": (NPG, NPGSettings, {"critic_epochs": 2}),
    "trpo": (TRPO, TRPOSettings, {"critic_epochs": 2}),
    "acktr": (ACKTR, ACKTRSettings, {"critic_epochs": 2}),
    "a3c": (A3C, A3CSettings, {"workers": 0}),
}


def make(name: str = "ppo", seed: int = 0, steps: int = 24) -> OnPolicy:
    kind, settings, chosen = LEARNERS[name]
    given = settings(**{"steps": steps, "hidden_sizes": (8,), **chosen})
    return kind(2, 1, given, seed, Normalizer.running_statistics(2))


def settings(**changes) -> TrainerSettings:
    values = {
        "total_steps": 150, "checkpoint_interval": 35, "evaluation_interval": 0, "log_interval": 30, "threads": 1,
    }  # fmt: skip
    return TrainerSettings(**(values | changes))


def tensors(learner: OnPolicy) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in learner.state().tensors.items()}


def recorded(run: Run) -> list[dict]:
    clocks = ("speed/", "wall_time")
    return [{k: v for k, v in line.items() if not k.startswith(clocks)} for line in read_metrics(run.metrics)]


@pytest.mark.parametrize("kind", ["episodes", "vector"])
def test_a_learner_learns_once_it_has_the_steps_it_asked_for(small, kind: str):
    learner = make(steps=30)
    result = train(small.make_environment(kind), learner, settings(total_steps=120))
    # Three environments step at once, so a rollout can be a step or two longer than asked for.
    assert result.updates == (4 if kind == "episodes" else 3)
    assert result.metrics["learner/critic_loss"] >= 0


def test_the_steps_of_a_rollout_are_those_that_were_made_in_their_order(small):
    class Watching(PPO):
        seen: list

        def update(self, steps, metrics=False):
            self.seen.append(steps)
            return super().update(steps, metrics)

    learner = Watching(2, 1, PPOSettings(steps=64, hidden_sizes=(8,)), 0)
    learner.seen = []
    train(small.make_environment("vector"), learner, settings(total_steps=200))
    rollouts = 0
    for steps in learner.seen:
        rollouts += 1
        for environment in range(3):
            rows = np.flatnonzero(steps.environment == environment)
            assert len(rows) > 15
            for this, following in pairwise(rows):
                continues = np.array_equal(steps.next_observation[this], steps.observation[following])
                assert continues != steps.ended[this]
        assert (steps.ended | ~steps.terminated).all()
    assert rollouts == 3


def test_the_normaliser_stands_still_while_a_rollout_is_made_and_learnt_from(small):
    learner = make(steps=50)
    trainer = RolloutTrainer(small.PointMass(), learner, settings(total_steps=49))
    trainer.train()
    assert not learner.normalizer.offset.any()
    observations = trainer.rollout.steps().observation.copy()
    trainer.settings = settings(total_steps=50)
    trainer._collect()
    last = trainer.rollout.steps().observation[-1:]
    trainer._update(metrics=False)
    np.testing.assert_allclose(
        learner.normalizer.offset, np.concatenate([observations, last]).mean(axis=0), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("kind", ["snapshots", "episodes", "vector"])
def test_a_run_that_was_stopped_ends_bit_for_bit_like_one_that_was_not(small, tmp_path: Path, name: str, kind: str):
    # Stopped at checkpoints, in the middle of rollouts; what was learnt and what was logged are the same.
    ends, records = [], []
    for attempt, stops in enumerate([(150,), (35, 70, 150)]):
        run = Run.create(tmp_path / str(attempt), {})
        for stop in stops:
            learner = make(name, seed=3 if stop == stops[0] else 99)
            train_until_killed(small.make_environment(kind), learner, run, None if stop == stops[-1] else stop)
        ends.append(tensors(learner))
        records.append(recorded(run))
    assert ends[0].keys() == ends[1].keys()
    for key, tensor in ends[0].items():
        np.testing.assert_array_equal(tensor, ends[1][key], err_msg=key)
    assert records[0] == records[1]


def train_until_killed(env, learner: OnPolicy, run: Run, stop: int | None) -> None:
    """Trains to the end, or to the first checkpoint at or after `stop` and is gone there."""
    interval = 35 // getattr(env, "num_envs", 1)  # each of several environments gets it to itself
    trainer = RolloutTrainer(env, learner, settings(checkpoint_interval=interval), run)
    if stop is None:
        trainer.train()
        return
    write = trainer._write_checkpoint

    def write_and_die(log) -> None:
        write(log)
        if trainer.step >= stop:
            raise InterruptedError

    trainer._write_checkpoint = write_and_die
    with pytest.raises(InterruptedError):
        trainer.train()


def test_ctrl_c_in_the_middle_of_a_rollout_loses_nothing(small, tmp_path: Path):
    run = Run.create(tmp_path / "run", {})

    def evaluate(_) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGINT)
        return {}

    learner = make(steps=100)
    result = train(small.make_environment("snapshots"), learner, settings(evaluation_interval=40), run, evaluate)
    assert (result.interrupted, result.steps, result.updates) == (True, 40, 0)
    place = latest_checkpoint(run.checkpoints)
    assert place is not None
    assert len(load_checkpoint(place).part("rollout").arrays["reward"]) == 40
    resumed = train(small.make_environment("snapshots"), make(steps=100, seed=1), settings(), run)
    assert (resumed.steps, resumed.updates) == (150, 1)


def test_no_replay_is_kept(small, tmp_path: Path):
    run = Run.create(tmp_path / "run", {})
    train(small.PointMass(), make(), settings(), run)
    assert not run.replay.exists() or not any(run.replay.iterdir())


def test_steps_of_other_sizes_are_refused():
    with pytest.raises(StorageError, match="observation"):
        Rollout(3, 1).load_state(Rollout(2, 1).state())


def test_a_vector_of_environments_learns_what_one_does(small):
    learner = make(steps=60)
    trainer = RolloutTrainer(small.make_environment("vector"), learner, settings(total_steps=300))
    before = learner.state().tensors
    trainer.train()
    after = learner.state().tensors
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert any("actor/head" in name for name in changed)
    assert trainer.updates >= 4
