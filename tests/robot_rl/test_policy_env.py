"""A policy file is simulated with the task that it was trained for, its settings included."""

from __future__ import annotations

from robot_rl.cli import main
from robot_rl.commands.evaluate import policy_env


def test_the_feet_lift_in_simulation_as_they_did_in_training(tmp_path):
    run = tmp_path / "run"
    settings = ("--task.step_height", "0.05", "--trainer.episode_seconds", "0.5", "--trainer.start_steps", "20")
    assert main(["train", "walk", "--robot", "go2", "--steps", "40", *settings, "--out", str(run)]) == 0
    env, policy = policy_env(run / "policy.onnx", "go2", time_limit=1.0)
    assert env.task.settings.step_height == 0.05
    observation, _ = env.reset(seed=0)
    assert policy.act(observation).action.shape == env.action_space.shape
    ticks = 1
    while not env.step(env.action_space.sample() * 0.0)[3]:
        ticks += 1
    assert ticks == 50
