"""Soft Q-learning: an update written out, values in closed form, and a policy of two modes against quadrature."""

import copy

import numpy as np
import pytest
import torch

from robot_rl.algorithms import energy_policy
from robot_rl.algorithms.distributions import log_one_minus_tanh_squared
from robot_rl.algorithms.energy_policy import lowest_q
from robot_rl.algorithms.learner import Batch
from robot_rl.algorithms.soft_q import SoftQ, SoftQSettings, critic_target
from robot_rl.algorithms.soft_value import particle_proposal, soft_value
from robot_rl.algorithms.svgd import Kernel, stein_direction

SMALL = SoftQSettings(
    hidden_sizes=(16, 16), value_actions=8, fixed_particles=5, moved_particles=4, candidates=6, temperature=0.4,
    sharpening_updates=4,
)  # fmt: skip


def test_critic_target_by_hand():
    y = critic_target(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 1.0]), torch.tensor([5.0, 5.0]), 0.9)
    assert y.tolist() == pytest.approx([5.5, 1.0])


def test_one_update_is_one_step_of_adam_on_the_critics_and_on_the_sampler(random_batch):
    # Written out again: the same draws, plain autograd, torch.optim.Adam.
    learner = SoftQ(3, 2, SMALL, seed=0)
    sampler, critics, targets = (copy.deepcopy(m) for m in (learner.sampler, learner.critics, learner.target_critics))
    generator = torch.Generator()
    generator.set_state(learner.state().tensors["soft_q/generator"])
    batch = random_batch(size=16, observations=3)
    learner.update(batch)

    s, a, r, s2, d = (torch.from_numpy(getattr(batch, name)) for name in Batch.__annotations__)
    with torch.no_grad():
        particles = sampler(s2, torch.randn(16, 6, 2, generator=generator))
        a2, log_proposal = particle_proposal(particles, 2, generator)
        q2 = torch.stack([targets(s2, a2[:, i]).min(dim=0).values for i in range(8)], dim=1)
        y = r + 0.99 * (1 - d) * soft_value(q2, log_proposal, 0.4)
    q = critics(s, a)
    (0.5 * ((q[0] - y) ** 2).mean() + 0.5 * ((q[1] - y) ** 2).mean()).backward()
    torch.optim.Adam(critics.parameters(), 3e-4).step()

    still = sampler(s, torch.randn(16, 5, 2, generator=generator)).detach().requires_grad_()
    moved = sampler(s, torch.randn(16, 4, 2, generator=generator))
    # log p(u) = Q(s, tanh u) / alpha + sum log(1 - tanh^2 u), a quarter as sharp in the first of four updates
    q_still = torch.stack([critics(s, still[:, i].tanh()).min(dim=0).values for i in range(5)], dim=1)
    log_p = 0.25 * q_still / 0.4 + torch.log(1 - still.tanh() ** 2).sum(-1)
    (score,) = torch.autograd.grad(log_p.sum(), still)
    phi = stein_direction(still, score, moved, Kernel())
    moved.backward(-phi / (16 * 4))
    torch.optim.Adam(sampler.parameters(), 3e-4).step()

    for ours, theirs in ((learner.sampler, sampler), (learner.critics, critics)):
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=5e-6)
    for old, new, source in zip(
        targets.parameters(), learner.target_critics.parameters(), critics.parameters(), strict=True
    ):
        torch.testing.assert_close(new, 0.995 * old + 0.005 * source, rtol=0, atol=1e-6)


def test_a_hard_target_moves_only_at_its_interval(random_batch):
    learner = SoftQ(3, 2, SoftQSettings(hidden_sizes=(8,), tau=1.0, target_interval=3), seed=0)
    start = learner.target_critics.head.weight.clone()
    for update in range(1, 7):
        learner.update(random_batch(size=16, observations=3))
        moved = not torch.equal(start, learner.target_critics.head.weight)
        assert moved is (update >= 3)
        assert torch.equal(learner.target_critics.head.weight, learner.critics.head.weight) is (update % 3 == 0)


@pytest.mark.parametrize("proposal", ["policy", "uniform"])
def test_the_critics_find_the_soft_value_of_a_reward_for_ever(proposal: str):
    # One state, reward 3 whatever the action, discount 1/2, cut by a time limit and never terminal. The best policy is
    # the uniform one, of entropy A log 2: V = (3 + alpha log 2) / (1 - 1/2) and Q = 3 + V / 2.
    settings = SoftQSettings(
        hidden_sizes=(16,), discount=0.5, tau=0.1, temperature=2.0, critic_learning_rate=1e-2,
        actor_learning_rate=1e-2, value_proposal=proposal, value_actions=16,
    )  # fmt: skip
    learner = SoftQ(1, 1, settings, seed=0)
    ones, rng = np.ones((16, 1), np.float32), np.random.default_rng(0)
    for _ in range(300):
        action = rng.uniform(-1, 1, (16, 1)).astype(np.float32)
        learner.update(Batch(ones, action, 3 * ones[:, 0], ones, 0 * ones[:, 0]))
    q = learner.critics(torch.ones(1, 1), torch.zeros(1, 1))
    assert q.flatten().tolist() == pytest.approx([6.0 + 2.0 * np.log(2.0)] * 2, abs=0.2)


