"""The learnt divergence correction against the exact one, on a world of three states and one action in [-1, 1]."""

import numpy as np
import pytest
import torch

from policies.composed_q import ComposedQ, log_affinity, product_of_gaussians
from policies.correction import CorrectionSettings, correction_target, learn_correction
from robot_rl.algorithms.learner import Batch
from robot_rl.algorithms.tabular.composition import divergence_backup
from robot_rl.algorithms.tabular.mdp import FiniteMDP
from robot_rl.algorithms.tabular.values import fixed_point
from robot_rl.errors import ConfigurationError

STATES = np.eye(3, dtype=np.float32)
GRID = np.linspace(-1, 1, 402)[1:-1]


def probability(action):
    """P(s'|s,a), (S, A, S): what an action does differs from state to state, and half a tenth of the steps end it."""
    up = 1 / (1 + np.exp(-4 * np.asarray(action)))  # (A,)
    found = np.zeros((3, len(up), 3))
    for s in range(3):
        found[s, :, (s + 1) % 3] = 0.95 * (up if s != 1 else 1 - up)
        found[s, :, (s + 2) % 3] = 0.95 - found[s, :, (s + 1) % 3]
    return found


@pytest.fixture(scope="module")
def composed(hold, new_skill):
    """Two skills that nearly agree in one state and pull apart in the others."""
    skills = [new_skill(hold, seed, discount=0.8) for seed in range(2)]
    for skill, means in zip(skills, ([0.1, 1.2, -0.3], [0.0, -0.5, 0.4]), strict=True):
        with torch.no_grad():
            # The head is solved for these means; the layers below keep their random weights.
            x = torch.from_numpy(skill.normalizer(STATES))
            for layer in skill.actor.hidden:
                x = torch.relu(layer(x))
            wanted = np.array(means) - float(skill.actor.head.bias[0])
            solved = np.linalg.pinv(x.double().numpy()) @ wanted
            skill.actor.head.weight[0] = torch.from_numpy(solved.astype(np.float32))
            skill.actor.head.weight[1] *= 0.2
            found = skill.actor(torch.from_numpy(skill.normalizer(STATES)))[0][:, 0]
        np.testing.assert_allclose(found, means, atol=1e-4)
    return ComposedQ(skills)


def log_policies(composed):
    """log pi_i(a|s) on the grid, (N, S, A), density with respect to a."""
    mean, log_std = composed.gaussians(composed.normalized(STATES))  # (N, S, 1)
    u = np.arctanh(GRID)
    z = (u - mean.detach().numpy()) / np.exp(log_std.detach().numpy())
    return -0.5 * z**2 - log_std.detach().numpy() - 0.5 * np.log(2 * np.pi) - np.log(1 - GRID**2)


def exact(composed, weights):
    """c_w(s, a) on the grid, nats, by fixed-point iteration; the width of a cell turns densities into shares."""
    log_product = np.tensordot(weights, log_policies(composed), 1) + np.log(GRID[1] - GRID[0])  # (S, A)
    world = FiniteMDP(np.zeros((3, len(GRID))), probability(GRID), composed.skills[0].discount)
    return fixed_point(lambda c: divergence_backup(world, c, log_product, 1.0), world)


def replay(seed=0):
    rng = np.random.default_rng(seed)
    state, action = rng.integers(0, 3, 20_000), rng.uniform(-1, 1, 20_000)
    shares = probability(action)[state, np.arange(len(state))].cumsum(axis=1)  # (M, 3)
    following = (rng.random((len(state), 1)) > shares).sum(axis=1)  # 3 is the end
    ended = following == 3
    rows = Batch(
        STATES[state], action[:, None].astype(np.float32), np.zeros(len(state), np.float32),
        STATES[np.where(ended, 0, following)], ended.astype(np.float32),
    )  # fmt: skip

    def sample(count):
        index = rng.integers(0, len(state), count)
        return Batch(**{name: part[index] for name, part in vars(rows).items()})

    return sample


def test_the_learnt_correction_is_the_exact_one_for_all_weights(composed):
    settings = CorrectionSettings(steps=2000, batch_size=128, hidden_sizes=(32, 32), learning_rate=3e-3, tau=0.02)
    learnt = learn_correction(composed, replay(), settings)
    seen = composed.normalized(STATES)[0]
    action = torch.from_numpy(GRID.astype(np.float32))[:, None].expand(3, -1, -1)
    for weights in ([0.5, 0.5], [0.2, 0.8], [0.9, 0.1]):
        truth = exact(composed, weights)
        found = learnt(seen, action, composed.weights(weights)).numpy()
        assert truth.max() > 0.05
        assert np.abs(found - truth).max() < 0.1 * truth.max() + 0.02
    alone = learnt(seen, action, composed.weights([1.0, 0.0])).numpy()
    assert np.abs(alone).max() == 0.0
    assert np.abs(exact(composed, [1.0, 0.0])).max() < 1e-3


def test_the_target_is_the_one_of_the_finite_case(composed):
    """With many actions drawn from the product, the sampled target is the exact backup."""
    rng = np.random.default_rng(0)
    weights = [0.3, 0.7]
    c = np.abs(np.sin(3 * GRID)) * rng.uniform(0.5, 1.0, (3, 1))  # any function of state and action
    log_product = np.tensordot(weights, log_policies(composed), 1) + np.log(GRID[1] - GRID[0])
    expected = -0.8 * np.log((np.exp(log_product - c)).sum(axis=1))  # (S,)
    with torch.no_grad():
        mean, log_std = composed.gaussians(composed.normalized(STATES))
        w = composed.weights(weights)
        centre, width = product_of_gaussians(mean, log_std, w)
        noise = torch.from_numpy(rng.standard_normal((3, 100_000, 1)).astype(np.float32))
        drawn = torch.tanh(centre[:, None] + width.exp()[:, None] * noise)[..., 0].numpy()
        after = np.stack([np.interp(drawn[s], GRID, c[s]) for s in range(3)])
        found = correction_target(torch.zeros(3), log_affinity(mean, log_std, w), torch.from_numpy(after), 0.8)
        ended = correction_target(torch.ones(3), log_affinity(mean, log_std, w), torch.from_numpy(after), 0.8)
    np.testing.assert_allclose(found, expected, atol=5e-3)
    assert ended.abs().max() == 0.0


def test_corrected_less_is_what_the_composed_q_subtracts(composed):
    learnt = learn_correction(composed, replay(), CorrectionSettings(steps=20, hidden_sizes=(8,)), weights=[0.5, 0.5])
    corrected = ComposedQ(composed.skills, correction=learnt)
    action, w = torch.zeros(3, 1, 1), composed.weights([0.5, 0.5])
    seen = composed.normalized(STATES)
    gap = composed.q(seen, action, w) - corrected.q(seen, action, w)
    torch.testing.assert_close(gap, composed.alpha * learnt(seen[0], action, w))


def test_a_correction_belongs_to_the_conjunction(composed):
    learnt = learn_correction(composed, replay(), CorrectionSettings(steps=1, hidden_sizes=(8,)))
    with pytest.raises(ConfigurationError, match="belongs to the conjunction"):
        ComposedQ(composed.skills, "or", learnt)


def test_settings_that_cannot_work_are_refused_by_name():
    with pytest.raises(ConfigurationError, match="samples"):
        CorrectionSettings(samples=0)
