"""SAC on problems whose optimum is known from quadrature or from the Riccati equation."""

import gymnasium
import numpy as np
import pytest
import torch

from robot_rl.algorithms.learner import Batch
from robot_rl.algorithms.sac import SAC, SACSettings
from robot_rl.training.trainer import TrainerSettings, train


def tanh_gaussian_density(a: np.ndarray, mean: float, std: float) -> np.ndarray:
    u = np.arctanh(a)
    return np.exp(-0.5 * ((u - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi) * (1 - a**2))


def test_one_step_policy_is_the_tanh_gaussian_nearest_to_exp_q_over_alpha():
    # One state, one step, reward r(a): the soft-optimal policy is exp(r/alpha)/Z, and SAC's actor should be the
    # tanh-Gaussian of least KL to it. Both come from quadrature here.
    alpha = 0.2

    def reward(a: np.ndarray) -> np.ndarray:
        return -2.0 * (a - 0.4) ** 2 + 0.3 * np.sin(6.0 * a)

    nodes, weights = np.polynomial.legendre.leggauss(200)
    target = np.exp(reward(nodes) / alpha)
    target /= np.sum(weights * target)

    def divergence(mean: float, std: float) -> float:
        density = np.maximum(tanh_gaussian_density(nodes, mean, std), 1e-300)
        return float(np.sum(weights * density * np.log(density / target)))

    best = min(divergence(mean, std) for mean in np.linspace(-0.5, 1.5, 81) for std in np.linspace(0.1, 1.2, 56))

    settings = SACSettings(
        hidden_sizes=(32, 32), critic_learning_rate=3e-3, actor_learning_rate=2e-3,
        initial_temperature=alpha, temperature_learning_rate=0.0,
    )  # fmt: skip
    learner = SAC(1, 1, settings, seed=0)
    rng = np.random.default_rng(0)
    ones = np.ones((256, 1), np.float32)
    for _ in range(1200):
        action = rng.uniform(-1, 1, (256, 1)).astype(np.float32)
        r = reward(action[:, 0]).astype(np.float32)
        learner.update(Batch(ones, action, r, ones, np.ones(256, np.float32)))
    mean, log_std = (float(x.detach()[0, 0]) for x in learner.actor(torch.ones(1, 1)))
    assert divergence(mean, np.exp(log_std)) < best + 0.01
    # Not a coincidence of the start: an untrained actor is far from it.
    assert divergence(0.0, 1.0) > best + 0.1


class LinearQuadratic(gymnasium.Env):
    """x' = x + a/2, cost x^2 + a^2 / 2, from x in [-1, 1]; cut by a time limit, never terminal."""

    b, cost_of_action, steps = 0.5, 0.5, 20

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.tick = self.np_random.uniform(-1.0, 1.0), 0
        return np.array([self.x], np.float32), {}

    def step(self, action):
        a = float(action[0])
        reward = -(self.x**2) - self.cost_of_action * a**2
        self.x += self.b * a
        self.tick += 1
        return np.array([self.x], np.float32), reward, False, self.tick == self.steps, {}


def riccati_value(discount: float, b: float, cost: float) -> tuple[float, float]:
    """P and K of V(x) = -P x^2 and a = -K x, by iterating the discounted Riccati equation."""
    p = 1.0
    for _ in range(1000):
        k = discount * b * p / (cost + discount * b * b * p)
        p = 1.0 + cost * k * k + discount * p * (1.0 - b * k) ** 2
    return p, k


def test_linear_quadratic_regulator_is_learnt_to_within_ten_percent_of_the_riccati_cost():
    discount = 0.9
    p, k = riccati_value(discount, LinearQuadratic.b, LinearQuadratic.cost_of_action)
    assert k < 1.0  # so that the bound on the action plays no part from |x| <= 1
    settings = SACSettings(
        hidden_sizes=(32, 32), discount=discount, tau=0.05, critic_learning_rate=3e-3, actor_learning_rate=1e-3,
        initial_temperature=0.01, temperature_learning_rate=0.0,
    )  # fmt: skip
    learner = SAC(1, 1, settings, seed=0)
    train(
        LinearQuadratic(),
        learner,
        TrainerSettings(total_steps=2000, start_steps=300, batch_size=128, replay_capacity=2000, seed=0, threads=1),
    )
    costs = []
    for start in (-0.9, -0.5, 0.3, 0.8):
        x, cost = start, 0.0
        for tick in range(100):
            a = float(learner.act(np.array([x], np.float32), deterministic=True)[0])
            cost += discount**tick * (x**2 + LinearQuadratic.cost_of_action * a**2)
            x += LinearQuadratic.b * a
        costs.append(cost / (p * start**2))
    assert min(costs) > 0.999  # nothing beats the optimum
    assert np.mean(costs) < 1.10
    # The critics know what the soft-optimal policy is worth: V(x) = -P x^2 + alpha log Z / (1 - gamma), where Z is the
    # integral of exp((Q(x, a) - max Q) / alpha), a Gaussian one. They would not without bootstrapping at the limit.
    variance = 0.01 / (2.0 * (LinearQuadratic.cost_of_action + discount * LinearQuadratic.b**2 * p))
    constant = 0.01 * 0.5 * np.log(2.0 * np.pi * variance) / (1.0 - discount)
    q = learner.critics(torch.tensor([[0.8]]), torch.tensor([[-0.8 * k]])).mean().item()
    assert q == pytest.approx(-p * 0.8**2 + discount * constant, abs=0.15)
