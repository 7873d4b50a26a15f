"""Q-learning with a network for finitely many actions: hard, as DQN, and soft, with the entropy in the value.

The pair differs in one line, what the next state is worth:

    hard  V(s) = max_a Q(s, a)                               acts greedily, but for epsilon or Boltzmann exploration
    soft  V(s) = alpha log sum_a exp(Q(s, a) / alpha)        acts by pi(a|s) = exp((Q(s, a) - V(s)) / alpha)

Boltzmann exploration on the hard Q draws by the same formula, but its values know nothing of the entropy: it is unsure
in this step only, and does not seek states in which there will be choice.

An action is a vector of A numbers here, 1 for the chosen one and -1 for the rest, so that trainer, replay and
checkpoint are those of all other learners; `robot_rl.finite.FiniteEnv` reads it.

Sources: Mnih et al. 2015, "Human-level control through deep reinforcement learning"; van Hasselt et al. 2016 (arXiv
1509.06461) for the double estimate; Haarnoja et al. 2017 (arXiv 1702.08165), eq. 2 to 5, for the soft one.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from robot_rl.algorithms.adam import Adam
from robot_rl.algorithms.learner import Batch
from robot_rl.algorithms.network_learner import NetworkLearner
from robot_rl.algorithms.networks import ActionValues, move_targets
from robot_rl.settings import check
from robot_rl.training.normalizer import Normalizer

VALUES = ("hard", "soft")
EXPLORATIONS = ("epsilon", "boltzmann")


@dataclass(frozen=True)
class DiscreteQSettings:
    """Settings of Q-learning with finitely many actions."""

    discount: float = 0.99
    """gamma, weight of the next step's value, in [0, 1)."""
    value: str = "hard"
    """hard: the best action's Q, as DQN; soft: with the entropy of the policy, at the temperature."""
    exploration: str = "epsilon"
    """Of the hard one: epsilon, uniform now and then; boltzmann, exp(Q / temperature). The soft one draws as it is."""
    epsilon: float = 0.1
    """Share of uniformly random actions of that exploration."""
    temperature: float = 1.0
    """alpha of the soft value and of Boltzmann exploration, > 0, in reward units per nat."""
    double: bool = True
    """Whether the network and not its target chooses the best next action (hard values)."""
    tau: float = 0.01
    """Share of the network that moves into its target at every update, in (0, 1]."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Widths of the ReLU layers."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        check(
            self,
            "Q-learning",
            discount=(0 <= self.discount < 1, "in [0, 1)"),
            value=(self.value in VALUES, f"one of {', '.join(VALUES)}"),
            exploration=(self.exploration in EXPLORATIONS, f"one of {', '.join(EXPLORATIONS)}"),
            epsilon=(0 <= self.epsilon <= 1, "in [0, 1]"),
            temperature=(self.temperature > 0, "positive"),
            tau=(0 < self.tau <= 1, "in (0, 1]"),
            learning_rate=(self.learning_rate > 0, "positive"),
            hidden_sizes=(len(self.hidden_sizes) > 0 and all(s > 0 for s in self.hidden_sizes), "positive widths"),
        )


def hard_value(target_q: Tensor, q: Tensor) -> Tensor:
    """V(s) = Q'(s, argmax_a Q(s, a)), (B,), for target and choosing values (B, A); the maximum where both are one."""
    return target_q.gather(1, q.argmax(dim=1, keepdim=True)).squeeze(1)


def soft_value(target_q: Tensor, temperature: float) -> Tensor:
    """V(s) = alpha log sum_a exp(Q'(s, a) / alpha), (B,), for values (B, A)."""
    return temperature * torch.logsumexp(target_q / temperature, dim=1)


