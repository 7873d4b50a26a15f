"""Proximal policy optimisation: several epochs on one rollout, kept near the policy that made it by a clip or a price.

Actor and critic take turns, a pass over the rollout each, and before each turn the critic as it then is says anew what
every action was worth. Judged once, by a critic that has not seen these steps, HalfCheetah came to half as much.

Source: Schulman et al. 2017, "Proximal Policy Optimization Algorithms" (arXiv 1707.06347); advantages anew in each
pass: Andrychowicz et al. 2021, "What Matters in On-Policy Reinforcement Learning?" (arXiv 2006.05990), section 3.5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robot_rl.algorithms.adam import Adam
from robot_rl.algorithms.distributions import gaussian_entropy, gaussian_kl, gaussian_log_prob
from robot_rl.algorithms.on_policy import MinibatchSettings, OnPolicy, Samples
from robot_rl.algorithms.policy_losses import surrogate_loss
from robot_rl.algorithms.rollout import Steps
from robot_rl.settings import check
from robot_rl.training.normalizer import Normalizer

OBJECTIVES = ("clipped", "adaptive_kl")


@dataclass(frozen=True)
class PPOSettings(MinibatchSettings):
    """Settings of PPO; the defaults are the paper's for continuous control, but for the spread at the start."""

    initial_log_std: float = -0.5
    """Log standard deviation of the pre-tanh action at the start; with 1 every third action is beyond three quarters of
    its range, and clipped steps narrow that slowly."""
    critic_learning_rate: float = 3e-4
    """Step size for the critic."""
    critic_epochs: int = 1
    """Times that the critic sees each step for every time that the actor does."""
    critic_minibatch: int = 64
    """Steps per step of Adam on the critic."""
    objective: str = "clipped"
    """clipped, or adaptive_kl: a price on the divergence from the old policy."""
    clip: float = 0.2
    """epsilon, how far the ratio of probabilities pays to go from 1."""
    kl_target: float = 0.01
    """delta, mean divergence per update that the price aims at, nats."""
    initial_kl_coefficient: float = 1.0
    """beta at the start, the price of the divergence, advantages (in standard deviations) per nat."""
    learning_rate: float = 3e-4
    """Adam's step size for the actor."""
    epochs: int = 10
    """Times that the actor sees each step in an update."""
    minibatch: int = 64
    """Steps per step of Adam on the actor."""
    entropy_coefficient: float = 0.0
    """Price of certainty, advantages (in standard deviations) per nat."""
    gradient_norm: float = 0.5
    """Greatest norm of the actor's gradient."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        super().__post_init__()
        check(
            self,
            "PPO",
            objective=(self.objective in OBJECTIVES, f"one of {', '.join(OBJECTIVES)}"),
            clip=(self.clip > 0, "positive"),
            kl_target=(self.kl_target > 0, "positive"),
            initial_kl_coefficient=(self.initial_kl_coefficient > 0, "positive"),
            learning_rate=(self.learning_rate > 0, "positive"),
            epochs=(self.epochs >= 1, "at least 1"),
            minibatch=(self.minibatch >= 1, "at least 1"),
            entropy_coefficient=(self.entropy_coefficient >= 0, "zero or positive"),
            gradient_norm=(self.gradient_norm > 0, "positive"),
        )


def clipped_loss(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """J = -mean(min(r A, clip(r, 1 - eps, 1 + eps) A)), r = pi(a|s) / pi_old(a|s).

    Args:
        log_prob: log pi(a|s), (B,).
        old_log_prob: log pi_old(a|s), (B,).
        advantage: A(s, a) under pi_old, (B,).
        clip: eps.
    Source: eq. 7.
    """
    ratio = (log_prob - old_log_prob).exp()  # (B,)
    return -torch.minimum(ratio * advantage, ratio.clamp(1.0 - clip, 1.0 + clip) * advantage).mean()


def penalised_loss(
    log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, kl: Tensor, kl_coefficient: Tensor
) -> Tensor:
    """J = -mean(r A) + beta mean KL(pi_old || pi), for KL (B,), beta (), the rest as `clipped_loss`. Source: eq. 8."""
    return surrogate_loss(log_prob, old_log_prob, advantage) + kl_coefficient * kl.mean()


def next_kl_coefficient(kl_coefficient: float, kl: float, target: float) -> float:
    """beta for the next rollout: doubled where the policy moved too far, halved where it hardly moved.

    Args:
        kl_coefficient: beta.
        kl: mean KL(pi_old || pi) after the update, nats.
        target: delta, nats.
    Source: section 4.
    """
    if kl >= 1.5 * target:
        return 2.0 * kl_coefficient
    if kl <= target / 1.5:
        return 0.5 * kl_coefficient
    return kl_coefficient


class PPO(OnPolicy):
    """The learner; what it does not say is as in `OnPolicy`."""

    name = "ppo"
    settings_class = PPOSettings
    settings: PPOSettings

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        settings: PPOSettings | None = None,
        seed: int = 0,
        normalizer: Normalizer | None = None,
    ) -> None:
        """Makes a learner whose weights and later noise depend on `seed` alone; the arguments are those of `SAC`."""
        super().__init__(observation_size, action_size, settings, seed, normalizer)
        self._actor_adam = Adam(dict(self.actor.named_parameters()), self.settings.learning_rate)
        self.kl_coefficient = torch.tensor(self.settings.initial_kl_coefficient)

    def loss(self, samples: Samples) -> Tensor:
        """What the actor minimises, ()."""
        settings = self.settings
        mean, log_std = self.actor(samples.observation)
        log_prob = gaussian_log_prob(samples.pre_tanh, mean, log_std)  # (B,)
        ratio = (log_prob, samples.old_log_prob, samples.advantage)
        if settings.objective == "clipped":
            loss = clipped_loss(*ratio, settings.clip)
        else:
            kl = gaussian_kl(samples.old_mean, samples.old_log_std, mean, log_std)  # (B,)
            loss = penalised_loss(*ratio, kl, self.kl_coefficient)
        return loss - settings.entropy_coefficient * gaussian_entropy(log_std).mean()

    def _learn(self, steps: Steps, samples: Samples) -> dict[str, float]:
        """Critic and actor in turns, then the price of the divergence."""
        settings, old = self.settings, samples
        losses = []
        for number in range(settings.epochs):
            if number:
                advantage, target = self._judged(steps, old.observation)
                samples = replace(old, advantage=advantage, target=target)
            losses.append(self._fit_critic(samples.observation, samples.target))
            self._improve(samples)
        found = {"critic_loss": losses[0]}
        if settings.objective == "clipped":
            return found
        with torch.no_grad():
            kl = gaussian_kl(old.old_mean, old.old_log_std, *self.actor(old.observation)).mean().item()
        self.kl_coefficient.fill_(next_kl_coefficient(self.kl_coefficient.item(), kl, settings.kl_target))
        return found | {"kl_coefficient": self.kl_coefficient.item()}

    def _improve(self, samples: Samples) -> dict[str, float]:
        """One pass."""
        for rows in self._minibatches(len(samples.advantage), 1, self.settings.minibatch):
            self._actor_adam.minimize(self.loss(samples.rows(rows)), self.settings.gradient_norm)
        return {}

    def _adams(self) -> dict[str, Adam]:
        return {**super()._adams(), "actor": self._actor_adam}

    def _single_tensors(self) -> dict[str, Tensor]:
        return {**super()._single_tensors(), "kl_coefficient": self.kl_coefficient}
