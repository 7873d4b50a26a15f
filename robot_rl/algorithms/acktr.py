"""Actor-critic with Kronecker-factored trust region: the natural gradient for actor and critic, by small inverses.

Source: Wu et al. 2017, "Scalable trust-region method for deep reinforcement learning using Kronecker-factored
approximation" (arXiv 1708.05144), here for continuous actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robot_rl.algorithms.adam import Adam
from robot_rl.algorithms.distributions import gaussian_kl, gaussian_log_prob
from robot_rl.algorithms.kronecker import KroneckerFactors, traced
from robot_rl.algorithms.on_policy import OnPolicy, OnPolicySettings, Samples
from robot_rl.algorithms.policy_losses import policy_gradient_loss
from robot_rl.algorithms.state_value import value_loss
from robot_rl.settings import check
from robot_rl.training.normalizer import Normalizer

RATES = (1e-8, 1.0)
"""Least and greatest eta_max, as in the authors' programs; 1 is the whole natural gradient."""


@dataclass(frozen=True)
class ACKTRSettings(OnPolicySettings):
    """Settings of ACKTR; the defaults are the authors' for continuous control."""

    trace: float = 0.97
    """lambda of the advantage: 0 trusts the critic, 1 the return."""
    steps: int = 2500
    """Steps, summed over the environments, between two updates."""
    kl_target: float = 0.002
    """delta, mean divergence per update that is aimed at, nats."""
    learning_rate: float = 0.03
    """eta_max at the start, greatest multiple of the natural gradient; follows the divergence."""
    momentum: float = 0.9
    """Share of the last direction in the next, of actor and critic."""
    decay: float = 0.99
    """Share of the past that stays in the Kronecker factors at an update."""
    damping: float = 0.01
    """Added to the curvature of actor and critic."""
    critic_learning_rate: float = 0.3
    """Greatest multiple of the Gauss-Newton direction for the critic."""
    critic_epochs: int = 25
    """Gauss-Newton steps of the critic in an update, each on all its steps."""
    critic_limit: float = 0.05
    """Change of the values per critic step, as a quadratic form, in units of the critic squared."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        super().__post_init__()
        check(
            self,
            "ACKTR",
            kl_target=(self.kl_target > 0, "positive"),
            learning_rate=(RATES[0] <= self.learning_rate <= RATES[1], f"from {RATES[0]} to {RATES[1]}"),
            momentum=(0 <= self.momentum < 1, "in [0, 1)"),
            decay=(0 <= self.decay < 1, "in [0, 1)"),
            damping=(self.damping > 0, "positive"),
            critic_epochs=(self.critic_epochs >= 1, "at least 1"),
            critic_limit=(self.critic_limit > 0, "positive"),
        )


def trust_region_rate(curvature: float, limit: float, greatest: float) -> float:
    """eta = min(eta_max, sqrt(2 delta / d' F d)).

    Args:
        curvature: d' F d of the direction d.
        limit: delta.
        greatest: eta_max.
    Source: section 3.3.
    """
    return min(greatest, (2.0 * limit / curvature) ** 0.5) if curvature > 0 else 0.0


def next_rate(rate: float, kl: float, target: float) -> float:
    """eta_max for the next rollout: / 1.5 where the policy moved more than twice too far, x 1.5 where less than half.

    It stays in `RATES`: where the trust region is what limits the steps, it would otherwise grow as long as that lasts.

    Args:
        rate: eta_max.
        kl: mean KL(pi_old || pi) after the update, nats.
        target: delta, nats.
    Source: the authors' programs for continuous control.
    """
    if kl > 2.0 * target:
        rate = rate / 1.5
    elif kl < 0.5 * target:
        rate = rate * 1.5
    return min(max(rate, RATES[0]), RATES[1])


@torch.no_grad()
def move(parameters: Sequence[Tensor], direction: Sequence[Tensor], rate: float) -> None:
    """theta <- theta + eta d."""
    for parameter, part in zip(parameters, direction, strict=True):
        parameter.add_(part, alpha=rate)


class ACKTR(OnPolicy):
    """The learner; what it does not say is as in `OnPolicy`."""

    name = "acktr"
    settings_class = ACKTRSettings
    settings: ACKTRSettings

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        settings: ACKTRSettings | None = None,
        seed: int = 0,
        normalizer: Normalizer | None = None,
    ) -> None:
        """Makes a learner whose weights and later noise depend on `seed` alone; the arguments are those of `SAC`."""
        super().__init__(observation_size, action_size, settings, seed, normalizer)
        settings = self.settings
        self._actor_layers = [p for name, p in self.actor.named_parameters() if name != "log_std"]
        self._critic_layers = list(self.critic.parameters())
        self._factors = {
            "actor": KroneckerFactors(self.actor, settings.decay, settings.damping),
            "critic": KroneckerFactors(self.critic, settings.decay, settings.damping),
        }
        self._directions = {
            "actor": [torch.zeros_like(p.detach()) for p in [*self._actor_layers, self.actor.log_std]],
            "critic": [torch.zeros_like(p.detach()) for p in self._critic_layers],
        }
        self.rate = torch.tensor(settings.learning_rate)

    def _improve(self, samples: Samples) -> dict[str, float]:
        settings = self.settings
        mean, log_std = self.actor(samples.observation)
        loss = policy_gradient_loss(gaussian_log_prob(samples.pre_tanh, mean, log_std), samples.advantage)
        parameters = [*self._actor_layers, self.actor.log_std]
        gradient = [-g for g in torch.autograd.grad(loss, parameters)]

        # The Fisher matrix is a mean over what the policy would do, so over fresh draws and not over what it did.
        inputs, outputs = traced(self.actor, samples.observation)
        draw = samples.old_mean + samples.old_log_std.exp() * self._normal(samples.old_mean)
        log_prob = gaussian_log_prob(draw, outputs[-1], samples.old_log_std)  # (T,)
        factors = self._factors["actor"]
        factors.observe(inputs, torch.autograd.grad(log_prob.sum(), outputs))
        # The Fisher block of log std is 2 I, exactly.
        spread = 2.0 + settings.damping
        direction = self._averaged("actor", [*factors.precondition(gradient[:-1]), gradient[-1] / spread])
        curvature = factors.curvature(direction[:-1]) + spread * float(direction[-1].square().sum())
        rate = trust_region_rate(curvature, settings.kl_target, float(self.rate))
        move(parameters, direction, rate)

        with torch.no_grad():
            kl = gaussian_kl(samples.old_mean, samples.old_log_std, *self.actor(samples.observation)).mean().item()
        self.rate.fill_(next_rate(float(self.rate), kl, settings.kl_target))
        return {"rate": rate, "greatest_rate": float(self.rate)}

    def _fit_critic(self, observation: Tensor, target: Tensor) -> float:
        """Gauss-Newton steps: V is seen as the mean of a Gaussian of variance one, whose Fisher matrix is J'J."""
        settings, factors = self.settings, self._factors["critic"]
        self.critic.rescale(target)
        before = None
        for _ in range(settings.critic_epochs):
            loss = value_loss(self.critic, observation, target)
            before = loss.item() if before is None else before
            gradient = [-g for g in torch.autograd.grad(loss, self._critic_layers)]
            inputs, outputs = traced(self.critic, observation)
            # log N(draw; V, 1) with draw = V + noise has the gradient `noise` at V.
            slope = torch.autograd.grad((outputs[-1] * self._normal(outputs[-1])).sum(), outputs)
            factors.observe(inputs, slope)
            direction = self._averaged("critic", factors.precondition(gradient))
            curvature = factors.curvature(direction)
            rate = trust_region_rate(curvature, settings.critic_limit, settings.critic_learning_rate)
            move(self._critic_layers, direction, rate)
        assert before is not None
        return before

    def _averaged(self, part: str, direction: Sequence[Tensor]) -> list[Tensor]:
        """d <- m d + (1 - m) F^-1 g, and all of it goes through the trust region, not the newest share alone."""
        for average, new in zip(self._directions[part], direction, strict=True):
            average.lerp_(new, 1.0 - self.settings.momentum)
        return self._directions[part]

    def _normal(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self._generator)

    def _adams(self) -> dict[str, Adam]:
        return {}

    def _single_tensors(self) -> dict[str, Tensor]:
        named = {**super()._single_tensors(), "rate": self.rate}
        for part in ("actor", "critic"):
            named |= {f"factors/{part}/{name}": tensor for name, tensor in self._factors[part].tensors.items()}
            named |= {f"direction/{part}/{index}": tensor for index, tensor in enumerate(self._directions[part])}
        return named
