"""The tanh-Gaussian against quadrature and against torch.distributions in float64."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution

from robot_rl.algorithms.distributions import (
    log_one_minus_tanh_squared,
    log_prob_of_pre_tanh,
    sample_with_log_prob,
)


def test_log_one_minus_tanh_squared_is_exact_far_from_zero():
    for u in (-40.0, -10.0, -1.5, 0.0, 0.3, 10.0, 40.0):
        # 1 - tanh^2 u = 4 / (e^u + e^-u)^2, whose logarithm needs no subtraction of nearly equal numbers.
        truth = math.log(4.0) - 2.0 * (abs(u) + math.log1p(math.exp(-2.0 * abs(u))))
        assert log_one_minus_tanh_squared(torch.tensor(u)).item() == pytest.approx(truth, rel=1e-6, abs=1e-6)
    # The "+ 1e-6" form would say -13.8 here.
    assert log_one_minus_tanh_squared(torch.tensor(10.0)).item() == pytest.approx(-18.6137, abs=1e-3)


@pytest.mark.parametrize(("mean", "log_std"), [(0.0, 0.0), (0.7, -1.0), (-1.2, 0.5), (2.0, -2.0)])
def test_density_integrates_to_one_over_the_actions(mean: float, log_std: float):
    # Gauss-Legendre nodes in the action itself: nothing of the change of variables is taken for granted.
    nodes, weights = np.polynomial.legendre.leggauss(300)
    u = torch.from_numpy(np.arctanh(nodes))[:, None]
    log_prob = log_prob_of_pre_tanh(u, torch.tensor([mean]).double(), torch.tensor([log_std]).double())
    assert float(np.sum(weights * np.exp(log_prob.numpy()))) == pytest.approx(1.0, abs=1e-4)


def test_log_prob_of_a_sample_is_that_of_torch_distributions_in_float64():
    generator = torch.Generator().manual_seed(3)
    mean = torch.randn(500, 4, generator=generator)
    log_std = torch.rand(500, 4, generator=generator) * 3.0 - 2.0
    noise = torch.randn(500, 4, generator=generator)
    action, log_prob = sample_with_log_prob(mean, log_std, noise)

    gaussian = Independent(Normal(mean.double(), log_std.double().exp()), 1)
    u = mean.double() + log_std.double().exp() * noise.double()
    truth = gaussian.log_prob(u) - TanhTransform().log_abs_det_jacobian(u, u.tanh()).sum(-1)
    torch.testing.assert_close(log_prob.double(), truth, rtol=1e-5, atol=2e-4)
    torch.testing.assert_close(action.double(), u.tanh(), rtol=0, atol=1e-6)
    squashed = TransformedDistribution(gaussian, [TanhTransform(cache_size=1)])
    near = u.abs().amax(-1) < 3.0  # inverting tanh is inaccurate beyond
    torch.testing.assert_close(squashed.log_prob(u.tanh())[near], truth[near], rtol=1e-6, atol=1e-6)


def test_the_two_log_probs_agree():
    generator = torch.Generator().manual_seed(4)
    mean, log_std, noise = (torch.randn(50, 3, generator=generator, dtype=torch.float64) for _ in range(3))
    _, log_prob = sample_with_log_prob(mean, log_std, noise)
    torch.testing.assert_close(log_prob, log_prob_of_pre_tanh(mean + log_std.exp() * noise, mean, log_std))


def test_gradient_flows_through_action_and_log_prob_as_finite_differences_say():
    mean = torch.tensor([[0.3, -0.8]], dtype=torch.float64, requires_grad=True)
    log_std = torch.tensor([[-0.5, 0.2]], dtype=torch.float64, requires_grad=True)
    noise = torch.tensor([[0.9, -1.1]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda m, s: sample_with_log_prob(m, s, noise), (mean, log_std))


def test_log_prob_stays_finite_where_tanh_has_saturated():
    action, log_prob = sample_with_log_prob(torch.tensor([[30.0]]), torch.tensor([[0.0]]), torch.tensor([[1.0]]))
    assert action.item() == 1.0
    assert math.isfinite(log_prob.item())
    assert log_prob.item() == pytest.approx(-0.5 - 0.5 * math.log(2 * math.pi) + 2 * (31.0 - math.log(2.0)), rel=1e-5)
