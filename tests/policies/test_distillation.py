"""A distilled actor against the best that any policy can reach, by quadrature, and as a plain policy file."""

import numpy as np
import pytest
import torch

from policies.composed_q import ComposedQ, product_of_gaussians
from policies.distillation import DistillationSettings, distil
from policies.export import export_policy
from policies.runtime import OnnxPolicy
from robot_rl.algorithms.distributions import log_prob_of_pre_tanh
from robot_rl.algorithms.learner import Batch
from robot_rl.errors import ConfigurationError

GRID = np.linspace(-1, 1, 2002)[1:-1]
WEIGHTS = [0.3, 0.7]


@pytest.fixture(scope="module")
def composed(hold, new_skill):
    return ComposedQ([new_skill(hold, seed, loud=20.0) for seed in range(2)])


@pytest.fixture(scope="module")
def distilled(composed):
    rng = np.random.default_rng(0)

    def sample(count):
        rows = rng.standard_normal((count, 3)).astype(np.float32)
        zeros = np.zeros(count, np.float32)
        return Batch(rows, zeros[:, None], zeros, rows, zeros)

    settings = DistillationSettings(steps=600, batch_size=128, hidden_sizes=(32, 32), learning_rate=3e-3)
    return distil(composed, sample, composed.alpha, WEIGHTS, settings)


def value(composed, seen, mean, log_std):
    """E_pi[Q_w / T - log pi] on the grid, nats, (B,)."""
    action = torch.from_numpy(GRID.astype(np.float32))[None, :, None].expand(len(mean), -1, -1)
    with torch.no_grad():
        q = composed.q(seen, action, composed.weights(WEIGHTS)).double().numpy() / composed.alpha
        u = torch.atanh(action.double())
        log_pi = log_prob_of_pre_tanh(u, mean[:, None].double(), log_std[:, None].double()).numpy()
    share = np.exp(log_pi) * (GRID[1] - GRID[0])
    best = np.log(np.exp(q - q.max(axis=1, keepdims=True)).sum(axis=1) * (GRID[1] - GRID[0])) + q.max(axis=1)
    return (share * (q - log_pi)).sum(axis=1), best


def test_the_distilled_actor_comes_near_the_soft_value_and_beats_the_product(composed, distilled):
    rows = np.random.default_rng(1).standard_normal((100, 3)).astype(np.float32)
    seen = composed.normalized(rows)
    with torch.no_grad():
        found, best = value(composed, seen, *distilled.policy(seen[0]))
        product, _ = value(composed, seen, *product_of_gaussians(*composed.gaussians(seen), composed.weights(WEIGHTS)))
    # V = log of the integral of exp(Q / T), and E[Q / T - log pi] falls short of it by KL(pi || exp(Q / T) / Z)
    assert (found <= best + 1e-2).all()
    assert (best - found).mean() < 0.3
    assert (best - found).mean() < 0.5 * (best - product).mean()


def test_a_distilled_actor_leaves_as_a_plain_policy(composed, distilled, hold, tmp_path):
    export_policy(distilled, hold, tmp_path / "a.onnx")
    policy = OnnxPolicy.load(tmp_path / "a.onnx", layout=hold.layout)
    rows = np.random.default_rng(1).standard_normal((20, 3)).astype(np.float32)
    with torch.no_grad():
        own = torch.tanh(distilled.policy(torch.from_numpy(distilled.normalizer(rows)))[0])
    np.testing.assert_allclose(policy.act(rows).action, own, atol=1e-5)


def test_settings_that_cannot_work_are_refused_by_name():
    with pytest.raises(ConfigurationError, match="steps"):
        DistillationSettings(steps=0)
