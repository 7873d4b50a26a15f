"""Soft actor-critic, third version: twin critics, no value network, temperature learnt by its dual.

Source: Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications" (arXiv 1812.05905), here "v3". What later
papers added is off by default and in files of its own: `ensemble`, `batch_renorm`, `residual`, `resets`.
"""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from robot_rl.algorithms.adam import Adam
from robot_rl.algorithms.batch_renorm import BatchRenormCritics
from robot_rl.algorithms.distributions import sample_with_log_prob
from robot_rl.algorithms.ensemble import kept_units, lowest, random_subset
from robot_rl.algorithms.learner import Batch
from robot_rl.algorithms.networks import Critics, move_targets
from robot_rl.algorithms.replay_learner import ReplayLearner, Tensors
from robot_rl.algorithms.resets import reset_network
from robot_rl.algorithms.sac_networks import new_actor, new_critics
from robot_rl.algorithms.sac_settings import SACSettings
from robot_rl.training.normalizer import Normalizer

__all__ = ["SAC", "SACSettings", "actor_loss", "critic_loss", "critic_target", "temperature_loss"]


def critic_target(
    reward: Tensor, terminated: Tensor, next_q: Tensor, next_log_prob: Tensor, alpha: Tensor, discount: float
) -> Tensor:
    """The regression target of all critics.

    Args:
        reward: r(s, a), (B,).
        terminated: 1 where s' is terminal, (B,). A time limit is not: there the value of s' still counts.
        next_q: target critics at (s', a'), a' ~ pi(.|s'), (2, B), or those of a random subset of M, (M, B).
        next_log_prob: log pi(a'|s'), (B,).
        alpha: temperature, ().
        discount: gamma.

    Returns:
        y, (B,).
    Source: v3, eq. 5 with eq. 3; the minimum of two as in its section 6.
    """
    # V(s') = min_j Qtarget_j(s', a') - alpha log pi(a'|s')
    next_value = lowest(next_q) - alpha * next_log_prob  # (B,)
    # y = r + gamma (1 - terminated) V(s')
    return reward + discount * (1.0 - terminated) * next_value


def critic_loss(q: Tensor, target: Tensor) -> Tensor:
    """J_Q = sum_j 1/2 mean (Q_j(s, a) - y)^2, for q (C, B) and y (B,). Source: v3, eq. 5."""
    return 0.5 * (q - target).square().mean(dim=1).sum()


def actor_loss(log_prob: Tensor, q: Tensor, alpha: Tensor) -> Tensor:
    """J_pi = mean(alpha log pi(a|s) - min_j Q_j(s, a)), for log_prob (B,) and q (C, B). Source: v3, eq. 9."""
    return (alpha * log_prob - lowest(q)).mean()


def temperature_loss(log_alpha: Tensor, log_prob: Tensor, target_entropy: float) -> Tensor:
    """The dual of the constraint E[-log pi] >= target_entropy, minimised over log alpha.

    Of the two forms in use this is the paper's, J = mean(-alpha (log pi + Hbar)) with alpha = exp(log_alpha), not
    mean(-log_alpha (log pi + Hbar)). Both have the same sign and zero; under Adam they hardly differ.

    Args:
        log_alpha: (), the only argument that gets a gradient.
        log_prob: log pi(a|s), (B,).
        target_entropy: Hbar, nats.
    Source: v3, eq. 18.
    """
    return -log_alpha.exp() * (log_prob.detach().mean() + target_entropy)


class Draws(NamedTuple):
    """What an update leaves to chance."""

    noise: Tensor
    """Of the policy at s' and at s, (2, B, A)."""
    subset: Tensor | None
    """Of the critics, whose least is the target, (M,); None for all."""
    kept: list[list[Tensor]] | None
    """By what dropout multiplies hidden layers in three passes; None for no dropout."""


