"""Batch renormalisation against its paper's formulas in NumPy, and critics without targets against a slow update."""

import copy

import numpy as np
import pytest
import torch

from robot_rl.algorithms import batch_renorm
from robot_rl.algorithms.batch_renorm import BatchRenormCritics, StackedBatchRenorm
from robot_rl.algorithms.distributions import sample_with_log_prob
from robot_rl.algorithms.sac import SAC, SACSettings


class Slow:
    """One feature of one critic, number by number."""

    def __init__(self) -> None:
        self.mean, self.variance, self.batches = 0.0, 1.0, 0

    def train_on(self, x: np.ndarray) -> np.ndarray:
        mean = sum(x) / len(x)
        variance = sum((one - mean) ** 2 for one in x) / len(x)
        sigma, running = (variance + 1e-3) ** 0.5, (self.variance + 1e-3) ** 0.5
        r, d = 1.0, 0.0
        if self.batches >= batch_renorm.WARM_UP:
            r = min(max(sigma / running, 1 / 3), 3.0)
            d = min(max((mean - self.mean) / running, -5.0), 5.0)
        self.mean += 0.01 * (mean - self.mean)
        self.variance += 0.01 * (variance - self.variance)
        self.batches += 1
        return np.array([(one - mean) / sigma * r + d for one in x])


def test_it_is_the_papers_formula_before_and_after_the_warm_up_and_at_its_bounds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batch_renorm, "WARM_UP", 3)
    norm, slow = StackedBatchRenorm(2, 3).double(), [[Slow() for _ in range(3)] for _ in range(2)]
    rng = np.random.default_rng(0)
    gain, bias = rng.normal(size=(2, 1, 3)), rng.normal(size=(2, 1, 3))
    norm.gain.data, norm.bias.data = torch.from_numpy(gain), torch.from_numpy(bias)
    for scale, shift in ((1, 0), (2, 1), (0.5, -1), (1, 0.2), (40, 0), (0.01, 0), (1, 30), (1, -30), (2, 1)):
        x = scale * rng.normal(size=(2, 9, 3)) + shift
        found = norm.train_on(torch.from_numpy(x)).detach().numpy()
        plain = np.array([[slow[c][f].train_on(x[c, :, f]) for f in range(3)] for c in range(2)]).transpose(0, 2, 1)
        np.testing.assert_allclose(found, plain * gain + bias, rtol=1e-9, atol=1e-9)
    x = rng.normal(size=(2, 4, 3))
    mean = np.array([[[one.mean for one in row]] for row in slow])
    variance = np.array([[[one.variance for one in row]] for row in slow])
    expected = (x - mean) / np.sqrt(variance + 1e-3) * gain + bias
    np.testing.assert_allclose(norm(torch.from_numpy(x)).detach().numpy(), expected, rtol=1e-9)


def test_while_it_warms_up_it_is_batch_normalisation():
    x = torch.randn(1, 64, 5, generator=torch.Generator().manual_seed(0)) * 3 + 2
    found = StackedBatchRenorm(1, 5).train_on(x)
    torch.testing.assert_close(found[0], torch.nn.functional.batch_norm(x[0], None, None, training=True, eps=1e-3))


def test_a_feature_far_from_zero_is_normalised_as_one_near_it():
    x = torch.randn(1, 256, 5, generator=torch.Generator().manual_seed(0)) * 0.1
    found = StackedBatchRenorm(1, 5).train_on(x + 1000.0)
    # What is left is what float32 keeps of numbers near 1000, 6e-5, over a deviation of 0.1.
    torch.testing.assert_close(found, StackedBatchRenorm(1, 5).train_on(x), rtol=0, atol=2e-3)


def test_running_statistics_approach_those_of_the_data_geometrically():
    norm = StackedBatchRenorm(1, 1)
    x = torch.tensor([[[1.0], [5.0]]])  # mean 3, variance 4
    for _ in range(50):
        norm.train_on(x)
    assert norm.mean.item() == pytest.approx(3 - 3 * 0.99**50)
    assert norm.variance.item() == pytest.approx(4 - 3 * 0.99**50, rel=1e-5)
    before = norm.mean.clone()
    norm(x)
    assert torch.equal(norm.mean, before)


