"""Files of deterministic actors and of Gaussian ones with one spread against a forward pass written out here."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from policies.contract import read_contract
from policies.export import export_policy
from policies.runtime import OnnxPolicy
from robot_rl.algorithms.a3c import A3C, A3CSettings
from robot_rl.algorithms.acktr import ACKTR, ACKTRSettings
from robot_rl.algorithms.ddpg import DDPG, DDPGSettings
from robot_rl.algorithms.npg import NPG, NPGSettings
from robot_rl.algorithms.ppo import PPO, PPOSettings
from robot_rl.algorithms.reinforce import Reinforce, ReinforceSettings
from robot_rl.algorithms.td3 import TD3, TD3Settings
from robot_rl.algorithms.trpo import TRPO, TRPOSettings
from robot_rl.training.normalizer import Normalizer

DETERMINISTIC = {"ddpg": (DDPG, DDPGSettings), "td3": (TD3, TD3Settings)}
GAUSSIAN = {
    "a3c": (A3C, A3CSettings),
    "acktr": (ACKTR, ACKTRSettings),
    "npg": (NPG, NPGSettings),
    "ppo": (PPO, PPOSettings),
    "reinforce": (Reinforce, ReinforceSettings),
    "trpo": (TRPO, TRPOSettings),
}


def make(task, kind, settings, running):
    """A learner with weights large enough for its actions to fill [-1, 1]."""
    size = task.layout.size
    normalizer = Normalizer.running_statistics(size) if running else Normalizer(task.layout.offset, task.layout.scale)
    learner = kind(size, task.spec.action.size, settings(hidden_sizes=(32, 24)), 3, normalizer)
    rng = np.random.default_rng(0)
    normalizer.observe(task.layout.offset + task.layout.scale * rng.normal(0.2, 1.3, (500, size)))
    with torch.no_grad():
        learner.actor.head.weight.copy_(torch.from_numpy(rng.normal(0.0, 0.3, learner.actor.head.weight.shape)))
        learner.actor.head.bias.copy_(torch.from_numpy(rng.normal(0.0, 0.3, learner.actor.head.bias.shape)))
        if hasattr(learner.actor, "log_std"):
            learner.actor.log_std.copy_(torch.from_numpy(rng.normal(-0.5, 0.3, learner.actor.log_std.shape)))
    return learner


def forward(learner, observation, activation):
    """The pre-tanh mean in float64 from the weights alone, (N, d)."""
    w = {name: value.detach().numpy().astype(np.float64) for name, value in learner.actor.named_parameters()}
    normalizer = learner.normalizer
    x = (observation.astype(np.float64) - normalizer.offset) / normalizer.scale
    x = np.clip(x, -normalizer.clip, normalizer.clip)
    for i in range(len(learner.actor.hidden)):
        x = activation(x @ w[f"hidden.{i}.weight"].T + w[f"hidden.{i}.bias"])
    return x @ w["head.weight"].T + w["head.bias"]


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("name", [*DETERMINISTIC, *GAUSSIAN])
def test_the_file_answers_as_the_weights_say_to_a_hundred_thousandth(name, running, walk, go2, tmp_path):
    learner = make(walk, *(DETERMINISTIC | GAUSSIAN)[name], running)
    report = export_policy(learner, walk, tmp_path / "a.onnx")
    assert report.max_error <= 1e-5
    policy = OnnxPolicy.load(tmp_path / "a.onnx", robot=go2, layout=walk.layout)
    rng = np.random.default_rng(5)
    observation = walk.layout.offset + walk.layout.scale * rng.standard_normal((200, walk.layout.size))
    observation = observation.astype(np.float32)
    noise = rng.standard_normal((200, learner.action_size)).astype(np.float32)

    if name in DETERMINISTIC:
        expected = np.tanh(forward(learner, observation, lambda x: np.maximum(x, 0)))
        sampled = np.clip(expected + learner.settings.exploration_noise * noise, -1, 1)
    else:
        mean = forward(learner, observation, np.tanh)
        expected = np.tanh(mean)
        sampled = np.tanh(mean + np.exp(learner.actor.log_std.detach().numpy()) * noise)
    assert np.abs(expected).max() > 0.7
    np.testing.assert_allclose(policy.act(observation).action, expected, atol=1e-5)
    np.testing.assert_allclose(policy.act(observation, noise).action, sampled, atol=1e-5)
    np.testing.assert_allclose(learner.act(observation, deterministic=True), expected, atol=1e-5)

    contract = read_contract(tmp_path / "a.onnx")
    assert contract.algorithm == name
    assert contract.network.sizes == (walk.layout.size, 32, 24, learner.action_size)
    np.testing.assert_allclose(contract.normalizer.offset, learner.normalizer.offset)