def bellman_loss(
    q: Tensor, chosen: Tensor, reward: Tensor, terminated: Tensor, next_value: Tensor, discount: float
) -> Tensor:
    """J = 1/2 mean (Q(s, a) - y)^2, y = r + gamma (1 - terminated) V(s').

    Args:
        q: Q(s, .), (B, A).
        chosen: index of a, (B,).
        reward: r(s, a), (B,).
        terminated: 1 where s' is terminal, (B,).
        next_value: V(s'), (B,).
        discount: gamma.
    """
    target = reward + discount * (1.0 - terminated) * next_value  # (B,)
    return 0.5 * (q.gather(1, chosen[:, None]).squeeze(1) - target).square().mean()


class DiscreteQ(NetworkLearner):
    """The learner; see `Learner` for the interface, and above for what an action is."""

    name = "discrete_q"

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        settings: DiscreteQSettings | None = None,
        seed: int = 0,
        normalizer: Normalizer | None = None,
    ) -> None:
        """Makes a learner whose weights and later draws depend on `seed` alone; `action_size` is the number of actions.

        The other arguments are those of `SAC`.
        """
        super().__init__(observation_size, action_size, seed, normalizer)
        self.settings = settings = settings or DiscreteQSettings()
        self.actor = ActionValues(observation_size, action_size, settings.hidden_sizes, self._generator)
        self.target = copy.deepcopy(self.actor).requires_grad_(False)
        self._adam = Adam(dict(self.actor.named_parameters()), settings.learning_rate)

    def act(self, observation: np.ndarray, deterministic: bool = False) -> np.ndarray:
        """See `Learner.act`; 1 for the chosen action, -1 for the rest."""
        observation = self._checked(observation)
        with torch.inference_mode():
            q = self.actor(self._normalized(observation))  # (..., A)
            if deterministic:
                chosen = q.argmax(dim=-1)
            else:
                probability = self.probability(q).reshape(-1, self.action_size)  # (N, A)
                drawn = torch.multinomial(probability, 1, generator=self._generator)
                chosen = drawn.reshape(q.shape[:-1])
            return (2.0 * nn.functional.one_hot(chosen, self.action_size) - 1.0).float().numpy()

    def probability(self, q: Tensor) -> Tensor:
        """pi(a|s) of the policy that collects, (..., A), for Q(s, .) of the same shape."""
        settings = self.settings
        if settings.value == "soft" or settings.exploration == "boltzmann":
            # pi(a|s) = exp(Q(s, a) / alpha) / sum_b exp(Q(s, b) / alpha)
            return torch.softmax(q / settings.temperature, dim=-1)
        greedy = nn.functional.one_hot(q.argmax(dim=-1), self.action_size)
        return (1.0 - settings.epsilon) * greedy + settings.epsilon / self.action_size

    def update(self, batch: Batch, metrics: bool = False) -> dict[str, float]:
        """One step of Adam on Q, then on its target."""
        settings = self.settings
        observation = self._normalized(batch.observation)  # (B, O)
        next_observation = self._normalized(batch.next_observation)  # (B, O)
        chosen = torch.from_numpy(batch.action).argmax(dim=1)  # (B,)
        reward, terminated = torch.from_numpy(batch.reward), torch.from_numpy(batch.terminated)  # (B,) each
        with torch.no_grad():
            next_q = self.target(next_observation)  # (B, A)
            if settings.value == "soft":
                next_value = soft_value(next_q, settings.temperature)  # (B,)
            else:
                next_value = hard_value(next_q, self.actor(next_observation) if settings.double else next_q)
        q = self.actor(observation)  # (B, A)
        loss = bellman_loss(q, chosen, reward, terminated, next_value, settings.discount)
        self._adam.minimize(loss)
        move_targets(list(self.target.parameters()), list(self.actor.parameters()), settings.tau)
        if not metrics:
            return {}
        return {"critic_loss": loss.item(), "q": q.mean().item(), "value": next_value.mean().item()}

    def _modules(self) -> dict[str, nn.Module]:
        return {"q": self.actor, "target": self.target}

    def _adams(self) -> dict[str, Adam]:
        return {"q": self._adam}
