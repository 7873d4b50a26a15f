"""Steps up the gradient of Q_w from the best of the points, with the limits that keep the critics honest.

    u <- u + h (1 - sum_i w_i^2) sigma clip(sigma grad_u Q_w(s, tanh u) / T, -1, 1)

sigma is how far the skills' own draws spread, so an entry moves by at most h (1 - sum_i w_i^2) sigma in a step: the
critics know little of what lies further from the skills' actions. Where exp(Q_w / T) is a Gaussian of width sigma, this
is Newton's step. With all weight on one skill nothing moves, and the action is that skill's own. h falls linearly to
zero, so that the action comes to rest.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from policies.composed_q import ComposedQ

STEP = 0.4
"""h of the first step."""


def step_sizes(steps: int) -> list[float]:
    """h of every step."""
    return [STEP * (1.0 - step / steps) for step in range(steps)]


def refine(
    composed: ComposedQ,
    observation: Sequence[Tensor],
    u: Tensor,
    scale: Tensor,
    weights: Tensor,
    temperature: float,
    steps: int,
) -> Tensor:
    """Takes the steps of the module's head.

    Args:
        composed: gives Q_w.
        observation: from `ComposedQ.normalized`.
        u: pre-tanh actions, (B, P, d).
        scale: sigma, (B, d).
        weights: w, (N,).
        temperature: T, > 0, reward units per nat.
        steps: how many.

    Returns:
        u, (B, P, d), without gradient.
    """
    sigma = scale[:, None]  # (B, 1, d)
    apart = 1.0 - weights.square().sum()
    for size in step_sizes(steps):
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            q = composed.q(observation, torch.tanh(u), weights)  # (B, P)
            (gradient,) = torch.autograd.grad(q.sum(), u)  # (B, P, d)
        # u <- u + h (1 - sum_i w_i^2) sigma clip(sigma grad_u Q_w / T, -1, 1)
        u = u.detach() + size * apart * sigma * (sigma * gradient / temperature).clamp(-1.0, 1.0)
    return u
