"""The Metropolis-adjusted Langevin algorithm: points that walk uphill in a noise, and so become a sample of a density.

    u' = u + sigma^2 / 2 grad log p(u) + sigma epsilon        epsilon ~ N(0, I)

Each such step is taken with probability min(1, p(u') q(u | u') / p(u) q(u' | u)), where q(u' | u) is the density of the
step, and otherwise the point stays. So whatever sigma is, points that are a sample of p remain one, and others become
one in the end. Points forget slowly which of several modes they came from, and quickly where they were in it: a few
steps bring home what a sampler left between the modes, and leave to each mode the share that it was given.

Sources: Roberts and Tweedie 1996, "Exponential convergence of Langevin distributions and their discrete
approximations"; Besag 1994.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robot_rl.algorithms.svgd import LogDensity


def langevin(
    log_density: LogDensity, start: Tensor, std: Tensor | float, steps: int, generator: torch.Generator
) -> Tensor:
    """Takes steps with every point by itself.

    Args:
        log_density: of the points, in their own space; see `svgd.in_pre_tanh_space` for actions.
        start: the first points, (..., N, A).
        std: sigma, > 0, in the units of the points; a number, or one that broadcasts with them.
        steps: how many.
        generator: of noise and of what is accepted.

    Returns:
        The points, (..., N, A), without gradient.
    """
    u = start.detach()
    variance = torch.as_tensor(std, dtype=u.dtype) ** 2
    value, score = _value_and_score(log_density, u)  # (..., N), (..., N, A)
    for _ in range(steps):
        noise = torch.randn(u.shape, generator=generator, dtype=u.dtype)
        proposal = u + 0.5 * variance * score + variance.sqrt() * noise
        its_value, its_score = _value_and_score(log_density, proposal)
        # log q(u' | u) = -|u' - u - sigma^2 / 2 grad log p(u)|^2 / (2 sigma^2) + ..., and back
        there = ((proposal - u - 0.5 * variance * score).square() / variance).sum(dim=-1)
        again = ((u - proposal - 0.5 * variance * its_score).square() / variance).sum(dim=-1)
        log_ratio = its_value - value + 0.5 * (there - again)  # (..., N)
        accepted = torch.rand(log_ratio.shape, generator=generator).log() < log_ratio
        u, score = (torch.where(accepted[..., None], new, old) for new, old in ((proposal, u), (its_score, score)))
        value = torch.where(accepted, its_value, value)
    return u


def _value_and_score(log_density: LogDensity, points: Tensor) -> tuple[Tensor, Tensor]:
    """log p (..., N) and grad log p (..., N, A); leaves no gradient elsewhere."""
    with torch.enable_grad():
        points = points.detach().requires_grad_()
        value = log_density(points)
        (score,) = torch.autograd.grad(value.sum(), points)
    return value.detach(), score
