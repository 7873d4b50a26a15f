"""The pieces of SAC: losses by hand and by finite differences, target average, state, settings."""

import copy
import math

import numpy as np
import pytest
import torch

from robot_rl.algorithms.distributions import sample_with_log_prob
from robot_rl.algorithms.learner import Batch
from robot_rl.algorithms.networks import move_targets
from robot_rl.algorithms.sac import (
    SAC,
    SACSettings,
    actor_loss,
    critic_loss,
    critic_target,
    temperature_loss,
)
from robot_rl.errors import ConfigurationError

SMALL = SACSettings(hidden_sizes=(16, 16))


def parameters_of(learner: SAC) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in learner.state().tensors.items()}


def test_critic_target_by_hand():
    # r + gamma (min(q1, q2) - alpha log pi) = 1 + .9 (min(5, 4) - .5 * -2) = 5.5
    y = critic_target(
        reward=torch.tensor([1.0, 1.0]),
        terminated=torch.tensor([0.0, 1.0]),
        next_q=torch.tensor([[5.0, 5.0], [4.0, 4.0]]),
        next_log_prob=torch.tensor([-2.0, -2.0]),
        alpha=torch.tensor(0.5),
        discount=0.9,
    )
    assert y.tolist() == pytest.approx([5.5, 1.0])


def test_critic_loss_by_hand():
    # 1/2 ((1-0)^2 + (3-1)^2)/2 + 1/2 ((0-0)^2 + (4-1)^2)/2 = 1.25 + 2.25
    q = torch.tensor([[1.0, 3.0], [0.0, 4.0]])
    assert critic_loss(q, torch.tensor([0.0, 1.0])).item() == pytest.approx(3.5)


def test_terminated_does_not_bootstrap_and_the_critics_learn_the_reward_alone():
    learner = SAC(1, 1, SACSettings(hidden_sizes=(16,), critic_learning_rate=1e-2), seed=0)
    ones = np.ones((64, 1), np.float32)
    terminal = Batch(ones, 0 * ones, 3 * np.ones(64, np.float32), ones, np.ones(64, np.float32))
    for _ in range(300):
        learner.update(terminal)
    q = learner.critics(torch.ones(1, 1), torch.zeros(1, 1))
    assert q.flatten().tolist() == pytest.approx([3.0, 3.0], abs=0.05)


def test_time_limit_still_bootstraps():
    # A transition cut by a time limit is stored as not terminated: its target holds the value of the next state.
    settings = SACSettings(
        hidden_sizes=(16,), critic_learning_rate=1e-2, discount=0.5, tau=0.1,
        initial_temperature=1e-8, temperature_learning_rate=0.0,
    )  # fmt: skip
    learner = SAC(1, 1, settings, seed=0)
    ones = np.ones((64, 1), np.float32)
    rng = np.random.default_rng(0)
    for _ in range(600):
        action = rng.uniform(-1, 1, (64, 1)).astype(np.float32)
        learner.update(Batch(ones, action, 3 * np.ones(64, np.float32), ones, np.zeros(64, np.float32)))
    # Reward 3 for ever at discount 1/2 is worth 6.
    q = learner.critics(torch.ones(1, 1), torch.zeros(1, 1))
    assert q.flatten().tolist() == pytest.approx([6.0, 6.0], abs=0.15)


def test_temperature_gradient_is_that_of_finite_differences():
    log_prob = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
    log_alpha = torch.tensor(-0.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: temperature_loss(x, log_prob, -2.0), (log_alpha,))
    # By hand: -exp(-.7) (mean log pi + Hbar)
    (gradient,) = torch.autograd.grad(temperature_loss(log_alpha, log_prob, -2.0), log_alpha)
    assert gradient.item() == pytest.approx(-math.exp(-0.7) * (1.1 / 3 - 2.0))


@pytest.mark.parametrize(("target_entropy", "rises"), [(50.0, True), (-50.0, False)])
def test_temperature_rises_when_entropy_is_short_and_falls_when_there_is_more_than_asked(
    target_entropy: float, rises: bool, random_batch
):
    learner = SAC(4, 2, SACSettings(hidden_sizes=(16,), target_entropy=target_entropy), seed=0)
    for _ in range(5):
        learner.update(random_batch())
    assert (learner.alpha > 1.0) is rises


def test_target_entropy_is_minus_one_nat_per_action_entry_by_default():
    assert SAC(4, 6, SMALL).target_entropy == -6.0
    assert SAC(4, 6, SACSettings(target_entropy=-3.0)).target_entropy == -3.0


def test_actor_gradient_is_that_of_finite_differences():
    learner = SAC(3, 2, SACSettings(hidden_sizes=(6,)), seed=1)
    actor, critics = learner.actor.double(), learner.critics.double()
    generator = torch.Generator().manual_seed(0)
    observation = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    noise = torch.randn(5, 2, generator=generator, dtype=torch.float64)
    alpha = torch.tensor(0.3, dtype=torch.float64)

    def loss() -> torch.Tensor:
        mean, log_std = actor(observation)
        action, log_prob = sample_with_log_prob(mean, log_std, noise)
        return actor_loss(log_prob, critics(observation, action), alpha)

    for parameter in actor.parameters():
        (gradient,) = torch.autograd.grad(loss(), parameter)
        flat = parameter.data.view(-1)
        for index in range(0, flat.numel(), 3):
            here, step = flat[index].item(), 1e-6
            flat[index] = here + step
            above = loss().item()
            flat[index] = here - step
            below = loss().item()
            flat[index] = here
            assert gradient.view(-1)[index].item() == pytest.approx((above - below) / (2 * step), rel=1e-4, abs=1e-7)


