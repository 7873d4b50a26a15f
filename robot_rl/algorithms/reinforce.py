"""Policy gradient with entropy: the first of the family, with a critic as its baseline.

The entropy that is added is that of this step's policy only. It keeps the policy from closing too soon; unlike
maximum-entropy learning it does not seek states in which there is choice.

Sources: Williams 1992, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning";
Williams and Peng 1991 for the entropy; Schulman et al. 2015 (arXiv 1502.05477), eq. 14, for the surrogate.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robot_rl.algorithms.adam import Adam
from robot_rl.algorithms.distributions import gaussian_entropy, gaussian_kl, gaussian_log_prob
from robot_rl.algorithms.on_policy import MinibatchSettings, OnPolicy, Samples
from robot_rl.algorithms.policy_losses import policy_gradient_loss, surrogate_loss
from robot_rl.settings import check
from robot_rl.training.normalizer import Normalizer

OBJECTIVES = ("log_probability", "surrogate")


@dataclass(frozen=True)
class ReinforceSettings(MinibatchSettings):
    """Settings of the policy gradient."""

    trace: float = 1.0
    """lambda of the advantage: 1, as in the lecture, is R - V."""
    objective: str = "log_probability"
    """log_probability: one step per rollout; surrogate: steps while the divergence is below its limit."""
    learning_rate: float = 3e-3
    """Adam's step size for the actor."""
    entropy_coefficient: float = 0.01
    """beta, price of certainty, advantages (in standard deviations) per nat."""
    epochs: int = 10
    """Steps per rollout on the surrogate, at most."""
    kl_limit: float = 0.01
    """delta of the surrogate: mean divergence from the policy of the rollout at which its steps end, nats."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        super().__post_init__()
        check(
            self,
            "reinforce",
            objective=(self.objective in OBJECTIVES, f"one of {', '.join(OBJECTIVES)}"),
            learning_rate=(self.learning_rate > 0, "positive"),
            entropy_coefficient=(self.entropy_coefficient >= 0, "zero or positive"),
            epochs=(self.epochs >= 1, "at least 1"),
            kl_limit=(self.kl_limit > 0, "positive"),
        )


class Reinforce(OnPolicy):
    """The learner; what it does not say is as in `OnPolicy`."""

    name = "reinforce"
    settings_class = ReinforceSettings
    settings: ReinforceSettings

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        settings: ReinforceSettings | None = None,
        seed: int = 0,
        normalizer: Normalizer | None = None,
    ) -> None:
        """Makes a learner whose weights and later noise depend on `seed` alone; the arguments are those of `SAC`."""
        super().__init__(observation_size, action_size, settings, seed, normalizer)
        self._actor_adam = Adam(dict(self.actor.named_parameters()), self.settings.learning_rate)

    def loss(self, samples: Samples) -> Tensor:
        """What the actor minimises, ()."""
        mean, log_std = self.actor(samples.observation)
        log_prob = gaussian_log_prob(samples.pre_tanh, mean, log_std)  # (T,)
        if self.settings.objective == "surrogate":
            loss = surrogate_loss(log_prob, samples.old_log_prob, samples.advantage)
        else:
            loss = policy_gradient_loss(log_prob, samples.advantage)
        # theta <- theta + lr (grad log pi (R - V) + beta grad H)
        return loss - self.settings.entropy_coefficient * gaussian_entropy(log_std).mean()

    def _improve(self, samples: Samples) -> dict[str, float]:
        steps = self.settings.epochs if self.settings.objective == "surrogate" else 1
        for step in range(steps):
            if step and self._divergence(samples) > self.settings.kl_limit:
                break
            self._actor_adam.minimize(self.loss(samples))
        return {}

    @torch.no_grad()
    def _divergence(self, samples: Samples) -> float:
        return gaussian_kl(samples.old_mean, samples.old_log_std, *self.actor(samples.observation)).mean().item()

    def _adams(self) -> dict[str, Adam]:
        return {**super()._adams(), "actor": self._actor_adam}
