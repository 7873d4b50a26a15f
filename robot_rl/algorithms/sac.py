"""Soft actor-critic, third version: twin critics, no value network, temperature learnt by its dual.

Source: Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications" (arXiv 1812.05905), here "v3".
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from robot_rl.algorithms.adam import Adam
from robot_rl.algorithms.compiled import Update, compile_update
from robot_rl.algorithms.distributions import sample_with_log_prob
from robot_rl.algorithms.learner import Batch
from robot_rl.algorithms.network_learner import NetworkLearner, own_tensor
from robot_rl.algorithms.networks import Actor, Critics, move_targets
from robot_rl.settings import check
from robot_rl.training.normalizer import Normalizer


@dataclass(frozen=True)
class SACSettings:
    """Settings of SAC; the defaults are the paper's."""

    discount: float = 0.99
    """gamma, weight of the next step's value, in [0, 1)."""
    tau: float = 0.005
    """Share of the critics that moves into the target critics at every update, in (0, 1]."""
    actor_learning_rate: float = 3e-4
    """Adam's step size for the actor."""
    critic_learning_rate: float = 3e-4
    """Adam's step size for the critics."""
    temperature_learning_rate: float = 3e-4
    """Adam's step size for log alpha; 0 keeps the temperature fixed."""
    initial_temperature: float = 1.0
    """alpha at the start, > 0, in reward units per nat."""
    target_entropy: float | None = None
    """Least mean entropy of the policy, nats; None means -A, one nat per action entry below the unit cube's."""
    hidden_sizes: tuple[int, ...] = (256, 256)
    """Widths of the ReLU layers, the same in actor and critics."""
    log_std_min: float = -20.0
    """Least log standard deviation of the pre-tanh action; -5 trains more calmly on robots."""
    log_std_max: float = 2.0
    """Greatest log standard deviation of the pre-tanh action."""
    layer_norm_critic: bool = False
    """Normalise the hidden layers of the critics; steadier with many updates per step."""
    precision: str = "float32"
    """Of the products in the hidden layers: float32, or bfloat16, faster on processors that have instructions for it.
    Weights, losses and the last layers are float32 with either."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        check(
            self,
            "SAC",
            discount=(0 <= self.discount < 1, "in [0, 1)"),
            tau=(0 < self.tau <= 1, "in (0, 1]"),
            actor_learning_rate=(self.actor_learning_rate > 0, "positive"),
            critic_learning_rate=(self.critic_learning_rate > 0, "positive"),
            temperature_learning_rate=(self.temperature_learning_rate >= 0, "zero or positive"),
            initial_temperature=(self.initial_temperature > 0, "positive"),
            hidden_sizes=(len(self.hidden_sizes) > 0 and all(s > 0 for s in self.hidden_sizes), "positive widths"),
            log_std_min=(self.log_std_min < self.log_std_max, f"below log_std_max ({self.log_std_max})"),
            precision=(self.precision in ("float32", "bfloat16"), "float32 or bfloat16"),
        )


def critic_target(
    reward: Tensor, terminated: Tensor, next_q: Tensor, next_log_prob: Tensor, alpha: Tensor, discount: float
) -> Tensor:
    """The regression target of both critics.

    Args:
        reward: r(s, a), (B,).
        terminated: 1 where s' is terminal, (B,). A time limit is not: there the value of s' still counts.
        next_q: target critics at (s', a'), a' ~ pi(.|s'), (2, B).
        next_log_prob: log pi(a'|s'), (B,).
        alpha: temperature, ().
        discount: gamma.

    Returns:
        y, (B,).
    Source: v3, eq. 5 with eq. 3; the minimum of two as in its section 6.
    """
    # V(s') = min_j Qtarget_j(s', a') - alpha log pi(a'|s')
    next_value = torch.minimum(next_q[0], next_q[1]) - alpha * next_log_prob  # (B,)
    # y = r + gamma (1 - terminated) V(s')
    return reward + discount * (1.0 - terminated) * next_value


def critic_loss(q: Tensor, target: Tensor) -> Tensor:
    """J_Q = sum_j 1/2 mean (Q_j(s, a) - y)^2, for q (2, B) and y (B,). Source: v3, eq. 5."""
    return 0.5 * (q - target).square().mean(dim=1).sum()


def actor_loss(log_prob: Tensor, q: Tensor, alpha: Tensor) -> Tensor:
    """J_pi = mean(alpha log pi(a|s) - min_j Q_j(s, a)), for log_prob (B,) and q (2, B). Source: v3, eq. 9."""
    return (alpha * log_prob - torch.minimum(q[0], q[1])).mean()


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


class SAC(NetworkLearner):
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
            normalizer: of observations; None leaves them as they are.

        Raises:
            ConfigurationError: the normaliser is for observations of another size.
        """
        super().__init__(observation_size, action_size, seed, normalizer)
        self.settings = settings = settings or SACSettings()
        self.target_entropy = -float(action_size) if settings.target_entropy is None else settings.target_entropy

        bounds = (settings.log_std_min, settings.log_std_max)
        self.actor = Actor(observation_size, action_size, settings.hidden_sizes, bounds, self._generator)
        self.critics = Critics(
            2, observation_size, action_size, settings.hidden_sizes, settings.layer_norm_critic, self._generator
        )
        self.target_critics = copy.deepcopy(self.critics).requires_grad_(False)
        self.log_alpha = nn.Parameter(torch.tensor(settings.initial_temperature).log())

        self._critic_parameters = list(self.critics.parameters())
        self._target_parameters = list(self.target_critics.parameters())
        self._actor_adam = Adam(dict(self.actor.named_parameters()), settings.actor_learning_rate)
        self._critic_adam = Adam(dict(self.critics.named_parameters()), settings.critic_learning_rate)
        self._temperature_adam = Adam({"log_alpha": self.log_alpha}, settings.temperature_learning_rate)
        self._compiled: Update | None = None
        self._compiled_for = 0

    @property
    def alpha(self) -> float:
        """The temperature, reward units per nat."""
        return float(self.log_alpha.detach().exp())

    def act(self, observation: np.ndarray, deterministic: bool = False) -> np.ndarray:
        """See `Learner.act`."""
        observation = self._checked(observation)
        with torch.inference_mode():
            mean, log_std = self.actor(self._normalized(observation))
            if not deterministic:
                mean = mean + log_std.exp() * torch.randn(mean.shape, generator=self._generator)
            return torch.tanh(mean).numpy()

    def update(self, batch: Batch, metrics: bool = False) -> dict[str, float]:
        """One step of Adam on the critics, the actor and the temperature, then on the target critics."""
        size = len(batch.reward)
        inputs = (
            self._normalized(batch.observation),  # (B, O)
            own_tensor(batch.action),  # (B, A)
            own_tensor(batch.reward),  # (B,)
            self._normalized(batch.next_observation),  # (B, O)
            own_tensor(batch.terminated),  # (B,)
            torch.randn(2, size, self.action_size, generator=self._generator),  # (2, B, A)
        )
        if self._compiled is not None and size == self._compiled_for:
            found = self._compiled(*inputs, True)
        else:
            found = self._step(*inputs, metrics)
        return {name: value.item() for name, value in found.items()} if metrics else {}

    def compile(self, batch_size: int) -> None:
        """From now on computes updates from `batch_size` transitions as one compiled graph; changes nothing else.

        Raises:
            CannotCompile: with the reason; updates go on as before.
        """
        before = self.state()
        rows, size = (batch_size, self.observation_size), (batch_size, self.action_size)
        shapes = (rows, size, (batch_size,), rows, (batch_size,), (2, *size))
        try:
            self._compiled = compile_update(self._step, [*map(torch.zeros, shapes), True])
            self._compiled_for = batch_size
        finally:
            self.load_state(before)

    def _step(
        self,
        observation: Tensor,
        action: Tensor,
        reward: Tensor,
        next_observation: Tensor,
        terminated: Tensor,
        noise: Tensor,
        metrics: bool,
    ) -> dict[str, Tensor]:
        """The update as a function of tensors, as it stands or compiled; the shapes are in `update`."""
        half = torch.autocast("cpu", torch.bfloat16, enabled=self.settings.precision == "bfloat16")
        alpha = self.log_alpha.detach().exp()  # ()

        with torch.no_grad(), half:
            next_mean, next_log_std = self.actor(next_observation)
            next_action, next_log_prob = sample_with_log_prob(next_mean, next_log_std, noise[0])  # (B, A), (B,)
            next_q = self.target_critics(next_observation, next_action)  # (2, B)
            y = critic_target(reward, terminated, next_q, next_log_prob, alpha, self.settings.discount)  # (B,)
        with half:
            q = self.critics(observation, action)  # (2, B)
        loss_q = critic_loss(q, y)
        self._critic_adam.minimize(loss_q)

        with half:
            mean, log_std = self.actor(observation)
            new_action, log_prob = sample_with_log_prob(mean, log_std, noise[1])  # (B, A), (B,)
            new_q = self.critics(observation, new_action)  # (2, B)
        loss_pi = actor_loss(log_prob, new_q, alpha)
        self._actor_adam.minimize(loss_pi)

        loss_alpha = temperature_loss(self.log_alpha, log_prob, self.target_entropy)
        if self.settings.temperature_learning_rate > 0:
            self._temperature_adam.minimize(loss_alpha)

        move_targets(self._target_parameters, self._critic_parameters, self.settings.tau)

        if not metrics:
            return {}
        return {
            "critic_loss": loss_q.detach(),
            "actor_loss": loss_pi.detach(),
            "temperature_loss": loss_alpha.detach(),
            "alpha": self.log_alpha.detach().exp(),
            "entropy": -log_prob.detach().mean(),
            "q": q.detach().mean(),
            "q_gap": (q[0] - q[1]).detach().abs().mean(),
        }

    def _modules(self) -> dict[str, nn.Module]:
        return {"actor": self.actor, "critics": self.critics, "target_critics": self.target_critics}

    def _adams(self) -> dict[str, Adam]:
        return {"actor": self._actor_adam, "critics": self._critic_adam, "temperature": self._temperature_adam}

    def _single_tensors(self) -> dict[str, Tensor]:
        return {"log_alpha": self.log_alpha}
