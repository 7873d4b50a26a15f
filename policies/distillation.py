"""A composed policy as one plain actor, for one set of weights: distilled on the skills' replay.

It answers in the time of a plain policy and needs no critics on the robot, but its weights can no longer be turned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import nn

from policies.composed_q import ComposedQ
from robot_rl.algorithms.adam import Adam
from robot_rl.algorithms.distributions import sample_with_log_prob
from robot_rl.algorithms.learner import Batch
from robot_rl.algorithms.networks import Actor, without_gradients
from robot_rl.settings import check


@dataclass(frozen=True)
class DistillationSettings:
    """Settings of a distillation."""

    steps: int = 5000
    """Gradient steps."""
    batch_size: int = 256
    """Observations per step, equally many of every skill."""
    learning_rate: float = 1e-3
    """Adam's step size at the start; it falls to a tenth of it."""
    hidden_sizes: tuple[int, ...] = (256, 256)
    """Widths of the ReLU layers."""
    log_std_min: float = -5.0
    """Least log standard deviation of the pre-tanh action."""
    log_std_max: float = 2.0
    """Greatest log standard deviation of the pre-tanh action."""
    seed: int = 0
    """Of weights and draws."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        check(
            self,
            "distillation",
            steps=(self.steps > 0, "positive"),
            batch_size=(self.batch_size > 0, "positive"),
            learning_rate=(self.learning_rate > 0, "positive"),
            hidden_sizes=(len(self.hidden_sizes) > 0 and all(s > 0 for s in self.hidden_sizes), "positive widths"),
            log_std_min=(self.log_std_min < self.log_std_max, f"below log_std_max ({self.log_std_max})"),
        )


@dataclass
class Distilled:
    """What `policies.export.export_policy` takes of a learner."""

    policy: nn.Module
    normalizer: Any
    """The first skill's."""
    observation_size: int
    action_size: int
    name: str
    """Of the skills' algorithm."""
    settings: DistillationSettings


def distil(
    composed: ComposedQ,
    sample: Callable[[int], Batch],
    temperature: float,
    weights: ArrayLike | None = None,
    settings: DistillationSettings | None = None,
    progress: Callable[[int, float], None] = lambda _step, _loss: None,
) -> Distilled:
    """Fits a tanh-Gaussian actor to exp(Q_w / T) on the observations of the replay.

    Args:
        composed: what is distilled.
        sample: draws that many transitions from the union of the replays.
        temperature: T, > 0, reward units per nat.
        weights: (N,); None weighs all alike.
        settings: see `DistillationSettings`.
        progress: called with the step and the loss, nats.
    """
    settings = settings or DistillationSettings()
    generator = torch.Generator().manual_seed(settings.seed)
    w, normalizer = composed.weights(weights), composed.skills[0].normalizer
    bounds = (settings.log_std_min, settings.log_std_max)
    actor = Actor(composed.observation_size, composed.action_size, settings.hidden_sizes, bounds, generator)
    adam = Adam(dict(actor.named_parameters()), settings.learning_rate)
    frozen = [parameter for skill in composed.skills for parameter in skill.critics.parameters()]
    for step in range(settings.steps):
        adam.learning_rate = settings.learning_rate * (1.0 - 0.9 * step / settings.steps)
        observation = sample(settings.batch_size).observation
        seen = composed.normalized(observation)
        mean, log_std = actor(seen[0])  # (B, d)
        action, log_prob = sample_with_log_prob(mean, log_std, torch.randn(mean.shape, generator=generator))
        with without_gradients(frozen):
            q = composed.q(seen, action[:, None], w)[:, 0]  # (B,)
        # J = E[ log pi(a|s) - Q_w(s, a) / T ], the divergence from exp(Q_w / T) up to a constant of s
        loss = (log_prob - q / temperature).mean()
        adam.minimize(loss)
        if step % 500 == 0 or step == settings.steps - 1:
            progress(step, loss.item())
    actor.requires_grad_(False)
    return Distilled(
        actor, normalizer, composed.observation_size, composed.action_size, composed.skills[0].algorithm, settings
    )