class SAC(ReplayLearner):
    """The learner: networks, optimisers and one update; see `Learner` for the interface."""

    name = "sac"

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        settings: SACSettings | None = None,
        seed: int = 0,
        normalizer: Normalizer | None = None,
    ) -> None:
        """Makes a learner whose weights and later noise depend on `seed` alone.

        Args:
            observation_size: number of entries O of an observation.
            action_size: number of entries A of an action.
            settings: see `SACSettings`.
            seed: of the generator that the learner keeps.
            normalizer: of observations, where the settings do not ask for a running one; None leaves them as they are.

        Raises:
            ConfigurationError: the normaliser is for observations of another size.
        """
        self.settings = settings = settings or SACSettings()
        if settings.running_normalizer:
            normalizer = Normalizer.running_statistics(observation_size)
        super().__init__(observation_size, action_size, seed, normalizer)
        self.target_entropy = -float(action_size) if settings.target_entropy is None else settings.target_entropy

        sizes = (observation_size, action_size)
        self.actor = new_actor(*sizes, settings, self._generator)
        self.critics = new_critics(*sizes, settings, self._generator)
        self.target_critics: nn.Module | None = None
        if not isinstance(self.critics, BatchRenormCritics):
            self.target_critics = copy.deepcopy(self.critics).requires_grad_(False)
        if settings.actor_average > 0:
            self.average_actor = copy.deepcopy(self.actor).requires_grad_(False)
        self.log_alpha = nn.Parameter(torch.tensor(settings.initial_temperature).log())

        self._actor_parameters = list(self.actor.parameters())
        self._average_parameters = [] if self.average_actor is None else list(self.average_actor.parameters())
        self._critic_parameters = list(self.critics.parameters())
        self._target_parameters = [] if self.target_critics is None else list(self.target_critics.parameters())
        betas, decay = (settings.adam_beta1, 0.999), settings.weight_decay
        weights = dict(self.actor.named_parameters()), dict(self.critics.named_parameters())
        self._actor_adam = Adam(weights[0], settings.actor_learning_rate, betas, weight_decay=decay)
        self._critic_adam = Adam(weights[1], settings.critic_learning_rate, betas, weight_decay=decay)
        self._temperature_adam = Adam({"log_alpha": self.log_alpha}, settings.temperature_learning_rate)

    @property
    def alpha(self) -> float:
        """The temperature, reward units per nat."""
        return float(self.log_alpha.detach().exp())

    def act(self, observation: np.ndarray, deterministic: bool = False) -> np.ndarray:
        """See `Learner.act`."""
        observation = self._checked(observation)
        with torch.inference_mode():
            mean, log_std = (self.policy if deterministic else self.actor)(self._normalized(observation))
            if not deterministic:
                mean = mean + log_std.exp() * torch.randn(mean.shape, generator=self._generator)
            return torch.tanh(mean).numpy()

    def update(self, batch: Batch, metrics: bool = False) -> dict[str, float]:
        """One step of Adam on the critics, the actor and the temperature, then on the target critics.

        With `actor_delay` the actor and the temperature move in every so many updates only; their metrics come then.
        """
        found = super().update(batch, metrics)
        if self.settings.reset_interval and int(self._updates) % self.settings.reset_interval == 0:
            self.reset(self.settings.reset)
        return found

    @property
    def actor_delay(self) -> int:
        """See `ReplayLearner.actor_delay`."""
        return self.settings.actor_delay

    def reset(self, what: str = "all") -> None:
        """Draws new weights and forgets the moments of their optimisers: of `all`, of the `critics` or the `actor`."""
        sizes = (self.observation_size, self.action_size)
        if what != "actor":
            reset_network(self.critics, new_critics(*sizes, self.settings, self._generator), self._critic_adam)
            if self.target_critics is not None:
                reset_network(self.target_critics, self.critics)
        if what != "critics":
            reset_network(self.actor, new_actor(*sizes, self.settings, self._generator), self._actor_adam)
            if self.average_actor is not None:
                reset_network(self.average_actor, self.actor)
        if what == "all":
            self.log_alpha.detach().fill_(math.log(self.settings.initial_temperature))
            self._temperature_adam.restart()

    def _draw(self, size: int) -> Draws:
        settings, generator = self.settings, self._generator
        noise = torch.randn(2, size, self.action_size, generator=generator)
        subset, kept = None, None
        if settings.target_critics < settings.critics:
            subset = random_subset(settings.critics, settings.target_critics, generator)
        if settings.critic_dropout > 0:
            shape = (settings.critics, size, settings.widths_of_critics)
            kept = kept_units(settings.critic_dropout, 3, *shape, generator)
        return Draws(noise, subset, kept)

    def _step(self, batch: Tensors, draws: Draws, moves_actor: bool, metrics: bool) -> dict[str, Tensor]:
        observation, action, reward, next_observation, terminated = batch
        noise, subset, kept = draws
        half = torch.autocast("cpu", torch.bfloat16, enabled=self.settings.precision == "bfloat16")
        alpha = self.log_alpha.detach().exp()  # ()
        dropout = [()] * 3 if kept is None else [(one,) for one in kept]

        with torch.no_grad(), half:
            next_mean, next_log_std = self.actor(next_observation)
            next_action, next_log_prob = sample_with_log_prob(next_mean, next_log_std, noise[0])  # (B, A), (B,)
        with half:
            if isinstance(self.critics, BatchRenormCritics):
                q, next_q = self.critics.joint(observation, action, next_observation, next_action)  # (C, B) each
            else:
                assert self.target_critics is not None
                with torch.no_grad():
                    next_q = self.target_critics(next_observation, next_action, *dropout[0])  # (C, B)
                q = self.critics(observation, action, *dropout[1])  # (C, B)
        next_q = next_q.detach() if subset is None else next_q.detach()[subset]  # (M, B)
        y = critic_target(reward, terminated, next_q, next_log_prob, alpha, self.settings.discount)  # (B,)
        loss_q = critic_loss(q, y)
        self._critic_adam.minimize(loss_q)

        if moves_actor:
            with half:
                mean, log_std = self.actor(observation)
                new_action, log_prob = sample_with_log_prob(mean, log_std, noise[1])  # (B, A), (B,)
                climbed = self.critics.climbed if isinstance(self.critics, Critics) else self.critics
                new_q = climbed(observation, new_action, *dropout[2])  # (C, B)
            if self.settings.actor_q == "mean":
                new_q = new_q.mean(dim=0, keepdim=True)  # (1, B)
            loss_pi = actor_loss(log_prob, new_q, alpha)
            self._actor_adam.minimize(loss_pi)
            if self.average_actor is not None:
                move_targets(self._average_parameters, self._actor_parameters, self.settings.actor_average)

            loss_alpha = temperature_loss(self.log_alpha, log_prob, self.target_entropy)
            if self.settings.temperature_learning_rate > 0:
                self._temperature_adam.minimize(loss_alpha)

        if self.target_critics is not None:
            move_targets(self._target_parameters, self._critic_parameters, self.settings.tau)

        if not metrics:
            return {}
        q = q.detach()
        found = {"critic_loss": loss_q, "q": q.mean(), "q_gap": (q.amax(dim=0) - q.amin(dim=0)).mean()}
        if moves_actor:
            found |= {"actor_loss": loss_pi, "temperature_loss": loss_alpha, "entropy": -log_prob.mean()}
        found["alpha"] = self.log_alpha.exp()
        return {name: value.detach() for name, value in found.items()}

    def _modules(self) -> dict[str, nn.Module]:
        modules = {"actor": self.actor, "critics": self.critics}
        averages = {"target_critics": self.target_critics, "average_actor": self.average_actor}
        return modules | {name: module for name, module in averages.items() if module is not None}

    def _adams(self) -> dict[str, Adam]:
        return {"actor": self._actor_adam, "critics": self._critic_adam, "temperature": self._temperature_adam}

    def _single_tensors(self) -> dict[str, Tensor]:
        running = {f"critics/{name}": statistic for name, statistic in self.critics.named_buffers()}
        return {"log_alpha": self.log_alpha, **running}
