"""Learners on problems that a random policy is bad at, in seconds."""

import gymnasium
import numpy as np
import pytest
import torch

from robot_rl.algorithms.a3c import A3C, A3CSettings
from robot_rl.algorithms.acktr import ACKTR, ACKTRSettings
from robot_rl.algorithms.ddpg import DDPG, DDPGSettings
from robot_rl.algorithms.learner import Batch, Learner
from robot_rl.algorithms.npg import NPG, NPGSettings
from robot_rl.algorithms.on_policy import OnPolicy
from robot_rl.algorithms.ppo import PPO, PPOSettings
from robot_rl.algorithms.reinforce import Reinforce, ReinforceSettings
from robot_rl.algorithms.rollout import Steps
from robot_rl.algorithms.td3 import TD3, TD3Settings
from robot_rl.algorithms.trpo import TRPO, TRPOSettings
from robot_rl.training.evaluation import evaluate_policy
from robot_rl.training.normalizer import Normalizer
from robot_rl.training.trainer import TrainerSettings, train

PENDULUM = Normalizer(np.zeros(3), np.array([1.0, 1.0, 8.0]))
"""A random policy has a return near -1200, one that does nothing -1350; the best is about -150."""

ON_POLICY = {
    "ppo": (PPO, PPOSettings(steps=256, learning_rate=3e-3, epochs=5)),
    "ppo with a price on KL": (
        PPO,
        PPOSettings(steps=256, learning_rate=3e-3, epochs=5, objective="adaptive_kl"),
    ),
    "reinforce": (Reinforce, ReinforceSettings(steps=256, learning_rate=0.03, critic_epochs=5)),
    "reinforce on the surrogate": (
        Reinforce,
        ReinforceSettings(steps=256, learning_rate=0.01, critic_epochs=5, objective="surrogate", kl_limit=0.05),
    ),
    "npg": (NPG, NPGSettings(steps=256, critic_epochs=5, kl_limit=0.05, damping=1e-3)),
    "trpo": (TRPO, TRPOSettings(steps=256, critic_epochs=5, kl_limit=0.05, damping=1e-3)),
    "acktr": (ACKTR, ACKTRSettings(steps=256, kl_target=0.05, learning_rate=1.0, critic_epochs=3)),
    "a3c": (A3C, A3CSettings(steps=256, learning_rate=0.02, critic_learning_rate=0.02, workers=0)),
}


@pytest.mark.parametrize("name", ON_POLICY)
def test_an_on_policy_learner_finds_the_best_action_of_each_state(name: str):
    # One step long, reward -(u - target(s))^2 / 2 in the action under the tanh: the best mean is the target.
    kind, settings = ON_POLICY[name]
    learner: OnPolicy = kind(1, 1, settings, seed=0)
    rng = np.random.default_rng(0)
    always = np.ones(256, bool)

    def target(observation: np.ndarray) -> np.ndarray:
        return 0.8 * np.sin(2.0 * observation)

    for _ in range(60):
        observation = rng.uniform(-1, 1, (256, 1)).astype(np.float32)
        pre_tanh = learner.draw(observation)
        reward = -0.5 * (pre_tanh - target(observation))[:, 0] ** 2
        environment = np.zeros(256, np.int64)
        learner.update(Steps(observation, pre_tanh, reward, observation, always, always, environment))
    probe = np.linspace(-1, 1, 21, dtype=np.float32)[:, None]
    with torch.no_grad():
        mean = learner.actor(torch.from_numpy(probe))[0].numpy()
    error = np.sqrt(np.mean((mean - target(probe)) ** 2))
    assert error < 0.2
    assert np.sqrt(np.mean(target(probe) ** 2)) > 0.5  # what an untrained actor is off by


def mean_return(learner: Learner) -> float:
    env = gymnasium.make("Pendulum-v1")
    return evaluate_policy(env, lambda observation: learner.act(observation, deterministic=True), 10, 100)["return"]


def test_ddpg_finds_the_best_action_of_each_state():
    # One step long, reward -(a - target(s))^2: the critic learns it from any actions, the actor climbs the critic.
    settings = DDPGSettings(hidden_sizes=(32, 32), actor_learning_rate=3e-3, critic_learning_rate=3e-3)
    learner = DDPG(1, 1, settings, seed=0)
    rng = np.random.default_rng(0)
    ones = np.ones(128, np.float32)
    for _ in range(500):
        observation, action = rng.uniform(-1, 1, (2, 128, 1)).astype(np.float32)
        reward = -((action - 0.8 * np.sin(2.0 * observation))[:, 0] ** 2)
        learner.update(Batch(observation, action, reward, observation, ones))
    probe = np.linspace(-1, 1, 21, dtype=np.float32)[:, None]
    target = 0.8 * np.sin(2.0 * probe)
    assert np.sqrt(np.mean((learner.act(probe, deterministic=True) - target) ** 2)) < 0.2
    assert np.sqrt(np.mean(target**2)) > 0.5  # what an untrained actor is off by


def test_td3_swings_the_pendulum_up():
    settings = TD3Settings(
        discount=0.95, tau=0.02, hidden_sizes=(64, 64), actor_learning_rate=3e-3, critic_learning_rate=3e-3,
        exploration_noise=0.3,
    )  # fmt: skip
    learner = TD3(3, 1, settings, 0, PENDULUM)
    trainer = TrainerSettings(total_steps=4000, start_steps=300, batch_size=64, log_interval=4000, threads=1)
    train(gymnasium.make("Pendulum-v1"), learner, trainer)
    assert mean_return(learner) > -450


def test_ppo_swings_the_pendulum_up():
    settings = PPOSettings(
        discount=0.9, trace=0.9, steps=800, learning_rate=2e-3, critic_learning_rate=5e-3, minibatch=100,
        critic_minibatch=100,
    )  # fmt: skip
    learner = PPO(3, 1, settings, 0, PENDULUM)
    trainer = TrainerSettings(total_steps=24_000, log_interval=24_000, threads=1)
    train(gymnasium.make_vec("Pendulum-v1", 16), learner, trainer)
    assert mean_return(learner) > -600
