"""Soft Q-learning: a policy proportional to exp(Q / alpha), of whatever shape that is, drawn by a network.

The optimal policy of the maximum-entropy objective is pi(a|s) = exp((Q(s, a) - V(s)) / alpha). Here it is not squeezed
into a Gaussian: V is an integral, estimated by importance sampling, and a sampler network is moved along the Stein
direction until its draws are those of exp(Q / alpha).

Source: Haarnoja et al. 2017, "Reinforcement Learning with Deep Energy-Based Policies" (arXiv 1702.08165).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from robot_rl.algorithms.adam import Adam
from robot_rl.algorithms.distributions import log_one_minus_tanh_squared
from robot_rl.algorithms.energy_policy import EnergyPolicy, lowest_q
from robot_rl.algorithms.learner import Batch
from robot_rl.algorithms.network_learner import NetworkLearner
from robot_rl.algorithms.networks import Critics, Sampler, move_targets, without_gradients
from robot_rl.algorithms.sac import critic_loss
from robot_rl.algorithms.soft_value import (
    PROPOSALS,
    particle_proposal,
    soft_value,
    uniform_count,
    uniform_proposal,
)
from robot_rl.algorithms.svgd import BANDWIDTH_RULES, KERNELS, Kernel, sampler_loss
from robot_rl.settings import check
from robot_rl.training.normalizer import Normalizer


@dataclass(frozen=True)
class SoftQSettings:
    """Settings of soft Q-learning."""

    discount: float = 0.99
    """gamma, weight of the next step's value, in [0, 1)."""
    temperature: float = 1.0
    """alpha, > 0, in reward units per nat; the reward scale of the paper is 1 / alpha."""
    critics: int = 2
    """Q-functions; the least of them counts. The paper has one."""
    tau: float = 0.005
    """Share of the critics that moves into the target critics, in (0, 1]; the paper has 1."""
    target_interval: int = 1
    """Updates between two such moves; the paper has 1000."""
    critic_learning_rate: float = 3e-4
    """Adam's step size for the critics."""
    actor_learning_rate: float = 3e-4
    """Adam's step size for the sampler."""
    hidden_sizes: tuple[int, ...] = (128, 128)
    """Widths of the ReLU layers, the same in sampler and critics."""
    layer_norm_critic: bool = False
    """Normalise the hidden layers of the critics; steadier with many updates per step."""
    value_proposal: str = "policy"
    """Where the actions of the value estimate come from: policy (near the sampler's own draws), or uniform."""
    value_actions: int = 32
    """Actions per value estimate."""
    fixed_particles: int = 16
    """Draws of the sampler from which the Stein direction is computed."""
    moved_particles: int = 16
    """Draws of the sampler that follow it."""
    sharpening_updates: int = 1000
    """Updates over which the sampler's density goes from the uniform to exp(Q / alpha). Q is wrong at first, and a mode
    that the sampler left because of that it does not find again."""
    kernel: str = "gaussian"
    """Of the Stein direction: gaussian or inverse_multiquadric."""
    bandwidth: float | None = None
    """Of the kernel, in squared units of the pre-tanh action; none follows the median distance."""
    bandwidth_rule: str = "half_median"
    """How: half_median (med / (2 log(N + 1)), as in the paper), or median (med / log N), which loses modes sooner."""
    bandwidth_factors: tuple[float, ...] = (1.0,)
    """Of the bandwidth; the kernel is the mean over them. 0.125 0.5 2 draws the shape of narrow modes better."""
    candidates: int = 16
    """Fixed draws of which the deterministic policy takes the one with the highest Q."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        check(
            self,
            "soft Q-learning",
            discount=(0 <= self.discount < 1, "in [0, 1)"),
            temperature=(self.temperature > 0, "positive"),
            critics=(self.critics >= 1, "at least 1"),
            tau=(0 < self.tau <= 1, "in (0, 1]"),
            target_interval=(self.target_interval >= 1, "at least 1"),
            critic_learning_rate=(self.critic_learning_rate > 0, "positive"),
            actor_learning_rate=(self.actor_learning_rate > 0, "positive"),
            hidden_sizes=(len(self.hidden_sizes) > 0 and all(s > 0 for s in self.hidden_sizes), "positive widths"),
            value_proposal=(self.value_proposal in PROPOSALS, f"one of {', '.join(PROPOSALS)}"),
            value_actions=(self.value_actions >= 2, "at least 2"),
            fixed_particles=(self.fixed_particles >= 2, "at least 2"),
            moved_particles=(self.moved_particles >= 1, "at least 1"),
            sharpening_updates=(self.sharpening_updates >= 0, "zero or positive"),
            kernel=(self.kernel in KERNELS, f"one of {', '.join(KERNELS)}"),
            bandwidth=(self.bandwidth is None or self.bandwidth > 0, "positive or none"),
            bandwidth_rule=(self.bandwidth_rule in BANDWIDTH_RULES, f"one of {', '.join(BANDWIDTH_RULES)}"),
            bandwidth_factors=(
                len(self.bandwidth_factors) > 0 and all(f > 0 for f in self.bandwidth_factors),
                "one or more, positive",
            ),
            candidates=(self.candidates >= 1, "at least 1"),
        )


def critic_target(reward: Tensor, terminated: Tensor, next_value: Tensor, discount: float) -> Tensor:
    """The regression target of every critic.

    Args:
        reward: r(s, a), (B,).
        terminated: 1 where s' is terminal, (B,). A time limit is not: there the value of s' still counts.
        next_value: soft value of s', (B,).
        discount: gamma.

    Returns:
        y, (B,).
    Source: Haarnoja et al. 2017, eq. 11.
    """
    # y = r + gamma (1 - terminated) V(s')
    return reward + discount * (1.0 - terminated) * next_value


class SoftQ(NetworkLearner):
    """The learner: networks, optimisers and one update; see `Learner` for the interface."""

    name = "soft_q"

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        settings: SoftQSettings | None = None,
        seed: int = 0,
        normalizer: Normalizer | None = None,
    ) -> None:
        """Makes a learner whose weights and later noise depend on `seed` alone.

        Args:
            observation_size: number of entries O of an observation.
            action_size: number of entries A of an action.
            settings: see `SoftQSettings`.
            seed: of the generator that the learner keeps.
            normalizer: of observations; None leaves them as they are.

        Raises:
            ConfigurationError: the normaliser is for observations of another size.
        """
        super().__init__(observation_size, action_size, seed, normalizer)
        self.settings = settings = settings or SoftQSettings()
        self.alpha = settings.temperature
        self.kernel = Kernel(settings.kernel, settings.bandwidth, settings.bandwidth_rule, settings.bandwidth_factors)
        self.sampler = Sampler(observation_size, action_size, settings.hidden_sizes, self._generator)
        self.critics = Critics(
            settings.critics,
            observation_size,
            action_size,
            settings.hidden_sizes,
            settings.layer_norm_critic,
            self._generator,
            unit=max(1.0, self.alpha),
        )
        self.target_critics = copy.deepcopy(self.critics).requires_grad_(False)
        candidates = torch.randn(settings.candidates, action_size, generator=self._generator)
        self.actor = EnergyPolicy(self.sampler, self.critics, candidates)
        self._updates = torch.zeros((), dtype=torch.int64)

        self._critic_parameters = list(self.critics.parameters())
        self._target_parameters = list(self.target_critics.parameters())
        self._critic_adam = Adam(dict(self.critics.named_parameters()), settings.critic_learning_rate)
        self._actor_adam = Adam(dict(self.sampler.named_parameters()), settings.actor_learning_rate)

    def act(self, observation: np.ndarray, deterministic: bool = False) -> np.ndarray:
        """See `Learner.act`; the deterministic action is the best by Q of a few fixed draws."""
        observation = self._checked(observation)
        with torch.inference_mode():
            noise = None
            if not deterministic:
                noise = torch.randn(*observation.shape[:-1], self.action_size, generator=self._generator)
            return torch.tanh(self.actor.pre_tanh(self._normalized(observation), noise)).numpy()

    def update(self, batch: Batch, metrics: bool = False) -> dict[str, float]:
        """One step of Adam on the critics and on the sampler, then on the target critics."""
        settings, alpha = self.settings, self.alpha
        observation = self._normalized(batch.observation)  # (B, O)
        next_observation = self._normalized(batch.next_observation)  # (B, O)
        action = torch.from_numpy(batch.action)  # (B, A)
        reward = torch.from_numpy(batch.reward)  # (B,)
        terminated = torch.from_numpy(batch.terminated)  # (B,)

        with torch.no_grad():
            next_action, log_proposal = self._propose(next_observation)  # (B, N, A), (B, N)
            next_q = lowest_q(self.target_critics, next_observation, next_action)  # (B, N)
            next_value = soft_value(next_q, log_proposal, alpha)  # (B,)
            y = critic_target(reward, terminated, next_value, settings.discount)  # (B,)
        q = self.critics(observation, action)  # (C, B)
        loss_q = critic_loss(q, y)
        self._critic_adam.minimize(loss_q)

        self._updates += 1
        sharpness = min(1.0, int(self._updates) / max(1, settings.sharpening_updates))

        def log_density(u: Tensor) -> Tensor:
            # log pi(u|s) = Q(s, tanh u) / alpha + sum log(1 - tanh^2 u), up to a constant
            q = lowest_q(self.critics, observation, torch.tanh(u))
            return sharpness * q / alpha + log_one_minus_tanh_squared(u).sum(dim=-1)

        with torch.no_grad():
            still = self._draw(observation, settings.fixed_particles)  # (B, M, A)
        moved = self._draw(observation, settings.moved_particles)  # (B, M', A)
        with without_gradients(self._critic_parameters):
            loss_pi = sampler_loss(still, moved, log_density, self.kernel)
        self._actor_adam.minimize(loss_pi)

        if int(self._updates) % settings.target_interval == 0:
            move_targets(self._target_parameters, self._critic_parameters, settings.tau)

        if not metrics:
            return {}
        # The energy policy at s', by the weights of the value estimate: exp((Q - V) / alpha) / q, normalised.
        weight = torch.softmax(next_q / alpha - log_proposal, dim=-1)  # (B, N)
        expected_q = (weight * next_q).sum(dim=-1)  # (B,)
        return {
            "critic_loss": loss_q.item(),
            "alpha": alpha,
            "entropy": ((next_value - expected_q) / alpha).mean().item(),
            "effective_actions": (1.0 / weight.square().sum(dim=-1)).mean().item(),
            "q": q.mean().item(),
            "value": next_value.mean().item(),
        }

    def _draw(self, normalized_observation: Tensor, count: int) -> Tensor:
        """Pre-tanh draws of the sampler, (B, count, A), with gradients to it."""
        shape = (len(normalized_observation), count, self.action_size)
        return self.sampler(normalized_observation, torch.randn(shape, generator=self._generator))

    def _propose(self, normalized_observation: Tensor) -> tuple[Tensor, Tensor]:
        """Actions for the value estimate, (B, N, A), and their log density, (B, N)."""
        count = self.settings.value_actions
        if self.settings.value_proposal == "uniform":
            return uniform_proposal(len(normalized_observation), count, self.action_size, self._generator)
        uniform = uniform_count(count)
        particles = self._draw(normalized_observation, count - uniform)  # (B, K, A)
        return particle_proposal(particles, uniform, self._generator)

    def _modules(self) -> dict[str, nn.Module]:
        return {"sampler": self.sampler, "critics": self.critics, "target_critics": self.target_critics}

    def _adams(self) -> dict[str, Adam]:
        return {"sampler": self._actor_adam, "critics": self._critic_adam}

    def _single_tensors(self) -> dict[str, Tensor]:
        return {"candidates": self.actor.candidates, "updates": self._updates}
