"""The two versions of SAC with a value network: losses by hand, an update written out, and values in closed form."""

import copy

import numpy as np
import pytest
import torch

from robot_rl.algorithms.distributions import sample_with_log_prob
from robot_rl.algorithms.learner import Batch
from robot_rl.algorithms.networks import Value
from robot_rl.algorithms.sac_value import (
    SACValue,
    SACValueSettings,
    actor_loss,
    critic_target,
    value_loss,
)


def test_losses_and_target_by_hand():
    q = torch.tensor([[5.0, 1.0], [4.0, 2.0]])
    log_prob = torch.tensor([-2.0, 1.0])
    # targets min(5, 4) + 2 = 6 and min(1, 2) - 1 = 0; 1/2 ((7 - 6)^2 + (3 - 0)^2) / 2 = 2.5
    assert value_loss(torch.tensor([7.0, 3.0]), q, log_prob).item() == pytest.approx(2.5)
    # ((-2 - 4) + (1 - 1)) / 2
    assert actor_loss(log_prob, q).item() == pytest.approx(-3.0)
    # 5 * 2 + .9 * 10, and 5 * 2 alone where the episode ended
    y = critic_target(torch.full((2,), 2.0), torch.tensor([0.0, 1.0]), torch.full((2,), 10.0), 5.0, 0.9)
    assert y.tolist() == pytest.approx([19.0, 10.0])


def test_the_value_loss_teaches_the_value_alone():
    q = torch.zeros(2, 3, requires_grad=True)
    log_prob = torch.zeros(3, requires_grad=True)
    value = torch.ones(3, requires_grad=True)
    gradients = torch.autograd.grad(value_loss(value, q, log_prob), (value, q, log_prob), allow_unused=True)
    assert gradients[0].tolist() == pytest.approx([1 / 3] * 3)
    assert gradients[1:] == (None, None)


@pytest.mark.parametrize("critics", [1, 2])
def test_one_update_is_one_step_of_adam_on_each_loss(critics: int):
    # Written out again with separate tools: autograd on the whole graph and torch.optim.Adam, not fused.
    settings = SACValueSettings(hidden_sizes=(16, 16), critics=critics, reward_scale=3.0, tau=0.25)
    learner = SACValue(4, 2, settings, seed=0)
    names = ("actor", "critics", "value", "target_value")
    actor, q_networks, value, target = (copy.deepcopy(getattr(learner, name)) for name in names)
    generator = torch.Generator()
    generator.set_state(learner.state().tensors["sac_value/generator"])
    rng = np.random.default_rng(0)
    batch = Batch(
        *(rng.standard_normal((32, n)).astype(np.float32) for n in (4, 2)), rng.standard_normal(32).astype(np.float32),
        rng.standard_normal((32, 4)).astype(np.float32), (rng.random(32) < 0.2).astype(np.float32),
    )  # fmt: skip
    learner.update(batch)

    s, a, r, s2, d = (torch.from_numpy(getattr(batch, name)) for name in Batch.__annotations__)
    new, logp = sample_with_log_prob(*actor(s), torch.randn(32, 2, generator=generator))
    lowest = q_networks(s, new).min(dim=0).values
    losses = {
        "value": 0.5 * ((value(s) - (lowest - logp).detach()) ** 2).mean(),
        "actor": (logp - lowest).mean(),
        "critics": 0.5 * ((q_networks(s, a) - (3.0 * r + 0.99 * (1 - d) * target(s2))) ** 2).mean(1).sum(),
    }
    for name, network in (("value", value), ("actor", actor), ("critics", q_networks)):
        gradients = torch.autograd.grad(losses[name], list(network.parameters()), retain_graph=True)
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            parameter.grad = gradient
    for network in (value, actor, q_networks):
        torch.optim.Adam(network.parameters(), 3e-4).step()
    with torch.no_grad():
        for ours, source in zip(target.parameters(), value.parameters(), strict=True):
            ours.mul_(0.75).add_(0.25 * source)
    for name, network in zip(names, (actor, q_networks, value, target), strict=True):
        for ours, theirs in zip(getattr(learner, name).parameters(), network.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)


@pytest.mark.parametrize("critics", [1, 2])
def test_value_and_critics_find_the_soft_value_of_a_reward_for_ever(critics: int):
    # One state, reward 3 whatever the action, discount 1/2, never terminal: the best policy is the one of most
    # entropy H, and V = (c 3 + H) / (1 - 1/2), Q = c 3 + V / 2. H is close to log 2, that of the uniform on [-1, 1].
    settings = SACValueSettings(
        critics=critics, hidden_sizes=(16,), discount=0.5, tau=0.1, reward_scale=2.0,
        actor_learning_rate=1e-2, critic_learning_rate=1e-2, value_learning_rate=1e-2,
    )  # fmt: skip
    learner = SACValue(1, 1, settings, seed=0)
    ones, rng = np.ones((64, 1), np.float32), np.random.default_rng(0)
    for _ in range(700):
        action = rng.uniform(-1, 1, (64, 1)).astype(np.float32)
        metrics = learner.update(Batch(ones, action, 3 * ones[:, 0], ones, 0 * ones[:, 0]), metrics=True)
    assert metrics["entropy"] == pytest.approx(np.log(2.0), abs=0.1)
    value = 2.0 * (6.0 + np.log(2.0))
    assert learner.value(torch.ones(1, 1)).item() == pytest.approx(value, abs=0.4)
    q = learner.critics(torch.ones(1, 1), torch.zeros(1, 1))
    assert q.flatten().tolist() == pytest.approx([6.0 + value / 2] * critics, abs=0.4)


def test_what_is_terminal_is_worth_its_scaled_reward():
    learner = SACValue(1, 1, SACValueSettings(hidden_sizes=(16,), critic_learning_rate=1e-2, reward_scale=2.0), seed=0)
    ones = np.ones((64, 1), np.float32)
    for _ in range(300):
        learner.update(Batch(ones, 0 * ones, 3 * ones[:, 0], ones, ones[:, 0]))
    assert learner.critics(torch.ones(1, 1), torch.zeros(1, 1)).flatten().tolist() == pytest.approx([6, 6], abs=0.1)


def test_the_value_network_is_a_plain_stack():
    value = Value(3, (8, 5), torch.Generator().manual_seed(0))
    plain = torch.nn.Sequential(value.hidden[0], torch.nn.ReLU(), value.hidden[1], torch.nn.ReLU(), value.head)
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(value(x), plain(x)[:, 0])
