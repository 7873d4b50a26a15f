"""Soft actor-critic with a value network: the first two versions of the algorithm, beside the third in `sac.py`.

The temperature is fixed at 1 and the reward is scaled instead; the target network is one of V. Version 1 has one
critic, version 2 two, of which the lower one counts.

Source: Haarnoja et al. 2018, "Soft Actor-Critic: Off-Policy Maximum Entropy Deep Reinforcement Learning with a
Stochastic Actor" (arXiv 1801.01290), here "v1" and "v2" for its first and its last form.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from robot_rl.algorithms.adam import Adam
from robot_rl.algorithms.distributions import sample_with_log_prob
from robot_rl.algorithms.networks import Actor, Critics, Value, move_targets
from robot_rl.algorithms.replay_learner import ReplayLearner, Tensors
from robot_rl.algorithms.sac import critic_loss
from robot_rl.settings import check
from robot_rl.training.normalizer import Normalizer


@dataclass(frozen=True)
class SACValueSettings:
    """Settings of SAC with a value network; the defaults are the paper's."""

    discount: float = 0.99
    """gamma, weight of the next step's value, in [0, 1)."""
    tau: float = 0.005
    """Share of the value network that moves into its target at every update, in (0, 1]."""
    critics: int = 2
    """1 for the first version of the paper, 2 for the second."""
    reward_scale: float = 5.0
    """c, factor on the reward, > 0; the temperature in reward units is 1 / c. The paper: 5, Humanoid 20."""
    actor_learning_rate: float = 3e-4
    """Adam's step size for the actor."""
    critic_learning_rate: float = 3e-4
    """Adam's step size for the critics."""
    value_learning_rate: float = 3e-4
    """Adam's step size for the value network."""
    hidden_sizes: tuple[int, ...] = (256, 256)
    """Widths of the ReLU layers, the same in all networks."""
    log_std_min: float = -20.0
    """Least log standard deviation of the pre-tanh action."""
    log_std_max: float = 2.0
    """Greatest log standard deviation of the pre-tanh action."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        check(
            self,
            "SAC with a value network",
            discount=(0 <= self.discount < 1, "in [0, 1)"),
            tau=(0 < self.tau <= 1, "in (0, 1]"),
            critics=(self.critics in (1, 2), "1 or 2"),
            reward_scale=(self.reward_scale > 0, "positive"),
            actor_learning_rate=(self.actor_learning_rate > 0, "positive"),
            critic_learning_rate=(self.critic_learning_rate > 0, "positive"),
            value_learning_rate=(self.value_learning_rate > 0, "positive"),
            hidden_sizes=(len(self.hidden_sizes) > 0 and all(s > 0 for s in self.hidden_sizes), "positive widths"),
            log_std_min=(self.log_std_min < self.log_std_max, f"below log_std_max ({self.log_std_max})"),
        )


def value_loss(value: Tensor, q: Tensor, log_prob: Tensor) -> Tensor:
    """J_V, the distance of V from the soft value of the policy.

    Args:
        value: V(s), (B,).
        q: critics at (s, a), a ~ pi(.|s), (C, B).
        log_prob: log pi(a|s), (B,).
    Source: v1, eq. 5; the minimum as in v2.
    """
    # J_V = 1/2 mean (V(s) - (min_i Q_i(s, a) - log pi(a|s)))^2
    target = (q.amin(dim=0) - log_prob).detach()  # (B,)
    return 0.5 * (value - target).square().mean()


def critic_target(
    reward: Tensor, terminated: Tensor, next_value: Tensor, reward_scale: float, discount: float
) -> Tensor:
    """The regression target of every critic.

    Args:
        reward: r(s, a), (B,).
        terminated: 1 where s' is terminal, (B,). A time limit is not: there the value of s' still counts.
        next_value: target network at s', (B,).
        reward_scale: c.
        discount: gamma.

    Returns:
        y, (B,).
    Source: v1, eq. 8.
    """
    # y = c r + gamma (1 - terminated) V_target(s')
    return reward_scale * reward + discount * (1.0 - terminated) * next_value


def actor_loss(log_prob: Tensor, q: Tensor) -> Tensor:
    """J_pi = mean(log pi(a|s) - min_i Q_i(s, a)), for log_prob (B,) and q (C, B). Source: v1, eq. 12."""
    return (log_prob - q.amin(dim=0)).mean()


class SACValue(ReplayLearner):
    """The learner: networks, optimisers and one update; see `Learner` for the interface."""

    name = "sac_value"

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        settings: SACValueSettings | None = None,
        seed: int = 0,
        normalizer: Normalizer | None = None,
    ) -> None:
        """Makes a learner whose weights and later noise depend on `seed` alone; the arguments are those of `SAC`."""
        super().__init__(observation_size, action_size, seed, normalizer)
        self.settings = settings = settings or SACValueSettings()
        widths, generator = settings.hidden_sizes, self._generator
        bounds = (settings.log_std_min, settings.log_std_max)
        self.actor = Actor(observation_size, action_size, widths, bounds, generator)
        self.critics = Critics(settings.critics, observation_size, action_size, widths, False, generator)
        self.value = Value(observation_size, widths, generator)
        self.target_value = copy.deepcopy(self.value).requires_grad_(False)

        self._actor_adam = Adam(dict(self.actor.named_parameters()), settings.actor_learning_rate)
        self._critic_adam = Adam(dict(self.critics.named_parameters()), settings.critic_learning_rate)
        self._value_adam = Adam(dict(self.value.named_parameters()), settings.value_learning_rate)

    def act(self, observation: np.ndarray, deterministic: bool = False) -> np.ndarray:
        """See `Learner.act`."""
        observation = self._checked(observation)
        with torch.inference_mode():
            u, log_std = self.actor(self._normalized(observation))
            if not deterministic:
                u = u + log_std.exp() * torch.randn(u.shape, generator=self._generator)
            return torch.tanh(u).numpy()

    def _draw(self, size: int) -> Tensor:
        return torch.randn(size, self.action_size, generator=self._generator)

    def _step(self, batch: Tensors, draws: Tensor, moves_actor: bool, metrics: bool) -> dict[str, Tensor]:
        settings = self.settings
        observation, action, reward, next_observation, terminated = batch

        # One draw from the policy serves V and the actor; all losses are at the weights before this update.
        mean, log_std = self.actor(observation)
        new_action, log_prob = sample_with_log_prob(mean, log_std, draws)  # (B, A), (B,)
        new_q = self.critics.climbed(observation, new_action)  # (C, B)
        value = self.value(observation)  # (B,)
        loss_v = value_loss(value, new_q, log_prob)
        loss_pi = actor_loss(log_prob, new_q)

        with torch.no_grad():
            next_value = self.target_value(next_observation)  # (B,)
            y = critic_target(reward, terminated, next_value, settings.reward_scale, settings.discount)  # (B,)
        q = self.critics(observation, action)  # (C, B)
        loss_q = critic_loss(q, y)

        self._value_adam.minimize(loss_v)
        self._actor_adam.minimize(loss_pi)
        self._critic_adam.minimize(loss_q)
        move_targets(list(self.target_value.parameters()), list(self.value.parameters()), settings.tau)

        if not metrics:
            return {}
        found = {
            "value_loss": loss_v,
            "critic_loss": loss_q,
            "actor_loss": loss_pi,
            "alpha": torch.tensor(1.0 / settings.reward_scale),
            "entropy": -log_prob.mean(),
            "q": q.mean() / settings.reward_scale,
            "value": value.mean() / settings.reward_scale,
        }
        return {name: value.detach() for name, value in found.items()}

    def _modules(self) -> dict[str, nn.Module]:
        return {
            "actor": self.actor,
            "critics": self.critics,
            "value": self.value,
            "target_value": self.target_value,
        }

    def _adams(self) -> dict[str, Adam]:
        return {"actor": self._actor_adam, "critics": self._critic_adam, "value": self._value_adam}
