"""The tanh-Gaussian: a = tanh(u), u ~ N(mean, exp(log_std)^2), independent over the entries of the action.

Ratios of densities and divergences are the same for a as for u, since the tanh is a bijection; so policy gradients use
the Gaussian of u, in closed form. Its entropy is that of u.

Source: Haarnoja et al. 2018 (arXiv 1812.05905), appendix C.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

LOG_2 = math.log(2.0)
HALF_LOG_2_PI = 0.5 * math.log(2.0 * math.pi)


def log_one_minus_tanh_squared(u: Tensor) -> Tensor:
    """log(1 - tanh(u)^2), elementwise, exact where 1 - tanh(u)^2 itself underflows.

    Args:
        u: pre-tanh action, any shape.

    Returns:
        The logarithm of da/du, same shape; about -2 (|u| - log 2) far from zero.
    """
    # log(1 - tanh^2 u) = 2 (log 2 - u - softplus(-2u))
    return 2.0 * (LOG_2 - u - softplus(-2.0 * u))


def log_prob_of_pre_tanh(u: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log density of a = tanh(u) under the tanh-Gaussian.

    Args:
        u: pre-tanh action, (..., A).
        mean: mean of u, (..., A).
        log_std: logarithm of the standard deviation of u, (..., A).

    Returns:
        log pi(a) with respect to da on [-1, 1]^A, (...).
    """
    # log pi(a) = sum log N(u; mean, std) - sum log(1 - tanh^2 u)
    noise = (u - mean) * torch.exp(-log_std)
    return (-0.5 * noise.square() - log_std - HALF_LOG_2_PI - log_one_minus_tanh_squared(u)).sum(dim=-1)


def sample_with_log_prob(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Draws an action by reparametrisation, with its log density; gradients flow through both.

    Args:
        mean: mean of u, (..., A).
        log_std: logarithm of the standard deviation of u, (..., A).
        noise: draws of N(0, I), (..., A).

    Returns:
        The action in [-1, 1], (..., A), and log pi(action), (...).
    """
    u = mean + torch.exp(log_std) * noise
    # (u - mean) / std is the noise itself, so its square carries no gradient.
    log_prob = -0.5 * noise.square() - log_std - HALF_LOG_2_PI - log_one_minus_tanh_squared(u)
    return torch.tanh(u), log_prob.sum(dim=-1)


def gaussian_log_prob(u: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """log N(u; mean, std^2) of the pre-tanh action, (...), for (..., A) each."""
    noise = (u - mean) * torch.exp(-log_std)
    return (-0.5 * noise.square() - log_std - HALF_LOG_2_PI).sum(dim=-1)


def gaussian_entropy(log_std: Tensor) -> Tensor:
    """H = sum (log std + 1/2 log 2 pi e) of the pre-tanh action, nats, (...), for log_std (..., A)."""
    return (log_std + 0.5 + HALF_LOG_2_PI).sum(dim=-1)


def gaussian_kl(mean: Tensor, log_std: Tensor, other_mean: Tensor, other_log_std: Tensor) -> Tensor:
    """KL(N(mean, std^2) || N(other_mean, other_std^2)), nats, (...), for (..., A) each."""
    # sum log(s2 / s1) + (s1^2 + (m1 - m2)^2) / (2 s2^2) - 1/2
    squares = torch.exp(2.0 * log_std) + (mean - other_mean).square()
    return (other_log_std - log_std + 0.5 * squares * torch.exp(-2.0 * other_log_std) - 0.5).sum(dim=-1)
