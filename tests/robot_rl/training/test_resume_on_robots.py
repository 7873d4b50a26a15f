"""A run on a simulated robot continues where it stopped, bit for bit, in the middle of an episode too."""

import numpy as np
import pytest
import torch

from robot_rl.algorithms.sac import SAC, SACSettings
from robot_rl.make import (
    load_randomization,
    make_env,
    make_learner,
    make_privileged,
    make_task,
    make_vector_env,
)
from robot_rl.training.run import Run
from robot_rl.training.trainer import TrainerSettings, train


def _weights_after(steps, folder, env):
    """The actor after training to each of `steps` in turn, every time in fresh objects."""
    run = Run.create(folder, {})
    for total in steps:
        environment = env()
        learner = environment.learner()
        settings = TrainerSettings(
            total_steps=total, start_steps=60, batch_size=8, replay_capacity=90, checkpoint_interval=10_000,
            evaluation_interval=0, log_interval=50, seed=3, threads=1,
        )  # fmt: skip
        train(environment.env, learner, settings, run)
        environment.env.close()
    return torch.cat([p.detach().flatten() for p in learner.actor.parameters()]).numpy()


class _Env:
    """An environment with the one figure that single and vector environments name differently."""

    def __init__(self, env):
        self.env, self.observation_layout = env, env.observation_layout
        self.single_action_size = env.task.spec.action.size

    def learner(self):
        return SAC(self.observation_layout.size, self.single_action_size, SACSettings(hidden_sizes=(16,)), seed=3)


class _PartedEnv:
    """A hand that sees, or critics that know more, with the learner for that."""

    def __init__(self, camera, copies):
        self._task = make_task("turn_valve", "dclaw", observation={"camera": camera})
        varied = None if camera else load_randomization("mild", "dclaw")
        self._privileged = None if camera else make_privileged(self._task, varied)
        with_all = {"randomization": varied, "privileged": self._privileged, "time_limit": 3.7}
        if copies == 1:
            self.env = make_env("dclaw", self._task, **with_all)
        else:
            self.env = make_vector_env("dclaw", self._task, copies, **with_all)

    def learner(self):
        encoder = {"channels": [4], "features": 4} if self._task.camera else {}
        return make_learner("sac", self._task, {"hidden_sizes": [16]}, 3, self._privileged, encoder)


ENVIRONMENTS = {
    "one go2": lambda: _Env(make_env("go2", "walk", time_limit=0.7)),
    "one minitaur": lambda: _Env(make_env("minitaur", "walk", time_limit=0.7)),
    "three go2": lambda: _Env(make_vector_env("go2", "walk", 3, time_limit=0.7)),
    "one hand": lambda: _Env(make_env("leap_hand", "rotate_cube")),
    "one hand that sees": lambda: _PartedEnv(True, 1),
    "three hands that see": lambda: _PartedEnv(True, 3),
    "a hand whose critics know more": lambda: _PartedEnv(False, 1),
    "one go2 in PyBullet": lambda: _Env(make_env("go2", "walk", backend="pybullet", time_limit=0.7)),
    "three arms in PyBullet": lambda: _Env(make_vector_env("planar_arm", "push", 3, backend="pybullet")),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_run_stopped_in_the_middle_of_an_episode_goes_on_as_if_it_had_not(name, tmp_path):
    if "PyBullet" in name:
        pytest.importorskip("pybullet", reason="PyBullet is not installed (extra 'pybullet')")
    env = ENVIRONMENTS[name]
    # Multiples of three, and of no copy a multiple of the 35 steps of an episode, or of the 37 of the hands with more.
    stops = [69, 96, 120]
    whole = _weights_after(stops[-1:], tmp_path / "whole", env)
    parts = _weights_after(stops, tmp_path / "parts", env)
    np.testing.assert_array_equal(parts, whole)
