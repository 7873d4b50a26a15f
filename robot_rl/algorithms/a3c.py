"""Asynchronous advantage actor-critic: workers with an environment each, and one vector of parameters for all.

Each worker copies the shared parameters, acts for n steps, computes a gradient at its copy and applies it to the shared
ones, which others may have moved since. What n steps in a row have in common, the many workers average out; so no
replay is needed. Without workers the same learner is synchronous, and several environments in step take their place.

Source: Mnih et al. 2016, "Asynchronous Methods for Deep Reinforcement Learning" (arXiv 1602.01783), algorithm S3.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robot_rl.algorithms.adam import Adam, shorten
from robot_rl.algorithms.distributions import gaussian_entropy, gaussian_log_prob
from robot_rl.algorithms.on_policy import OnPolicy, OnPolicySettings, Samples
from robot_rl.algorithms.policy_losses import policy_gradient_loss
from robot_rl.algorithms.rmsprop import RMSprop
from robot_rl.algorithms.state_value import value_loss
from robot_rl.settings import check
from robot_rl.training.normalizer import Normalizer


@dataclass(frozen=True)
class A3CSettings(OnPolicySettings):
    """Settings of A3C; the defaults are those in common use."""

    trace: float = 1.0
    """lambda of the advantage; 1 as in the paper: n-step returns."""
    steps: int = 5
    """n, steps of a worker (or of all environments in step) between two updates."""
    workers: int = 4
    """Processes that act and learn, each with one environment; 0 for none, all in the trainer's own process."""
    learning_rate: float = 7e-4
    """RMSprop's step size for the actor."""
    critic_learning_rate: float = 7e-4
    """RMSprop's step size for the critic."""
    decay: float = 0.99
    """Share of the past that stays in RMSprop's mean of squares."""
    eps: float = 1e-5
    """Added to that mean."""
    entropy_coefficient: float = 0.0
    """beta, price of certainty, advantages (in units of the critic) per nat."""
    gradient_norm: float = 0.5
    """Greatest norm of a gradient, of actor and critic each."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        super().__post_init__()
        check(
            self,
            "A3C",
            workers=(self.workers >= 0, "zero or positive"),
            learning_rate=(self.learning_rate > 0, "positive"),
            decay=(0 <= self.decay < 1, "in [0, 1)"),
            eps=(self.eps > 0, "positive"),
            entropy_coefficient=(self.entropy_coefficient >= 0, "zero or positive"),
            gradient_norm=(self.gradient_norm > 0, "positive"),
        )


class A3C(OnPolicy):
    """The learner; what it does not say is as in `OnPolicy`.

    Attributes:
        home: whose parameters the gradients of this one move: its own, or of a worker those that all share.
        lock: held while those are read or written, so that every version of them is whole.
    """

    name = "a3c"
    settings_class = A3CSettings
    settings: A3CSettings

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        settings: A3CSettings | None = None,
        seed: int = 0,
        normalizer: Normalizer | None = None,
    ) -> None:
        """Makes a learner whose weights and later noise depend on `seed` alone; the arguments are those of `SAC`."""
        super().__init__(observation_size, action_size, settings, seed, normalizer)
        settings = self.settings
        self.home = self
        self.lock: AbstractContextManager[Any] = contextlib.nullcontext()
        rates = (("actor", self.actor, settings.learning_rate), ("critic", self.critic, settings.critic_learning_rate))
        self._rmsprops = {
            part: RMSprop(dict(network.named_parameters()), rate, settings.decay, settings.eps)
            for part, network, rate in rates
        }

    def actor_loss(self, samples: Samples) -> Tensor:
        """J = -mean(log pi(a|s) (R - V)) - beta H(pi(s)), (); R the n-step return."""
        mean, log_std = self.actor(samples.observation)
        log_prob = gaussian_log_prob(samples.pre_tanh, mean, log_std)  # (T,)
        entropy = gaussian_entropy(log_std).mean()
        return policy_gradient_loss(log_prob, samples.advantage) - self.settings.entropy_coefficient * entropy

    def _scaled(self, advantage: Tensor) -> Tensor:
        """In units of the critic: a few steps have no mean and deviation worth the name."""
        return advantage / self.critic.unit

    def _improve(self, samples: Samples) -> dict[str, float]:
        self._descend("actor", self.actor_loss(samples))
        return {}

    def _fit_critic(self, observation: Tensor, target: Tensor) -> float:
        with self.home.lock:
            self.home.critic.rescale(target)
        loss = value_loss(self.critic, observation, target)
        self._descend("critic", loss)
        return loss.item()

    def _descend(self, part: str, loss: Tensor) -> None:
        """The gradient at our own parameters, the step at those of `home`."""
        gradients = torch.autograd.grad(loss, self._rmsprops[part].parameters)
        shorten(gradients, self.settings.gradient_norm)
        with self.home.lock:
            self.home._rmsprops[part].apply(gradients)

    # -- workers ------------------------------------------------------------------------------------------------------

    def share(self) -> dict[str, Tensor]:
        """Moves all parameters and statistics into memory that other processes see; returns them by name."""
        return {name: tensor.share_memory_().detach() for name, tensor in self._named_tensors().items()}

    def adopt(self, shared: Mapping[str, Tensor], lock: AbstractContextManager[Any]) -> None:
        """Takes what another process shares as its own; `lock` is held while it is read or written."""
        for name, tensor in self._named_tensors().items():
            tensor.data = shared[name]
        self.lock = lock

    def work_for(self, home: A3C, seed: int) -> None:
        """From now on gradients move `home`; draws come from `seed`."""
        self.home = home
        self._generator.manual_seed(seed)

    @torch.no_grad()
    def refresh(self) -> None:
        """Copies actor and critic of `home`."""
        with self.home.lock:
            for ours, theirs in ((self.actor, self.home.actor), (self.critic, self.home.critic)):
                ours.load_state_dict(theirs.state_dict())

    def _adams(self) -> dict[str, Adam]:
        return {}

    def _single_tensors(self) -> dict[str, Tensor]:
        named = super()._single_tensors()
        for part, rmsprop in self._rmsprops.items():
            named |= {f"rmsprop/{part}/{name}": tensor for name, tensor in rmsprop.tensors.items()}
        return named