def test_its_gradient_goes_through_the_batch_and_not_through_the_correction(monkeypatch: pytest.MonkeyPatch):
    # r and d are constants of the gradient: so a finite difference of the formula with both held still is the truth.
    monkeypatch.setattr(batch_renorm, "WARM_UP", 0)
    norm = StackedBatchRenorm(1, 2).double()
    norm.mean.fill_(0.3)
    norm.variance.fill_(2.0)
    start = copy.deepcopy(norm)
    x = torch.randn(1, 6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    weight = torch.randn(1, 6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    (gradient,) = torch.autograd.grad((norm.train_on(x) * weight).sum(), x)
    with torch.no_grad():
        running = (start.variance + 1e-3).sqrt()
        mean, sigma = x.mean(1, keepdim=True), (x.var(1, keepdim=True, correction=0) + 1e-3).sqrt()
        r, d = (sigma / running).clamp(1 / 3, 3), ((mean - start.mean) / running).clamp(-5, 5)

    def held(x: torch.Tensor) -> float:
        sigma = (x.var(1, keepdim=True, correction=0) + 1e-3).sqrt()
        return (((x - x.mean(1, keepdim=True)) / sigma * r + d) * weight).sum().item()

    for index in range(6):
        step = torch.zeros_like(x)
        step[0, index, 0] = 1e-6
        numeric = (held((x + step).detach()) - held((x - step).detach())) / 2e-6
        assert gradient[0, index, 0].item() == pytest.approx(numeric, rel=1e-5, abs=1e-8)


def test_both_halves_of_the_temporal_difference_go_through_one_batch():
    critics = BatchRenormCritics(2, 3, 1, (6,), torch.Generator().manual_seed(0))
    rng = torch.Generator().manual_seed(1)
    s, s2 = torch.randn(8, 3, generator=rng), 4.0 + torch.randn(8, 3, generator=rng)
    a, a2 = torch.rand(8, 1, generator=rng), torch.rand(8, 1, generator=rng)
    q, next_q = copy.deepcopy(critics).joint(s, a, s2, a2)
    for index in range(2):
        x = torch.cat([torch.cat([s, a], dim=1), torch.cat([s2, a2], dim=1)])
        for depth in range(2):
            x = torch.nn.functional.batch_norm(x, None, None, training=True, eps=1e-3)
            if depth == 0:
                x = torch.relu(x @ critics.hidden[0].weight[index] + critics.hidden[0].bias[index])
        values = (x @ critics.head.weight[index] + critics.head.bias[index])[:, 0]
        torch.testing.assert_close(torch.cat([q[index], next_q[index]]), values, rtol=1e-4, atol=1e-5)


def test_an_update_is_a_step_on_the_joint_batch_and_the_actor_sees_running_statistics(random_batch):
    settings = SACSettings(hidden_sizes=(16,), batch_renorm_critic=True, adam_beta1=0.5)
    learner = SAC(4, 2, settings, seed=0)
    assert learner.target_critics is None
    actor, critics = copy.deepcopy(learner.actor), copy.deepcopy(learner.critics)
    generator = torch.Generator()
    generator.set_state(learner.state().tensors["sac/generator"])
    batch = random_batch()
    learner.update(batch)

    s, a, r, s2, d = (torch.from_numpy(getattr(batch, name)) for name in batch.__annotations__)
    noise = torch.randn(2, 32, 2, generator=generator)
    with torch.no_grad():
        a2, logp2 = sample_with_log_prob(*actor(s2), noise[0])
    q, next_q = critics.joint(s, a, s2, a2)
    y = r + 0.99 * (1 - d) * (next_q.detach().min(dim=0).values - logp2)
    adam = torch.optim.Adam(critics.parameters(), 3e-4, betas=(0.5, 0.999))
    (0.5 * ((q - y) ** 2).mean(dim=1).sum()).backward()
    adam.step()
    new, logp = sample_with_log_prob(*actor(s), noise[1])
    adam = torch.optim.Adam(actor.parameters(), 3e-4, betas=(0.5, 0.999))
    (logp - critics(s, new).min(dim=0).values).mean().backward()
    adam.step()
    for ours, expected in ((learner.critics, critics), (learner.actor, actor)):
        found = ours.state_dict()
        for name, tensor in expected.state_dict().items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=2e-6, msg=name)
    assert all(norm.batches.item() == 1 for norm in learner.critics.norms)
