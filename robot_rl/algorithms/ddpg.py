"""Deep deterministic policy gradient: the actor follows the slope of the critic, and noise on its action explores.

Source: Lillicrap et al. 2016, "Continuous control with deep reinforcement learning" (arXiv 1509.02971). Its noise is
an Ornstein-Uhlenbeck process; independent Gaussian noise, as here, does as well (Fujimoto et al. 2018, section 6.1).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from robot_rl.algorithms.actors import DeterministicActor
from robot_rl.algorithms.adam import Adam
from robot_rl.algorithms.networks import Critics, move_targets
from robot_rl.algorithms.replay_learner import ReplayLearner, Tensors
from robot_rl.algorithms.sac import critic_loss
from robot_rl.settings import check
from robot_rl.training.normalizer import Normalizer


@dataclass(frozen=True)
class DDPGSettings:
    """Settings of DDPG; the defaults are those in common use today, not the paper's."""

    discount: float = 0.99
    """gamma, weight of the next step's value, in [0, 1)."""
    tau: float = 0.005
    """Share of actor and critic that moves into their targets at every update, in (0, 1]."""
    actor_learning_rate: float = 1e-3
    """Adam's step size for the actor."""
    critic_learning_rate: float = 1e-3
    """Adam's step size for the critic."""
    exploration_noise: float = 0.1
    """Standard deviation of the noise on actions while collecting."""
    hidden_sizes: tuple[int, ...] = (256, 256)
    """Widths of the ReLU layers, the same in actor and critic."""
    layer_norm_critic: bool = False
    """Normalise the hidden layers of the critic; steadier with many updates per step."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        check(
            self,
            type(self).__name__.removesuffix("Settings"),
            discount=(0 <= self.discount < 1, "in [0, 1)"),
            tau=(0 < self.tau <= 1, "in (0, 1]"),
            actor_learning_rate=(self.actor_learning_rate > 0, "positive"),
            critic_learning_rate=(self.critic_learning_rate > 0, "positive"),
            exploration_noise=(self.exploration_noise >= 0, "zero or positive"),
            hidden_sizes=(len(self.hidden_sizes) > 0 and all(s > 0 for s in self.hidden_sizes), "positive widths"),
        )


def critic_target(reward: Tensor, terminated: Tensor, next_q: Tensor, discount: float) -> Tensor:
    """The regression target of every critic.

    Args:
        reward: r(s, a), (B,).
        terminated: 1 where s' is terminal, (B,). A time limit is not: there the value of s' still counts.
        next_q: target critics at (s', a'), (C, B); the least of them counts.
        discount: gamma.

    Returns:
        y, (B,).
    Source: Lillicrap et al. 2016, algorithm 1; for C = 2 Fujimoto et al. 2018, eq. 10.
    """
    # y = r + gamma (1 - terminated) min_i Q'_i(s', a')
    return reward + discount * (1.0 - terminated) * next_q.amin(dim=0)


def actor_loss(q: Tensor) -> Tensor:
    """J = -mean Q_1(s, mu(s)), for q (1, B). Its slope is the deterministic policy gradient (Silver et al. 2014)."""
    return -q.mean()


class DDPG(ReplayLearner):
    """The learner: networks, optimisers and one update; see `Learner` for the interface."""

    name = "ddpg"
    critic_count = 1

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        settings: DDPGSettings | None = None,
        seed: int = 0,
        normalizer: Normalizer | None = None,
    ) -> None:
        """Makes a learner whose weights and later noise depend on `seed` alone; the arguments are those of `SAC`."""
        super().__init__(observation_size, action_size, seed, normalizer)
        self.settings = settings = settings or self._default_settings()
        widths, generator = settings.hidden_sizes, self._generator
        self.actor = DeterministicActor(observation_size, action_size, widths, settings.exploration_noise, generator)
        self.critics = Critics(
            self.critic_count, observation_size, action_size, widths, settings.layer_norm_critic, generator
        )
        self.target_actor = copy.deepcopy(self.actor).requires_grad_(False)
        self.target_critics = copy.deepcopy(self.critics).requires_grad_(False)

        self._source_parameters = [*self.actor.parameters(), *self.critics.parameters()]
        self._target_parameters = [*self.target_actor.parameters(), *self.target_critics.parameters()]
        self._actor_adam = Adam(dict(self.actor.named_parameters()), settings.actor_learning_rate)
        self._critic_adam = Adam(dict(self.critics.named_parameters()), settings.critic_learning_rate)

    @staticmethod
    def _default_settings() -> DDPGSettings:
        return DDPGSettings()

    def act(self, observation: np.ndarray, deterministic: bool = False) -> np.ndarray:
        """See `Learner.act`."""
        observation = self._checked(observation)
        with torch.inference_mode():
            action = self.actor(self._normalized(observation))
            if not deterministic:
                action = self.actor.explore(action, torch.randn(action.shape, generator=self._generator))
            return action.numpy()

    def _step(self, batch: Tensors, draws: Tensor | None, moves_actor: bool, metrics: bool) -> dict[str, Tensor]:
        observation, action, reward, next_observation, terminated = batch

        with torch.no_grad():
            next_action = self._target_action(next_observation, draws)  # (B, A)
            next_q = self.target_critics(next_observation, next_action)  # (C, B)
            y = critic_target(reward, terminated, next_q, self.settings.discount)  # (B,)
        q = self.critics(observation, action)  # (C, B)
        loss_q = critic_loss(q, y)
        self._critic_adam.minimize(loss_q)

        if moves_actor:
            new_q = self.critics.climbed(observation, self.actor(observation), count=1)  # (1, B)
            loss_pi = actor_loss(new_q)
            self._actor_adam.minimize(loss_pi)
            move_targets(self._target_parameters, self._source_parameters, self.settings.tau)

        if not metrics:
            return {}
        found = {"critic_loss": loss_q.detach(), "q": q.detach().mean()}
        return found | {"actor_loss": loss_pi.detach()} if moves_actor else found

    def _target_action(self, next_observation: Tensor, draws: Tensor | None) -> Tensor:
        """a' = mu'(s'), (B, A)."""
        return self.target_actor(next_observation)

    def _modules(self) -> dict[str, nn.Module]:
        return {
            "actor": self.actor,
            "critics": self.critics,
            "target_actor": self.target_actor,
            "target_critics": self.target_critics,
        }

    def _adams(self) -> dict[str, Adam]:
        return {"actor": self._actor_adam, "critics": self._critic_adam}
