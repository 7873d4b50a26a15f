"""The divergence correction of a conjunction, learnt from the skills' replay: what the average promises too much.

    C_w(s,a) = -alpha gamma E_{s'} log of the integral of prod_i pi_i(a'|s')^w_i exp(-C_w(s',a') / alpha) da'

No reward enters, only the skills' policies and what followed what. The product of the policies is Z_w(s') pi_w(.|s')
with pi_w a tanh-Gaussian and Z_w in closed form, so with c = C_w / alpha, in nats, and a'_k drawn from pi_w(.|s'):

    c_w(s,a) <- gamma (1 - terminated) ( -log Z_w(s') - log mean_k exp(-c_w(s',a'_k)) )

One network learns it for all weights at once.

Source: Hunt et al. 2019 (arXiv 1812.02216), section 3.2; exact on finite problems: `robot_rl.algorithms.tabular`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from policies.composed_q import ComposedQ, log_affinity, product_of_gaussians
from robot_rl.algorithms.adam import Adam
from robot_rl.algorithms.learner import Batch
from robot_rl.algorithms.networks import Critics, move_targets
from robot_rl.settings import check


@dataclass(frozen=True)
class CorrectionSettings:
    """Settings of the learning of a divergence correction."""

    steps: int = 5000
    """Gradient steps."""
    batch_size: int = 256
    """Transitions per step, equally many of every skill."""
    samples: int = 8
    """Actions drawn per next state for the mean in the target."""
    learning_rate: float = 1e-3
    """Adam's step size at the start; it falls to a tenth of it."""
    tau: float = 0.01
    """Share of the network that moves into its target at every step, in (0, 1]."""
    hidden_sizes: tuple[int, ...] = (128, 128)
    """Widths of the ReLU layers."""
    seed: int = 0
    """Of weights, batches and draws."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        check(
            self,
            "correction",
            steps=(self.steps > 0, "positive"),
            batch_size=(self.batch_size > 0, "positive"),
            samples=(self.samples > 0, "positive"),
            learning_rate=(self.learning_rate > 0, "positive"),
            tau=(0 < self.tau <= 1, "in (0, 1]"),
            hidden_sizes=(len(self.hidden_sizes) > 0 and all(s > 0 for s in self.hidden_sizes), "positive widths"),
        )


class Correction:
    """c_w(s, a) = C_w(s, a) / alpha for all weights, zero by construction where one skill has all weight.

    Attributes:
        critics: one network over normalised observation, weights and action; its value counts `vanishing(w)` times.
    """

    def __init__(self, critics: Critics) -> None:
        """Args: critics: a stack of one; its observation is the one that the first skill sees, then the weights."""
        self.critics = critics

    @classmethod
    def new(cls, observations: int, skills: int, actions: int, hidden_sizes: Sequence[int], seed: int) -> Correction:
        """One with random weights."""
        generator = torch.Generator().manual_seed(seed)
        return cls(Critics(1, observations + skills, actions, hidden_sizes, False, generator))

    def __call__(self, observation: Tensor, action: Tensor, weights: Tensor) -> Tensor:
        """Nats, (B, K).

        Args:
            observation: normalised as the first skill does, (B, O).
            action: in [-1, 1], (B, K, d).
            weights: (N,), or (B, N) for weights that differ from row to row.
        """
        rows, count, size = action.shape
        known = torch.cat([observation, weights.expand(rows, -1)], dim=-1)  # (B, O + N)
        flat = known[:, None].expand(-1, count, -1).reshape(rows * count, -1)
        found = self.critics(flat, action.reshape(rows * count, size))[0].view(rows, count)
        return vanishing(weights)[..., None] * found

    def double(self) -> Correction:
        """A copy in float64."""
        return Correction(copy.deepcopy(self.critics).double())


def uniform_weights(rows: int, count: int, generator: torch.Generator) -> Tensor:
    """Weights uniform on the simplex, (B, N): exponential draws, normalised."""
    drawn = -torch.log(1.0 - torch.rand(rows, count, generator=generator))
    return drawn / drawn.sum(dim=1, keepdim=True)


def vanishing(weights: Tensor) -> Tensor:
    """1 - sum_i w_i^2, (...), for weights (..., N): zero for one skill alone, and linear near it as C_w is."""
    return 1.0 - weights.square().sum(dim=-1)


def correction_target(terminated: Tensor, log_z: Tensor, next_correction: Tensor, discount: float) -> Tensor:
    """The regression target of c_w(s, a), (B,), nats.

    Args:
        terminated: 1 where s' is terminal, (B,).
        log_z: log Z_w(s'), (B,).
        next_correction: c_w(s', a'_k) for a'_k ~ pi_w(.|s'), (B, K).
        discount: gamma.
    """
    # log of the integral of prod_i pi_i^w_i exp(-c) = log Z_w + log mean_k exp(-c(s', a'_k))
    log_mean = torch.logsumexp(-next_correction, dim=1) - math.log(next_correction.shape[1])
    target = -discount * (1.0 - terminated) * (log_z + log_mean)
    return target.clamp(min=0.0)  # C_w is nowhere below zero


def learn_correction(
    composed: ComposedQ,
    sample: Callable[[int], Batch],
    settings: CorrectionSettings | None = None,
    weights: Sequence[float] | None = None,
    progress: Callable[[int, float], None] = lambda _step, _loss: None,
) -> Correction:
    """Learns a correction from transitions of the skills' replay.

    Args:
        composed: the skills; a conjunction.
        sample: draws that many transitions from the union of the replays.
        settings: see `CorrectionSettings`.
        weights: the only ones to learn for; None learns for all, drawn uniformly from the simplex.
        progress: called with the step and the loss.
    """
    settings = settings or CorrectionSettings()
    generator = torch.Generator().manual_seed(settings.seed)
    count, size, actions = len(composed.skills), composed.observation_size, composed.action_size
    discount = composed.skills[0].discount
    learnt = Correction.new(size, count, actions, settings.hidden_sizes, settings.seed)
    target_network = learnt.double()
    target_network.critics.float().requires_grad_(False)
    parameters = list(learnt.critics.parameters())
    adam = Adam(dict(learnt.critics.named_parameters()), settings.learning_rate)
    fixed = None if weights is None else composed.weights(weights)
    for step in range(settings.steps):
        adam.learning_rate = settings.learning_rate * (1.0 - 0.9 * step / settings.steps)
        batch = sample(settings.batch_size)
        rows = len(batch.reward)
        w = uniform_weights(rows, count, generator) if fixed is None else fixed.expand(rows, -1)  # (B, N)
        with torch.no_grad():
            following = composed.normalized(batch.next_observation)
            mean, log_std = composed.gaussians(following)  # (N, B, d)
            product_mean, product_log_std = product_of_gaussians(mean, log_std, w)  # (B, d)
            noise = torch.randn(rows, settings.samples, actions, generator=generator)
            a = torch.tanh(product_mean[:, None] + product_log_std.exp()[:, None] * noise)  # (B, K, d)
            after = target_network(following[0], a, w)  # (B, K)
            terminated = torch.from_numpy(np.asarray(batch.terminated))
            y = correction_target(terminated, log_affinity(mean, log_std, w), after, discount)  # (B,)
        seen = torch.from_numpy(composed.skills[0].normalizer(batch.observation))
        guess = learnt(seen, torch.from_numpy(batch.action)[:, None], w)[:, 0]
        loss = 0.5 * (guess - y).square().mean()
        adam.minimize(loss)
        move_targets(list(target_network.critics.parameters()), parameters, settings.tau)
        if step % 500 == 0 or step == settings.steps - 1:
            progress(step, loss.item())
    learnt.critics.requires_grad_(False)
    return learnt
