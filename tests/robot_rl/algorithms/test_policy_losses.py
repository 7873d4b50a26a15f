"""Losses of the policy gradients by finite differences, their rules by hand, the advantage by its slow definition."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from robot_rl.algorithms.a3c import A3C, A3CSettings
from robot_rl.algorithms.acktr import ACKTR, ACKTRSettings, next_rate, trust_region_rate
from robot_rl.algorithms.ddpg import actor_loss as ddpg_actor_loss
from robot_rl.algorithms.ddpg import critic_target
from robot_rl.algorithms.distributions import gaussian_entropy, gaussian_kl, gaussian_log_prob, log_prob_of_pre_tanh
from robot_rl.algorithms.natural_gradient import assign, flatten
from robot_rl.algorithms.npg import NPG, NPGSettings
from robot_rl.algorithms.on_policy import OnPolicy, Samples
from robot_rl.algorithms.policy_losses import policy_gradient_loss, surrogate_loss
from robot_rl.algorithms.ppo import PPO, PPOSettings, clipped_loss, next_kl_coefficient
from robot_rl.algorithms.reinforce import Reinforce, ReinforceSettings
from robot_rl.algorithms.rmsprop import RMSprop
from robot_rl.algorithms.rollout import Rollout, Steps, generalised_advantage
from robot_rl.algorithms.state_value import StateValue, value_loss
from robot_rl.algorithms.td3 import smoothed_action
from robot_rl.algorithms.trpo import TRPO, TRPOSettings
from robot_rl.errors import ConfigurationError


def random_steps(count: int = 60, environments: int = 3, seed: int = 0) -> Steps:
    rng = np.random.default_rng(seed)
    terminated = rng.random(count) < 0.1
    return Steps(
        observation=rng.standard_normal((count, 4)).astype(np.float32),
        pre_tanh=rng.standard_normal((count, 2)).astype(np.float32),
        reward=rng.standard_normal(count).astype(np.float32),
        next_observation=rng.standard_normal((count, 4)).astype(np.float32),
        terminated=terminated,
        ended=terminated | (rng.random(count) < 0.1),
        environment=rng.integers(0, environments, count),
    )


# -- densities ---------------------------------------------------------------------------------------------------------


def test_gaussian_kl_and_entropy_are_those_of_torch():
    rng = torch.Generator().manual_seed(0)
    mean, log_std, other_mean, other_log_std, u = (torch.randn(5, 3, generator=rng) for _ in range(5))
    one = torch.distributions.Normal(mean, log_std.exp())
    other = torch.distributions.Normal(other_mean, other_log_std.exp())
    expected = torch.distributions.kl_divergence(one, other).sum(-1)
    torch.testing.assert_close(gaussian_kl(mean, log_std, other_mean, other_log_std), expected)
    torch.testing.assert_close(gaussian_entropy(log_std), one.entropy().sum(-1))
    torch.testing.assert_close(gaussian_log_prob(u, mean, log_std), one.log_prob(u).sum(-1))


def test_ratios_are_the_same_for_the_action_as_for_what_is_under_its_tanh():
    rng = torch.Generator().manual_seed(1)
    u, mean, log_std, other_mean, other_log_std = (torch.randn(5, 3, generator=rng) for _ in range(5))
    under = gaussian_log_prob(u, mean, log_std) - gaussian_log_prob(u, other_mean, other_log_std)
    over = log_prob_of_pre_tanh(u, mean, log_std) - log_prob_of_pre_tanh(u, other_mean, other_log_std)
    torch.testing.assert_close(under, over, rtol=1e-4, atol=1e-4)


# -- advantage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("discount", "trace"), [(0.9, 0.7), (0.99, 0.0), (0.99, 1.0), (0.0, 0.5)])
def test_generalised_advantage_is_its_slow_definition(discount: float, trace: float):
    steps, rng = random_steps(), np.random.default_rng(1)
    value, next_value = rng.standard_normal((2, 60))
    expected = np.zeros(60)
    for start in range(60):
        # sum over l of (gamma lambda)^l delta_{t+l} along this environment, up to the end of its episode or of all
        weight = 1.0
        for t in range(start, 60):
            if steps.environment[t] != steps.environment[start]:
                continue
            future = 0.0 if steps.terminated[t] else discount * next_value[t]
            expected[start] += weight * (steps.reward[t] + future - value[t])
            weight *= discount * trace
            if steps.ended[t]:
                break
    np.testing.assert_allclose(generalised_advantage(steps, value, next_value, discount, trace), expected, atol=1e-5)


def test_with_lambda_one_advantage_and_value_are_the_return_with_the_value_at_the_end():
    ones = np.ones(4, np.float32)
    steps = Steps(
        np.zeros((4, 1)), np.zeros((4, 1)), ones, np.zeros((4, 1)), np.zeros(4, bool), np.zeros(4, bool),
        np.zeros(4, np.int64),
    )  # fmt: skip
    value, next_value = np.array([7.0, 8.0, 9.0, 6.0]), np.array([8.0, 9.0, 6.0, 10.0])
    found = generalised_advantage(steps, value, next_value, 0.5, 1.0) + value
    # R_3 = 1 + 10 / 2, R_t = 1 + R_{t+1} / 2
    np.testing.assert_allclose(found, [2.5, 3.0, 4.0, 6.0])
    # After a time limit the value still counts, after a terminal state it does not.
    last = np.array([False, False, False, True])
    cut = generalised_advantage(replace(steps, ended=last), value, next_value, 0.5, 1.0) + value
    over = generalised_advantage(replace(steps, ended=last, terminated=last), value, next_value, 0.5, 1.0) + value
    np.testing.assert_allclose(cut, found)
    np.testing.assert_allclose(over, [1.875, 1.75, 1.5, 1.0])


def test_a_rollout_that_was_cut_does_not_reach_into_the_next_episode():
    rollout = Rollout(4, 2)
    steps = replace(random_steps(6, 2), ended=np.zeros(6, bool), environment=np.array([0, 1, 0, 1, 0, 0]))
    rollout.add(steps)
    rollout.cut()
    assert rollout.steps().ended.tolist() == [False, False, False, True, False, True]
    rollout.add(steps)
    assert len(rollout) == len(rollout.steps()) == 12


# -- gradients of losses -----------------------------------------------------------------------------------------------


LOSSES: dict[str, tuple[type[OnPolicy], object, str]] = {
    "reinforce": (Reinforce, ReinforceSettings(entropy_coefficient=0.1, hidden_sizes=(6,)), "loss"),
    "surrogate": (Reinforce, ReinforceSettings(objective="surrogate", hidden_sizes=(6,)), "loss"),
    "clipped": (PPO, PPOSettings(entropy_coefficient=0.05, hidden_sizes=(6,)), "loss"),
    "adaptive_kl": (PPO, PPOSettings(objective="adaptive_kl", initial_kl_coefficient=0.7, hidden_sizes=(6,)), "loss"),
    "natural": (NPG, NPGSettings(hidden_sizes=(6,)), "objective"),
    "divergence": (NPG, NPGSettings(hidden_sizes=(6,)), "divergence"),
    "a3c": (A3C, A3CSettings(entropy_coefficient=0.1, hidden_sizes=(6,), workers=0), "actor_loss"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_of_each_loss_is_its_slope(name: str):
    kind, settings, method = LOSSES[name]
    learner = kind(4, 2, settings, seed=1)
    steps = random_steps()
    samples = learner.samples(steps, torch.from_numpy(steps.observation))
    samples = type(samples)(**{key: tensor.double() for key, tensor in vars(samples).items()})
    learner.actor.double()
    parameters = list(learner.actor.parameters())
    rng = torch.Generator().manual_seed(2)
    # Away from the old policy, where ratios differ from one, some are clipped, and KL has a slope.
    start = flatten(parameters).detach()
    start += 0.2 * torch.randn(start.shape, generator=rng, dtype=torch.float64)
    assign(parameters, start)
    loss = getattr(learner, method)
    gradient = flatten(torch.autograd.grad(loss(samples), parameters))
    for _ in range(4):
        direction = torch.randn(start.shape, generator=rng, dtype=torch.float64)
        ends = []
        for sign in (1, -1):
            assign(parameters, start + sign * 1e-6 * direction)
            ends.append(loss(samples).item())
        assert (gradient @ direction).item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-7)
    assert gradient.norm() > 1e-3


def test_the_gradient_of_the_value_loss_is_its_slope():
    critic = StateValue(4, (6,), torch.Generator().manual_seed(0)).double()
    rng = torch.Generator().manual_seed(1)
    observation, target = torch.randn(9, 4, generator=rng).double(), 30 * torch.randn(9, generator=rng).double()
    critic.rescale(target)
    parameters = list(critic.parameters())
    start = flatten(parameters).detach()
    gradient = flatten(torch.autograd.grad(value_loss(critic, observation, target), parameters))
    direction = torch.randn(start.shape, generator=rng).double()
    ends = []
    for sign in (1, -1):
        assign(parameters, start + sign * 1e-6 * direction)
        ends.append(value_loss(critic, observation, target).item())
    assert (gradient @ direction).item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)


def test_both_ways_to_write_the_policy_gradient_agree_where_the_policy_is_the_old_one():
    rng = torch.Generator().manual_seed(0)
    old, advantage = torch.randn(20, generator=rng), torch.randn(20, generator=rng)
    slopes = []
    for loss in (lambda lp: policy_gradient_loss(lp, advantage), lambda lp: surrogate_loss(lp, old, advantage)):
        log_prob = old.clone().requires_grad_()
        slopes.append(torch.autograd.grad(loss(log_prob), log_prob)[0])
    torch.testing.assert_close(*slopes)


def test_the_clip_takes_away_what_a_ratio_outside_could_gain_and_nothing_else():
    ratio = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1])
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0])
    log_prob = ratio.log().requires_grad_()
    loss = clipped_loss(log_prob, torch.zeros(5), advantage, 0.2)
    # min(1.5, 1.2), min(-1.5, -1.2), min(0.5, 0.8), min(-0.5, -0.8), 2.2
    assert loss.item() == pytest.approx(-(1.2 - 1.5 + 0.5 - 0.8 + 2.2) / 5)
    assert (torch.autograd.grad(loss, log_prob)[0] == 0).tolist() == [True, False, False, True, False]


# -- rules -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kl", "factor"), [(0.0149, 1.0), (0.015, 2.0), (0.5, 2.0), (0.0067, 1.0), (0.0066, 0.5), (0.0, 0.5)]
)
def test_the_price_on_kl_doubles_when_it_was_too_low_and_halves_when_too_high(kl: float, factor: float):
    assert next_kl_coefficient(0.8, kl, 0.01) == pytest.approx(0.8 * factor)


def test_the_price_on_kl_follows_its_rule_from_update_to_update():
    learner = PPO(4, 2, PPOSettings(objective="adaptive_kl", minibatch=20, learning_rate=3e-3), seed=0)
    prices, divergences = [learner.kl_coefficient.item()], []
    for seed in range(6):
        found = learner.update(random_steps(seed=seed), metrics=True)
        prices.append(found["kl_coefficient"])
        divergences.append(found["kl"])
    for before, after, kl in zip(prices, prices[1:], divergences, strict=False):
        assert after == pytest.approx(next_kl_coefficient(before, kl, 0.01))
    assert len(set(prices)) > 2


@pytest.mark.parametrize(("kl", "factor"), [(0.0041, 1 / 1.5), (0.004, 1.0), (0.001, 1.0), (0.0009, 1.5)])
def test_the_rate_of_the_trust_region_follows_the_divergence(kl: float, factor: float):
    assert next_rate(0.03, kl, 0.002) == pytest.approx(0.03 * factor)


def test_the_rate_of_the_trust_region_does_not_grow_while_the_region_is_what_limits_the_steps():
    rates = [1e-8, 1.0]
    for _ in range(500):
        rates = [next_rate(rates[0], 1.0, 0.002), next_rate(rates[1], 0.0, 0.002)]
    assert rates == [1e-8, 1.0]
    with pytest.raises(ConfigurationError, match=r"learning_rate must be from 1e-08 to 1.0, got 3"):
        ACKTRSettings(learning_rate=3.0)


def test_the_step_of_the_trust_region_has_the_kl_of_its_limit_or_the_greatest_rate():
    assert trust_region_rate(8.0, 0.01, 1.0) == pytest.approx(math.sqrt(0.02 / 8))
    assert trust_region_rate(8.0, 0.01, 0.02) == 0.02
    assert trust_region_rate(0.0, 0.01, 1.0) == 0.0


def test_ppo_judges_each_pass_by_the_critic_of_then_and_keeps_to_the_policy_that_acted():
    steps = random_steps()

    class Watched(PPO):
        def __init__(self) -> None:
            super().__init__(4, 2, PPOSettings(epochs=3, minibatch=20, critic_learning_rate=1e-2), seed=0)
            self.critics, self.seen = [], []

        def _fit_critic(self, observation: torch.Tensor, target: torch.Tensor) -> float:
            self.critics.append(copy.deepcopy(self.critic))
            return super()._fit_critic(observation, target)

        def _improve(self, samples: Samples) -> dict[str, float]:
            self.seen.append(samples)
            return super()._improve(samples)

    learner = Watched()
    learner.update(steps)
    assert len(learner.seen) == len(learner.critics) == 3
    with torch.no_grad():
        for critic, samples in zip(learner.critics, learner.seen, strict=True):
            value = critic(torch.from_numpy(steps.observation)).numpy()
            next_value = critic(torch.from_numpy(steps.next_observation)).numpy()
            expected = torch.from_numpy(generalised_advantage(steps, value, next_value, 0.99, 0.95))
            torch.testing.assert_close(samples.advantage, (expected - expected.mean()) / expected.std())
            torch.testing.assert_close(samples.target, expected + torch.from_numpy(value))
            torch.testing.assert_close(samples.old_log_prob, learner.seen[0].old_log_prob)
    assert (learner.seen[2].advantage - learner.seen[0].advantage).abs().max() > 0.01


@pytest.mark.parametrize("limit", [0.01, 0.3])
def test_steps_that_trpo_accepts_never_break_the_kl_limit_and_always_improve(limit: float):
    learner = TRPO(4, 2, TRPOSettings(kl_limit=limit, damping=1e-3, critic_epochs=1, attempts=4), seed=0)
    fractions = []
    for seed in range(12):
        before = flatten(list(learner.actor.parameters())).detach()
        found = learner.update(random_steps(20, seed=seed), metrics=True)
        fractions.append(found["step_fraction"])
        assert found["kl"] <= limit
        if found["step_fraction"] == 0.0:
            assert torch.equal(before, flatten(list(learner.actor.parameters())))
        else:
            assert found["improvement"] > 0
    assert min(fractions) < 1.0  # else the search would have had nothing to do
    assert max(fractions) > 0.0


def test_the_natural_step_comes_near_its_kl_and_damping_only_shortens_it():
    learner = NPG(4, 2, NPGSettings(kl_limit=1e-4, damping=0.01, cg_iterations=40), seed=0)
    assert 5e-5 < learner.update(random_steps(400), metrics=True)["kl"] < 1.1e-4


def test_acktr_moves_its_policy_by_about_the_kl_that_it_aims_at():
    # One step long, and the more of everything the better: the way to go is the same in every update.
    learner = ACKTR(4, 2, ACKTRSettings(critic_epochs=1, kl_target=0.002), seed=0)
    divergences = []
    for seed in range(40):
        steps = random_steps(500, seed=seed)
        pre_tanh = learner.draw(steps.observation)
        always = np.ones(500, bool)
        steps = replace(steps, pre_tanh=pre_tanh, reward=pre_tanh.sum(axis=1), terminated=always, ended=always)
        divergences.append(learner.update(steps, metrics=True)["kl"])
    assert 0.001 < np.mean(divergences[20:]) < 0.004


# -- critics -----------------------------------------------------------------------------------------------------------


def test_the_unit_of_the_critic_follows_its_targets_and_changes_no_value():
    critic = StateValue(4, (8,), torch.Generator().manual_seed(0))
    observation = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    before = critic(observation).detach()
    target = 300.0 * torch.randn(2000, generator=torch.Generator().manual_seed(2))
    critic.rescale(target)
    torch.testing.assert_close(critic(observation).detach(), before, rtol=1e-4, atol=1e-4)
    assert critic.unit.item() == pytest.approx(target.square().mean().sqrt().item())
    critic.rescale(torch.zeros(20_000))
    assert critic.unit.item() == pytest.approx(1e-3)


def test_the_target_of_ddpg_is_the_reward_and_the_least_of_the_next_values():
    reward, terminated = torch.tensor([1.0, 1.0]), torch.tensor([0.0, 1.0])
    next_q = torch.tensor([[10.0, 20.0], [30.0, 5.0]])
    assert critic_target(reward, terminated, next_q, 0.5).tolist() == [6.0, 1.0]
    assert critic_target(reward, terminated, next_q[1:], 0.5).tolist() == [16.0, 1.0]
    assert ddpg_actor_loss(next_q[:1]).item() == -15.0


def test_smoothing_bounds_first_the_noise_and_then_the_action():
    action = torch.tensor([[0.0], [0.9], [-0.9]])
    noise = torch.tensor([[1.0], [10.0], [-1.0]])
    torch.testing.assert_close(smoothed_action(action, noise, 0.2, 0.5), torch.tensor([[0.2], [1.0], [-1.0]]))
    torch.testing.assert_close(smoothed_action(action[:1], noise[1:2], 0.2, 0.5), torch.tensor([[0.5]]))


def test_rmsprop_is_that_of_torch():
    weights = torch.randn(5, generator=torch.Generator().manual_seed(0))
    ours, theirs = torch.nn.Parameter(weights.clone()), torch.nn.Parameter(weights.clone())
    rmsprop = RMSprop({"w": ours}, 0.01, 0.9, 1e-6)
    reference = torch.optim.RMSprop([theirs], lr=0.01, alpha=0.9, eps=0.0)
    for step in range(5):
        gradient = torch.linspace(-1, 2, 5) * (step + 1)
        rmsprop.apply([gradient])
        theirs.grad = gradient.clone()
        reference.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