def test_one_update_is_one_step_of_adam_on_each_loss(random_batch):
    # The update written out again with separate tools: autograd on the whole graph and torch.optim.Adam, not fused.
    learner = SAC(4, 2, SMALL, seed=0)
    actor, critics, targets = (copy.deepcopy(m) for m in (learner.actor, learner.critics, learner.target_critics))
    log_alpha = learner.log_alpha.detach().clone().requires_grad_()
    generator = torch.Generator()
    generator.set_state(learner.state().tensors["sac/generator"])
    batch = random_batch()
    learner.update(batch)

    s, a, r, s2, d = (torch.from_numpy(getattr(batch, name)) for name in Batch.__annotations__)
    noise = torch.randn(2, 32, 2, generator=generator)
    with torch.no_grad():
        a2, logp2 = sample_with_log_prob(*actor(s2), noise[0])
        y = r + 0.99 * (1 - d) * (targets(s2, a2).amin(0) - 1.0 * logp2)
    q = critics(s, a)
    adam = torch.optim.Adam(critics.parameters(), 3e-4)
    (0.5 * ((q[0] - y) ** 2).mean() + 0.5 * ((q[1] - y) ** 2).mean()).backward()
    adam.step()
    adam = torch.optim.Adam(actor.parameters(), 3e-4)
    new, logp = sample_with_log_prob(*actor(s), noise[1])
    (1.0 * logp - critics(s, new).amin(0)).mean().backward()
    adam.step()
    adam = torch.optim.Adam([log_alpha], 3e-4)
    (-log_alpha.exp() * (logp.detach() - 2.0)).mean().backward()
    adam.step()

    for ours, theirs in [(learner.actor, actor), (learner.critics, critics)]:
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=2e-6)
    torch.testing.assert_close(learner.log_alpha, log_alpha, rtol=0, atol=1e-7)


def test_target_average():
    targets = [torch.tensor([1.0, 2.0]), torch.tensor([[4.0]])]
    sources = [torch.tensor([3.0, 2.0]), torch.tensor([[0.0]])]
    move_targets(targets, sources, 0.25)
    assert targets[0].tolist() == pytest.approx([1.5, 2.0])
    assert targets[1].item() == pytest.approx(3.0)


def test_target_critics_move_by_tau_towards_the_updated_critics(random_batch):
    learner = SAC(4, 2, SACSettings(hidden_sizes=(8,), tau=0.3), seed=0)
    before = [parameter.clone() for parameter in learner.target_critics.parameters()]
    learner.update(random_batch())
    for old, new, source in zip(before, learner.target_critics.parameters(), learner.critics.parameters(), strict=True):
        torch.testing.assert_close(new, 0.7 * old + 0.3 * source)


def test_actor_step_leaves_no_gradient_in_the_critics(random_batch):
    learner = SAC(4, 2, SMALL, seed=0)
    learner.update(random_batch())
    # A later critic step must use its own gradient only: one with zero loss leaves Adam's moments to decay.
    assert all(parameter.requires_grad for parameter in learner.critics.parameters())
    assert all(parameter.grad is None for parameter in learner.target_critics.parameters())


def test_deterministic_actions_are_the_mode_and_draw_no_random_number():
    learner = SAC(4, 2, SMALL, seed=0)
    observation = np.full(4, 0.3, np.float32)
    before = learner.state().tensors["sac/generator"]
    action = learner.act(observation, deterministic=True)
    mean, _ = learner.actor(torch.from_numpy(observation))
    np.testing.assert_allclose(action, np.tanh(mean.detach().numpy()), atol=1e-6)
    assert torch.equal(before, learner.state().tensors["sac/generator"])
    assert not np.array_equal(learner.act(observation), learner.act(observation))


def test_sampled_actions_follow_the_actor():
    learner = SAC(2, 1, SMALL, seed=0)
    observation = np.tile(np.array([0.5, -0.2], np.float32), (20_000, 1))
    mean, log_std = (float(x.detach()[0, 0]) for x in learner.actor(torch.from_numpy(observation[:1])))
    u = np.arctanh(learner.act(observation)[:, 0].astype(np.float64))
    assert u.mean() == pytest.approx(mean, abs=4 * float(np.exp(log_std)) / 20_000**0.5)
    assert u.std() == pytest.approx(np.exp(log_std), rel=0.03)


def test_temperature_with_learning_rate_zero_stays_fixed(random_batch):
    learner = SAC(4, 2, SACSettings(hidden_sizes=(8,), initial_temperature=0.2, temperature_learning_rate=0.0))
    learner.update(random_batch())
    assert learner.alpha == pytest.approx(0.2)


def test_layer_norm_critic_trains(random_batch):
    learner = SAC(4, 2, SACSettings(hidden_sizes=(16,), layer_norm_critic=True, critic_learning_rate=1e-2))
    first = learner.update(random_batch(), metrics=True)["critic_loss"]
    for _ in range(100):
        last = learner.update(random_batch(), metrics=True)["critic_loss"]
    assert last < first


@pytest.mark.parametrize(
    ("name", "value"),
    [("discount", 1.0), ("tau", 0.0), ("actor_learning_rate", 0.0), ("initial_temperature", 0.0), ("log_std_min", 3.0)],
)
def test_settings_that_cannot_work_are_refused_by_name(name: str, value: float):
    with pytest.raises(ConfigurationError, match=name):
        SACSettings(**{name: value})
