"""What all on-policy learners share: one actor, one critic, one estimate of the advantage.

A learner says how many steps it wants (`rollout_steps`), gets them, and forgets them after `update`. What differs from
one algorithm to the next is how the actor improves; that is the one method a subclass must have.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robot_rl.algorithms.actors import GaussianActor
from robot_rl.algorithms.adam import Adam
from robot_rl.algorithms.distributions import gaussian_entropy, gaussian_kl, gaussian_log_prob
from robot_rl.algorithms.network_learner import NetworkLearner
from robot_rl.algorithms.rollout import Steps, generalised_advantage
from robot_rl.algorithms.state_value import StateValue, value_loss
from robot_rl.settings import check
from robot_rl.training.normalizer import Normalizer


@dataclass(frozen=True)
class OnPolicySettings:
    """Settings that all on-policy learners have."""

    discount: float = 0.99
    """gamma, weight of the next step's value, in [0, 1)."""
    trace: float = 0.95
    """lambda of the advantage: 0 trusts the critic, 1 the return."""
    steps: int = 2048
    """Steps, summed over the environments, between two updates."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Widths of the tanh layers, the same in actor and critic."""
    initial_log_std: float = 0.0
    """Log standard deviation of the pre-tanh action at the start."""
    critic_learning_rate: float = 1e-3
    """Step size for the critic."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        check(
            self,
            type(self).__name__.removesuffix("Settings"),
            discount=(0 <= self.discount < 1, "in [0, 1)"),
            trace=(0 <= self.trace <= 1, "in [0, 1]"),
            steps=(self.steps >= 2, "at least 2"),
            hidden_sizes=(len(self.hidden_sizes) > 0 and all(s > 0 for s in self.hidden_sizes), "positive widths"),
            critic_learning_rate=(self.critic_learning_rate > 0, "positive"),
        )


@dataclass(frozen=True)
class MinibatchSettings(OnPolicySettings):
    """Settings of those whose critic learns by Adam from minibatches."""

    critic_epochs: int = 10
    """Times that the critic sees each step in an update."""
    critic_minibatch: int = 128
    """Steps per step of Adam on the critic."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        super().__post_init__()
        check(
            self,
            type(self).__name__.removesuffix("Settings"),
            critic_epochs=(self.critic_epochs >= 1, "at least 1"),
            critic_minibatch=(self.critic_minibatch >= 1, "at least 1"),
        )


@dataclass(frozen=True)
class Samples:
    """What an actor improves by: the steps of a rollout as the policy that made them saw them."""

    observation: Tensor
    """Normalised, (T, O)."""
    pre_tanh: Tensor
    """u, (T, A)."""
    advantage: Tensor
    """In its own standard deviations, mean 0, (T,)."""
    old_mean: Tensor
    """Of pi_old, (T, A)."""
    old_log_std: Tensor
    """Of pi_old, (T, A)."""
    old_log_prob: Tensor
    """log pi_old(u|s), (T,)."""
    target: Tensor
    """What V(s) should be, (T,), reward units."""

    def rows(self, index: Tensor) -> Samples:
        """Some of them."""
        return Samples(**{name: tensor[index] for name, tensor in vars(self).items()})


