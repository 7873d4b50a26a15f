"""The actor in NumPy computes what torch computes."""

import numpy as np
import pytest
import torch

from robot_rl.algorithms.ppo import PPO
from robot_rl.algorithms.sac import SAC, SACSettings
from robot_rl.algorithms.td3 import TD3, TD3Settings
from robot_rl.errors import ConfigurationError
from robot_rl.training.learner_process import actor_shape, flat_weights
from robot_rl.training.normalizer import Normalizer
from robot_rl.training.numpy_actor import NumpyActor


def sac(hidden: tuple[int, ...] = (64, 32), normalizer: Normalizer | None = None) -> SAC:
    return SAC(7, 3, SACSettings(hidden_sizes=hidden, log_std_min=-1.5, log_std_max=0.3), 5, normalizer)


def normalizer() -> Normalizer:
    rng = np.random.default_rng(1)
    return Normalizer(rng.normal(size=7), rng.uniform(0.1, 3.0, 7), clip=1.2)


@pytest.mark.parametrize("hidden", [(64, 32), (16,), (128, 128, 128)])
@pytest.mark.parametrize("with_normalizer", [False, True])
def test_mode_is_that_of_torch_to_a_millionth(hidden: tuple[int, ...], with_normalizer: bool):
    learner = sac(hidden, normalizer() if with_normalizer else None)
    actor = NumpyActor(actor_shape(learner), flat_weights(learner), 0)
    for observation in np.random.default_rng(2).normal(0.0, 2.0, (50, 7)).astype(np.float32):
        action = actor.act(observation, deterministic=True)
        assert action.dtype == np.float32
        np.testing.assert_allclose(action, learner.act(observation, deterministic=True), atol=1e-6)


def test_samples_have_the_mean_and_the_bounded_deviation_of_torch():
    learner = sac(normalizer=normalizer())
    actor = NumpyActor(actor_shape(learner), flat_weights(learner), 0)
    observation = np.random.default_rng(3).normal(size=7).astype(np.float32)
    pre_tanh = np.arctanh([actor.act(observation).astype(np.float64) for _ in range(20_000)])  # (N, A)
    with torch.no_grad():
        mean, log_std = learner.actor(torch.from_numpy(learner.normalizer(observation)))
    np.testing.assert_allclose(pre_tanh.mean(axis=0), mean.numpy(), atol=0.03)
    np.testing.assert_allclose(pre_tanh.std(axis=0), log_std.exp().numpy(), rtol=0.03)


def td3() -> TD3:
    return TD3(7, 3, TD3Settings(hidden_sizes=(64, 32), exploration_noise=0.3), 5, normalizer())


def test_a_deterministic_actor_is_that_of_torch_too():
    learner = td3()
    actor = NumpyActor(actor_shape(learner), flat_weights(learner), 0)
    for observation in np.random.default_rng(2).normal(0.0, 2.0, (50, 7)).astype(np.float32):
        action = actor.act(observation, deterministic=True)
        assert action.dtype == actor.act(observation).dtype == np.float32
        np.testing.assert_allclose(action, learner.act(observation, deterministic=True), atol=1e-6)


def test_a_deterministic_actor_explores_around_its_action_and_stays_in_the_box():
    learner = td3()
    actor = NumpyActor(actor_shape(learner), flat_weights(learner), 0)
    observation = np.random.default_rng(3).normal(size=7).astype(np.float32)
    drawn = np.array([actor.act(observation) for _ in range(20_000)])
    mode = learner.act(observation, deterministic=True)
    assert np.abs(mode).max() < 0.4  # so that hardly any draw is clipped
    np.testing.assert_allclose(drawn.mean(axis=0), mode, atol=0.02)
    np.testing.assert_allclose(drawn.std(axis=0), 0.3, rtol=0.05)
    assert np.abs(drawn).max() <= 1.0


def test_learners_from_their_own_steps_do_not_train_in_real_time_and_say_which_do():
    with pytest.raises(ConfigurationError, match=r"PPO does not train in real time.*sac.*td3"):
        actor_shape(PPO(7, 3))


def test_new_weights_make_the_new_policy():
    one, other = sac(normalizer=normalizer()), sac(normalizer=Normalizer.identity(7))
    other.normalizer.clip = one.normalizer.clip
    actor = NumpyActor(actor_shape(one), flat_weights(one), 0)
    actor.load(flat_weights(other))
    observation = np.ones(7, dtype=np.float32)
    np.testing.assert_allclose(actor.act(observation, True), other.act(observation, True), atol=1e-6)
