"""Twin delayed DDPG: the least of two critics, an actor that moves less often, and targets smoothed over actions.

Source: Fujimoto et al. 2018, "Addressing Function Approximation Error in Actor-Critic Methods" (arXiv 1802.09477).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robot_rl.algorithms.ddpg import DDPG, DDPGSettings
from robot_rl.settings import check
from robot_rl.training.normalizer import Normalizer


@dataclass(frozen=True)
class TD3Settings(DDPGSettings):
    """Settings of TD3; the defaults are the paper's."""

    actor_delay: int = 2
    """d, updates of the critics for one of the actor and of the targets."""
    target_noise: float = 0.2
    """Standard deviation of the noise on the target's action."""
    target_noise_clip: float = 0.5
    """c, its bound."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        super().__post_init__()
        check(
            self,
            "TD3",
            actor_delay=(self.actor_delay >= 1, "at least 1"),
            target_noise=(self.target_noise >= 0, "zero or positive"),
            target_noise_clip=(self.target_noise_clip >= 0, "zero or positive"),
        )


def smoothed_action(action: Tensor, noise: Tensor, std: float, bound: float) -> Tensor:
    """The target's action, blurred, so that a narrow peak of the critic is not taken for its worth.

    Args:
        action: mu'(s') in [-1, 1], (B, A).
        noise: draws of N(0, I), (B, A).
        std: of the noise.
        bound: c.

    Returns:
        a', (B, A).
    Source: Fujimoto et al. 2018, eq. 14.
    """
    # a' = clip(mu'(s') + clip(eps, -c, c), -1, 1),  eps ~ N(0, std^2)
    return (action + (std * noise).clamp(-bound, bound)).clamp(-1.0, 1.0)


class TD3(DDPG):
    """The learner; what it does not say is as in `DDPG`."""

    name = "td3"
    critic_count = 2
    settings: TD3Settings

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        settings: TD3Settings | None = None,
        seed: int = 0,
        normalizer: Normalizer | None = None,
    ) -> None:
        """Makes a learner whose weights and later noise depend on `seed` alone; the arguments are those of `SAC`."""
        super().__init__(observation_size, action_size, settings, seed, normalizer)

    @staticmethod
    def _default_settings() -> TD3Settings:
        return TD3Settings()

    @property
    def actor_delay(self) -> int:
        """See `ReplayLearner.actor_delay`."""
        return self.settings.actor_delay

    def _draw(self, size: int) -> Tensor:
        return torch.randn(size, self.action_size, generator=self._generator)

    def _target_action(self, next_observation: Tensor, draws: Tensor | None) -> Tensor:
        assert draws is not None
        settings = self.settings
        action = self.target_actor(next_observation)
        return smoothed_action(action, draws, settings.target_noise, settings.target_noise_clip)
