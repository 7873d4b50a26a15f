"""The soft value as an integral, by importance sampling: V(s) = alpha log E_{a~q}[ exp(Q(s, a) / alpha) / q(a) ].

The mean under the logarithm is unbiased for any proposal q that is nowhere zero; its logarithm is low on average, the
less so the closer q is to exp(Q / alpha). From the uniform the estimate is poor in two dimensions already.

Source: Haarnoja et al. 2017 (arXiv 1702.08165), eq. 10. The paper's density of its sampler's own draws, that of the
noise over the Jacobian, holds where the sampler maps one noise to one action and reaches every action. A network of
ReLUs does neither, so here the proposal is made of the draws instead: kernels around them, and a share of the uniform.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robot_rl.algorithms.distributions import HALF_LOG_2_PI, LOG_2, log_one_minus_tanh_squared
from robot_rl.errors import InvalidInput

PROPOSALS = ("policy", "uniform")

UNIFORM_SHARE = 0.25
"""Of the actions of the policy's proposal; bounds the weight of an action that no draw is near."""

LEAST_WIDTH = 0.05
"""Of a kernel, in units of the pre-tanh action."""

LAST_BELOW_ONE = 1.0 - 2.0**-24


def soft_value(q: Tensor, log_proposal: Tensor, alpha: float) -> Tensor:
    """Estimates the soft value by importance sampling.

    Args:
        q: Q(s, a_i) of N sampled actions, (..., N), in reward units.
        log_proposal: log q(a_i), (..., N); -A log 2 for the uniform on [-1, 1]^A.
        alpha: temperature, > 0, reward units per nat.

    Returns:
        V(s), (...).

    Raises:
        InvalidInput: shapes differ, or alpha is not positive.
    Source: Haarnoja et al. 2017, eq. 10.
    """
    if q.shape != log_proposal.shape or not alpha > 0:
        raise InvalidInput(
            f"soft value: Q {tuple(q.shape)} and log proposal {tuple(log_proposal.shape)} must have one shape, and "
            f"alpha {alpha} must be positive"
        )
    # V(s) = alpha log 1/N sum_i exp(Q(s, a_i) / alpha) / q(a_i)
    return alpha * (torch.logsumexp(q / alpha - log_proposal, dim=-1) - math.log(q.shape[-1]))


def uniform_proposal(states: int, count: int, action_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Actions from the uniform on [-1, 1]^A.

    Returns:
        N actions for each of B states, (B, N, A), and their log density, (B, N).
    """
    action = 2.0 * torch.rand(states, count, action_size, generator=generator) - 1.0
    return action, torch.full((states, count), -action_size * LOG_2)


def uniform_count(count: int) -> int:
    """How many of N actions of `particle_proposal` are uniform; the rest is one for each particle."""
    return max(1, round(UNIFORM_SHARE * count))


def kernel_width(particles: Tensor) -> Tensor:
    """Standard deviation of a kernel around each of K particles (..., K, A), by Scott's rule, (..., 1, A)."""
    count, size = particles.shape[-2:]
    # sigma = std K^(-1 / (A + 4)), for each state and each entry of the action.
    spread = particles.std(dim=-2, keepdim=True, correction=0)
    return (spread * count ** (-1.0 / (size + 4))).clamp(min=LEAST_WIDTH)


def particle_proposal(particles: Tensor, uniform: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Actions near a policy's draws: one from a Gaussian around each, in the pre-tanh space, and some uniform ones.

    Each part of a mixture gives its own share of the sample and all are weighed by the density of the whole (the
    balance heuristic of Veach and Guibas 1995). The Gaussians are as wide as a density estimate from so many draws
    would have them, by Scott's rule.

    Args:
        particles: K pre-tanh draws for each of B states, (B, K, A).
        uniform: how many actions U are uniform on the box, at least 1.
        generator: of the noise.

    Returns:
        The actions, (B, K + U, A), and their log density in the mixture, (B, K + U).
    """
    states, count, size = particles.shape
    width = kernel_width(particles)  # (B, 1, A)
    near = particles + width * torch.randn(particles.shape, generator=generator)  # (B, K, A)
    anywhere, _ = uniform_proposal(states, uniform, size, generator)  # (B, U, A)
    far = torch.atanh(anywhere.clamp(-LAST_BELOW_ONE, LAST_BELOW_ONE))
    u = torch.cat([near, far], dim=1)  # (B, K + U, A)

    # q(a) = (U 2^-A + sum_k N(u; u_k, sigma^2) / |da/du|) / (K + U)
    distance = torch.cdist(u / width, particles / width, compute_mode="donot_use_mm_for_euclid_dist")  # (B, K + U, K)
    log_normal = -0.5 * distance.square() - (width.log().sum(dim=-1) + size * HALF_LOG_2_PI)[..., None]
    log_kernels = torch.logsumexp(log_normal, dim=-1) - log_one_minus_tanh_squared(u).sum(dim=-1)  # (B, K + U)
    log_uniform = torch.full_like(log_kernels, math.log(uniform) - size * LOG_2)
    return torch.tanh(u), torch.logaddexp(log_kernels, log_uniform) - math.log(count + uniform)
