"""What a composition of energy-based skills chooses its action from; a policy exp(Q_i / alpha_i) has any shape.

Nothing tells the density of a sampler's draw, so there is no product in closed form. But P draws of each sampler, from
the noise that is kept with it, say where its policy is:

- the points are these draws themselves. Of its own P draws a skill takes the best by its Q, so the best by Q_w of all
  of them is, with all weight on one skill, that skill's own action. A skill without weight lends its places to the one
  with the most.
- the draws of a sampled action come from Gaussians around them, by the weights of their skills, and a share from the
  uniform on the box, which bounds the weight of an action that no draw is near. This mixture has a known density,
  whatever the samplers have learnt.

The integrals that the disagreement needs are estimated from those draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from policies.composed_q import LEAST_WEIGHT, ComposedQ
from policies.draws import Draws, strata
from robot_rl.algorithms.distributions import HALF_LOG_2_PI, LOG_2, log_one_minus_tanh_squared
from robot_rl.algorithms.soft_value import UNIFORM_SHARE, kernel_width

INSIDE = 1.0 - 1e-6
"""Greatest entry of a uniform action; its place before the tanh stays finite."""


def particles(composed: ComposedQ, observation: Sequence[Tensor]) -> Tensor:
    """The samplers' fixed draws before the tanh, (B, N, P, d), for observations from `ComposedQ.normalized`."""
    pairs = zip(composed.energies, observation, strict=True)
    return torch.stack([actor.sampler(seen, actor.candidates) for actor, seen in pairs], dim=1)


def points_of(particles: Tensor, weights: Tensor) -> Tensor:
    """The points before the tanh, (B, N P, d), for weights (N,)."""
    lent = particles[:, weights.argmax(), None]  # (B, 1, P, d)
    return torch.where(weights[:, None, None] > 0, particles, lent).flatten(1, 2)


def draw_around(particles: Tensor, weights: Tensor, noise: Tensor) -> Draws:
    """Draws from the mixture of the uniform and of kernels around the particles, in strata.

    Args:
        particles: (B, N, P, d).
        weights: w, (N,).
        noise: standard normal, (B or 1, K, d).
    """
    count, size = particles.shape[2], particles.shape[3]
    width = kernel_width(particles).expand_as(particles).flatten(1, 2)  # (B, N P, d)
    centre = particles.flatten(1, 2)  # (B, N P, d)
    kernels = ((1.0 - UNIFORM_SHARE) / count * weights)[:, None].expand(-1, count).flatten()  # (N P,)
    chosen = strata(torch.cat([kernels.new_full((1,), UNIFORM_SHARE), kernels]), noise.shape[-2])  # (K, 1 + N P)
    near = chosen[:, 1:] @ centre + (chosen[:, 1:] @ width) * noise  # (B, K, d)
    # Standard normal noise through its own distribution function is uniform.
    anywhere = torch.atanh(torch.erf(noise * math.sqrt(0.5)).clamp(-INSIDE, INSIDE))
    u = torch.where(chosen[:, :1] > 0, anywhere, near)  # (B, K, d)

    log_share = chosen.mean(dim=0).clamp(min=LEAST_WEIGHT).log()  # (1 + N P,), as drawn
    z = (u[:, :, None] - centre[:, None]) / width[:, None]  # (B, K, N P, d)
    log_kernels = (-0.5 * z.square() - width.log()[:, None] - HALF_LOG_2_PI).sum(dim=-1)  # (B, K, N P)
    log_uniform = log_one_minus_tanh_squared(u).sum(dim=-1, keepdim=True) - size * LOG_2  # (B, K, 1)
    return Draws(u, torch.logsumexp(torch.cat([log_uniform, log_kernels], dim=-1) + log_share, dim=-1))


def energy_disagreement(skill_q: Tensor, alpha: float, weights: Tensor, draws: Draws) -> Tensor:
    """-log of the integral of prod_i pi_i^w_i with pi_i ~ exp(Q_i / alpha_i), nats, (B,), by importance sampling.

    All integrals are taken over the same draws, so by Hoelder's inequality the estimate is never below zero, and it is
    zero where one skill has all weight.

    Args:
        skill_q: alpha Q_i / alpha_i of the draws, (N, B, K).
        alpha: of the composition, reward units per nat.
        weights: w, (N,).
        draws: where the Q were taken.
    """
    # log density with respect to da, the action
    log_density = draws.log_density - log_one_minus_tanh_squared(draws.u).sum(dim=-1)  # (B, K)
    nats = skill_q / alpha  # (N, B, K)
    # log Z_i = log of the integral of exp(Q_i / alpha_i); the product of exp(w_i Q_i / alpha_i) likewise
    log_z = torch.logsumexp(nats - log_density, dim=-1)  # (N, B)
    log_z_product = torch.logsumexp((weights[:, None, None] * nats).sum(dim=0) - log_density, dim=-1)  # (B,)
    return (weights[:, None] * log_z).sum(dim=0) - log_z_product