class OnPolicy(NetworkLearner):
    """Base of the on-policy learners; a subclass adds `_improve`. See `Learner` for the interface."""

    settings_class: type[OnPolicySettings]
    settings: Any

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        settings: Any = None,
        seed: int = 0,
        normalizer: Normalizer | None = None,
    ) -> None:
        """Makes a learner whose weights and later noise depend on `seed` alone; the arguments are those of `SAC`."""
        super().__init__(observation_size, action_size, seed, normalizer)
        self.settings = settings or self.settings_class()
        settings = self.settings
        widths, generator = settings.hidden_sizes, self._generator
        self.actor = GaussianActor(observation_size, action_size, widths, settings.initial_log_std, generator)
        self.critic = StateValue(observation_size, widths, generator)
        self._actor_parameters = list(self.actor.parameters())
        self._critic_adam = Adam(dict(self.critic.named_parameters()), settings.critic_learning_rate)

    @property
    def rollout_steps(self) -> int:
        """Steps, over all environments, that `update` wants."""
        return self.settings.steps

    def act(self, observation: np.ndarray, deterministic: bool = False) -> np.ndarray:
        """See `Learner.act`."""
        if not deterministic:
            return np.tanh(self.draw(observation))
        with torch.inference_mode():
            mean, _ = self.actor(self._normalized(self._checked(observation)))
            return torch.tanh(mean).numpy()

    def draw(self, observation: np.ndarray) -> np.ndarray:
        """A pre-tanh action for raw observations, float32, (A,) or (N, A)."""
        with torch.inference_mode():
            mean, log_std = self.actor(self._normalized(self._checked(observation)))
            return (mean + log_std.exp() * torch.randn(mean.shape, generator=self._generator)).numpy()

    def update(self, steps: Steps, metrics: bool = False) -> dict[str, float]:
        """Improves actor and critic, then lets the normaliser see the observations.

        The normaliser comes last: the policy whose steps these are had seen them by the old one.
        """
        observation = self._normalized(steps.observation)  # (T, O)
        samples = self.samples(steps, observation)
        found = self._learn(steps, samples)
        self.normalizer.observe(steps.observation)
        if not metrics:
            return {}
        with torch.no_grad():
            mean, log_std = self.actor(observation)
            kl = gaussian_kl(samples.old_mean, samples.old_log_std, mean, log_std).mean()
        return found | {
            "kl": kl.item(),
            "entropy": gaussian_entropy(log_std).mean().item(),
            "value": samples.target.mean().item(),
        }

    def samples(self, steps: Steps, observation: Tensor) -> Samples:
        """What is learnt from.

        Args:
            steps: of a rollout.
            observation: theirs, normalised, (T, O).
        """
        pre_tanh = torch.from_numpy(steps.pre_tanh)  # (T, A)
        with torch.no_grad():
            mean, log_std = self.actor(observation)
            log_prob = gaussian_log_prob(pre_tanh, mean, log_std)
        advantage, target = self._judged(steps, observation)
        return Samples(observation, pre_tanh, advantage, mean, log_std.clone(), log_prob, target)

    @torch.no_grad()
    def _judged(self, steps: Steps, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Advantages and targets of V by the critic as it is, (T,) each."""
        value = self.critic(observation)  # (T,)
        next_value = self.critic(self._normalized(steps.next_observation))  # (T,)
        advantage = torch.from_numpy(
            generalised_advantage(
                steps, value.numpy(), next_value.numpy(), self.settings.discount, self.settings.trace
            )
        )
        # V(s) <- A + V(s), the lambda-return
        return self._scaled(advantage), advantage + value

    def _scaled(self, advantage: Tensor) -> Tensor:
        """The advantage without its mean and in its standard deviations, so that no setting depends on the reward's."""
        return (advantage - advantage.mean()) / (advantage.std() + 1e-8)

    def _learn(self, steps: Steps, samples: Samples) -> dict[str, float]:
        """The actor by the advantages, then the critic; returns metrics."""
        found = self._improve(samples)
        return found | {"critic_loss": self._fit_critic(samples.observation, samples.target)}

    @abstractmethod
    def _improve(self, samples: Samples) -> dict[str, float]:
        """Changes the actor; returns metrics."""

    def _fit_critic(self, observation: Tensor, target: Tensor) -> float:
        """Regression on the targets (T,) in minibatches; returns the loss before it."""
        self.critic.rescale(target)
        with torch.no_grad():
            before = value_loss(self.critic, observation, target).item()
        for rows in self._minibatches(len(target), self.settings.critic_epochs, self.settings.critic_minibatch):
            self._critic_adam.minimize(value_loss(self.critic, observation[rows], target[rows]))
        return before

    def _minibatches(self, count: int, epochs: int, size: int) -> list[Tensor]:
        """Indices that visit all rows once per epoch, in random order."""
        orders = (torch.randperm(count, generator=self._generator) for _ in range(epochs))
        return [rows for order in orders for rows in order.split(size)]

    def _modules(self) -> dict[str, nn.Module]:
        return {"actor": self.actor, "critic": self.critic}

    def _adams(self) -> dict[str, Adam]:
        return {"critic": self._critic_adam}

    def _single_tensors(self) -> dict[str, Tensor]:
        return dict(self.critic.named_buffers(prefix="critic"))
