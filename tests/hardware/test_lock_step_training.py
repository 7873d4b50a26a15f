"""Training over ROS 2 in lock step with the twin: as repeatable as in one process, a kill in the middle included."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardware.ros_robot import RosRobot
from robot_rl.commands.configuration import resolve, saved_config
from robot_rl.commands.training_config import TrainingConfig
from robot_rl.errors import ConfigurationError
from robot_rl.make import make_env
from robot_rl.robot import Start
from robot_rl.training.metrics import read_metrics
from robot_rl.training.run import Run
from tests.hardware.training_runs import TINY, saved_values, wait_until, weights

# Seconds on an idle machine. Each process loads torch, and on a busy one that alone can take minutes.
pytestmark = pytest.mark.timeout(900)


def assert_identical(one: Run, other: Run) -> None:
    """Weights, generators and metrics are the same, bit for bit."""
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
    assert without_clocks(one) == without_clocks(other)


def without_clocks(run: Run) -> list[dict[str, float]]:
    """The metrics that no clock has a part in."""
    clocks = ("speed/", "wall_time")
    return [{k: v for k, v in line.items() if not k.startswith(clocks)} for line in read_metrics(run.metrics)]


def test_a_robot_over_ros_does_not_claim_that_it_can_be_saved_in_an_episode(lock_step_twin: RosRobot) -> None:
    env = make_env(lock_step_twin, "walk")
    env.reset(seed=0)
    with pytest.raises(ConfigurationError, match="robot 'go2' cannot be saved in the middle of an episode"):
        env.snapshot()


def test_two_lock_step_runs_with_one_seed_are_identical(lock_step_twin: RosRobot, tmp_path: Path) -> None:
    from robot_rl.algorithms.sac import SAC, SACSettings
    from robot_rl.training.trainer import TrainerSettings, train

    runs = []
    for name in ("one", "other"):
        env = make_env(lock_step_twin, "walk", time_limit=0.6)
        learner = SAC(env.observation_layout.size, 12, SACSettings(hidden_sizes=(8, 8)), seed=4)
        runs.append(Run.create(tmp_path / name, {}))
        train(env, learner, TrainerSettings(total_steps=110, seed=4, **TINY), runs[-1])
    assert_identical(*runs)


def test_the_stand_up_routine_brings_the_joints_to_the_start(
    lock_step_twin: RosRobot, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot = lock_step_twin
    robot.reset(Start(robot.spec.home), np.random.default_rng(0))
    monkeypatch.setattr(robot, "settings", replace(robot.settings, reset="stand_up", settle_time=0.3, move_speed=2.0))
    wanted = robot.spec.home + np.tile([0.0, 0.1, -0.1], 4)
    state = robot.reset(Start(wanted), np.random.default_rng(0))
    assert state.joint_position == pytest.approx(wanted, abs=0.3)  # the legs give way under the body
    assert state.stamp == 0.0


def lock_step_config(seed: int = 0) -> TrainingConfig:
    values = {
        "robot": "go2", "task": {"name": "walk"}, "on": "ros", "ros": {"lock_step": True}, "seed": seed,
        "sac": {"hidden_sizes": [8, 8]}, "trainer": {**TINY, "total_steps": 160},
    }  # fmt: skip
    return resolve(values, "test")


def train_here(run: Run, config: TrainingConfig) -> None:
    import torch

    from robot_rl.commands.training import train_only
    from robot_rl.settings import from_mapping
    from robot_rl.training.trainer import TrainerSettings

    threads = torch.get_num_threads()
    try:
        train_only(run, config, from_mapping(TrainerSettings, config.trainer, "trainer"))
    finally:
        torch.set_num_threads(threads)


def test_a_lock_step_run_killed_and_resumed_ends_like_an_uninterrupted_one(
    twin: Callable[..., Any], start: Callable[..., Any], tmp_path: Path
) -> None:
    twin("go2", "--lock-step")
    config = lock_step_config()
    (tmp_path / "config.yaml").write_text(json.dumps(config.to_dict()))
    arguments = ["train", "--config", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "killed")]
    trainer = start("-m", "robot_rl.cli", *arguments)
    trainer.wait_for(r"step 50/160", timeout=280)
    wait_until(lambda: (tmp_path / "killed" / "checkpoints" / "latest").is_file())
    trainer.end(signal.SIGKILL)
    killed = Run.open(tmp_path / "killed")
    assert saved_values(killed)["trainer/step"] < 160
    train_here(killed, saved_config(killed.path))
    whole = Run.create(tmp_path / "whole", config.to_dict())
    train_here(whole, config)
    assert_identical(whole, killed)