def two_peaks(a: np.ndarray) -> np.ndarray:
    return np.maximum(1.0 - 8.0 * (a - 0.6) ** 2, 0.9 - 12.0 * (a + 0.5) ** 2)


def test_the_policy_is_the_exponential_of_q_with_all_its_modes():
    # One state, one step, reward with two peaks: the policy must be exp(r / alpha) / Z, by quadrature.
    alpha = 0.15
    settings = SoftQSettings(
        hidden_sizes=(48, 48), temperature=alpha, critic_learning_rate=3e-3, actor_learning_rate=2e-3, value_actions=4,
        critics=1, sharpening_updates=600,
    )  # fmt: skip
    learner = SoftQ(1, 1, settings, seed=0)
    ones, rng = np.ones((16, 1), np.float32), np.random.default_rng(0)
    for _ in range(1000):
        action = rng.uniform(-1, 1, (16, 1)).astype(np.float32)
        learner.update(Batch(ones, action, two_peaks(action[:, 0]).astype(np.float32), ones, ones[:, 0]))

    edges = np.linspace(-1, 1, 21)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    centres, half = 0.5 * (edges[1:] + edges[:-1]), 0.05
    exact = np.array([half * weights @ np.exp(two_peaks(c + half * nodes) / alpha) for c in centres])
    exact /= exact.sum()
    drawn = np.histogram(learner.act(np.ones((4000, 1))), edges)[0] / 4000
    distance = 0.5 * np.abs(drawn - exact).sum()
    right = drawn[centres > 0.1].sum()
    print(f"total variation {distance:.3f}, right of the valley {right:.3f} of {exact[centres > 0.1].sum():.3f}")
    assert distance < 0.2
    assert right == pytest.approx(exact[centres > 0.1].sum(), abs=0.1)
    # The deterministic action is a peak, and the higher one; noise zero would be somewhere between.
    assert learner.act(np.ones(1), deterministic=True)[0] == pytest.approx(0.6, abs=0.15)


def test_the_deterministic_action_is_the_best_candidate_by_the_lower_critic(monkeypatch: pytest.MonkeyPatch):
    learner = SoftQ(3, 2, SMALL, seed=0)
    rows = np.random.default_rng(0).standard_normal((9, 3)).astype(np.float32)
    monkeypatch.setattr(energy_policy, "BLOCK", 4)  # three blocks, the last one of one row
    actions = learner.act(rows, deterministic=True)
    for row, action in zip(torch.from_numpy(rows), actions, strict=True):
        with torch.no_grad():
            candidates = torch.tanh(learner.sampler(row[None], learner.actor.candidates)[0])
            q = [learner.critics(row[None], candidate[None]).min().item() for candidate in candidates]
        np.testing.assert_allclose(action, candidates[int(np.argmax(q))].numpy(), atol=1e-6)


def test_several_actions_per_state_have_the_q_that_each_has_alone():
    learner = SoftQ(3, 2, SMALL, seed=0)
    observation = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    action = torch.rand(4, 5, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1
    together = lowest_q(learner.critics, observation, action)
    for index in range(5):
        alone = learner.critics(observation, action[:, index]).min(dim=0).values
        torch.testing.assert_close(together[:, index], alone)


def test_large_temperatures_put_large_values_in_reach_and_change_no_meaning(random_batch):
    # The same problem in units a hundred times as large: Q is a hundred times as large, the policy the same.
    one, hundred = (SoftQ(3, 2, SoftQSettings(hidden_sizes=(16,), temperature=t), seed=0) for t in (1.0, 100.0))
    batch = random_batch(size=16, observations=3)
    scaled = Batch(batch.observation, batch.action, 100 * batch.reward, batch.next_observation, batch.terminated)
    for _ in range(20):
        one.update(batch)
        hundred.update(scaled)
    s, a = torch.from_numpy(batch.observation), torch.from_numpy(batch.action)
    torch.testing.assert_close(hundred.critics(s, a), 100 * one.critics(s, a), rtol=1e-3, atol=0.1)
    np.testing.assert_allclose(hundred.act(batch.observation), one.act(batch.observation), atol=1e-3)


def test_the_log_density_of_a_pre_tanh_action_has_the_change_of_volume():
    # What the sampler follows must integrate over u to what exp(Q / alpha) integrates to over the box.
    learner = SoftQ(2, 1, SMALL, seed=0)
    s = torch.zeros(1, 2)
    nodes, weights = np.polynomial.legendre.leggauss(400)
    with torch.no_grad():
        over_box = lowest_q(learner.critics, s, torch.from_numpy(nodes).float()[None, :, None])[0] / 0.4
        u = torch.from_numpy(14.0 * nodes).float()[None, :, None]
        over_line = lowest_q(learner.critics, s, torch.tanh(u))[0] / 0.4 + log_one_minus_tanh_squared(u).sum(-1)[0]
    assert 14.0 * weights @ over_line.double().exp().numpy() == pytest.approx(
        weights @ over_box.double().exp().numpy(), rel=1e-4
    )
