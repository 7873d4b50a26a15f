"""What several skills are worth together, learnt for all weights at once from their replay, without another step.

The average of Q-functions promises what no single policy may keep, since each was learnt for a policy of its own, and
knows little of the states where the others go. Where the replay keeps the values of the reward's terms, every skill's
reward of every transition is known, and so is the weighted one; its soft Q-function and policy are learnt from the
union of the replays:

    r_w = alpha sum_i w_i r_i / alpha_i
    y = r_w + gamma (1 - terminated) ( min_j Q^j(s',a',w) - alpha log pi(a'|s',w) ),   a' ~ pi(.|s',w)

The policy begins as the first skill's, whatever the weights, and learns what the weights are for. The critics begin
anew, with layer normalisation and a head start: without new steps nothing contradicts a critic that believes in an
action nobody has tried, and without normalisation such beliefs grow without bound on some replays.

A skill that has all the weight remains itself: what is learnt here has a say of min(1, 4 (1 - sum_i w_i^2)), so none
there, and all of it where no skill has more than 85 %; the rest is for the product of the skills' policies and the mean
of their Q-functions.

Sources: soft actor-critic, see `robot_rl.algorithms.sac`; one network for all weights as in universal value functions,
Schaul et al. 2015; layer normalisation against values that diverge off the data, Ball et al. 2023 (arXiv 2302.02948).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from policies.correction import uniform_weights, vanishing
from robot_rl.algorithms.adam import Adam
from robot_rl.algorithms.distributions import sample_with_log_prob
from robot_rl.algorithms.learner import Batch
from robot_rl.algorithms.networks import Actor, Critics, move_targets, without_gradients
from robot_rl.algorithms.sac import critic_loss
from robot_rl.settings import check

if TYPE_CHECKING:
    from policies.composed_q import ComposedQ
    from policies.skills import Skill


HEAD_START = 0.1
"""Share of the updates that are the critics' alone, before the policy moves."""


@dataclass(frozen=True)
class JointSettings:
    """Settings of learning what skills are worth together."""

    updates: int = 10_000
    """Gradient steps."""
    batch_size: int = 256
    """Transitions per step, equally many of every skill."""
    learning_rate: float = 1e-3
    """Adam's step size at the start; it falls to a tenth of it."""
    tau: float = 0.01
    """Share of the critics that moves into their targets at every step, in (0, 1]."""
    seed: int = 0
    """Of weights and draws."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        check(
            self,
            "joint",
            updates=(self.updates > 0, "positive"),
            batch_size=(self.batch_size > 0, "positive"),
            learning_rate=(self.learning_rate > 0, "positive"),
            tau=(0 < self.tau <= 1, "in (0, 1]"),
        )


class Joint(nn.Module):
    """Policy and Q-function of all skills together, for any weights.

    Attributes:
        actor: over the observation that the first skill sees, then the weights.
        critics: two or more, over the same and the action, in nats: Q / alpha.
    """

    def __init__(self, first: Skill, skills: int, seed: int = 0) -> None:
        """The policy starts as the first skill, whatever the weights.

        Args:
            first: the first skill, with a Gaussian actor.
            skills: number N.
            seed: of the critics' weights.
        """
        super().__init__()
        own: Any = first.actor
        observations, actions = own.hidden[0].in_features, own.head.out_features // 2
        hidden = [layer.out_features for layer in own.hidden]
        bounds, generator = (own.log_std_min, own.log_std_max), torch.Generator().manual_seed(seed)
        self.actor = Actor(observations + skills, actions, hidden, bounds, generator)
        _copy(own, self.actor)
        stack = first.critics
        layers: Any = stack.hidden
        hidden = [layer.weight.shape[2] for layer in layers]
        unit = stack.unit / first.alpha
        self.critics = Critics(stack.count, observations + skills, actions, hidden, True, generator, unit)

    def gaussian(
        self, observation: Tensor, product: tuple[Tensor, Tensor], weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation before the tanh, (B, d) each.

        Args:
            observation: normalised as the first skill does, (B, O).
            product: mean and log standard deviation of the product of the skills' policies, (B, d) each.
            weights: (N,), or (B, N) for weights that differ from row to row.
        """
        learnt = self.actor(_beside(observation, weights))
        share = say(weights)[..., None]
        mean, log_std = (old + share * (new - old) for old, new in zip(product, learnt, strict=True))
        return mean, log_std

    def corrected(self, mean_q: Tensor, observation: Tensor, action: Tensor, weights: Tensor) -> Tensor:
        """The weighted mean of the skills' Q / alpha, (B, K), with what was learnt in its place; nats.

        Args:
            mean_q: (B, K), nats.
            observation: normalised as the first skill does, (B, O).
            action: in [-1, 1], (B, K, d).
            weights: (N,).
        """
        rows, count, size = action.shape
        known = _beside(observation, weights)[:, None].expand(-1, count, -1).reshape(rows * count, -1)
        learnt = self.critics(known, action.reshape(rows * count, size)).amin(dim=0).view(rows, count)
        return mean_q + say(weights) * (learnt - mean_q)


def say(weights: Tensor) -> Tensor:
    """How much counts what was learnt together, (...), for weights (..., N): nothing for one skill alone."""
    return (4.0 * vanishing(weights)).clamp(max=1.0)


def learn_joint(
    composed: ComposedQ,
    sample: Callable[[int], Batch],
    settings: JointSettings | None = None,
    progress: Callable[[int, float], None] = lambda _update, _loss: None,
) -> Joint:
    """Learns for all weights, drawn uniformly from the simplex.

    Args:
        composed: the skills; a conjunction of Gaussian ones.
        sample: draws that many transitions from the union of the replays; their `reward` is (B, N), of every skill.
        settings: see `JointSettings`.
        progress: called with the update and the critics' loss, nats squared.
    """
    settings = settings or JointSettings()
    generator = torch.Generator().manual_seed(settings.seed)
    count, discount = len(composed.skills), composed.skills[0].discount
    per_reward = torch.tensor([1.0 / skill.alpha for skill in composed.skills])  # nats per unit of reward i
    joint = Joint(composed.skills[0], count, settings.seed)
    targets = copy.deepcopy(joint.critics).requires_grad_(False)
    critic_parameters = list(joint.critics.parameters())
    critic_adam = Adam(dict(joint.critics.named_parameters()), settings.learning_rate)
    actor_adam = Adam(dict(joint.actor.named_parameters()), settings.learning_rate)

    for update in range(settings.updates):
        rate = settings.learning_rate * (1.0 - 0.9 * update / settings.updates)
        critic_adam.learning_rate = actor_adam.learning_rate = rate
        batch = sample(settings.batch_size)
        action, terminated = torch.from_numpy(batch.action), torch.from_numpy(batch.terminated)  # (B, d), (B,)
        w = uniform_weights(len(action), count, generator)  # (B, N)
        with torch.no_grad():
            seen, following = composed.normalized(batch.observation), composed.normalized(batch.next_observation)
            products = [composed.product(x, w) for x in (seen, following)]
            known, next_known = _beside(seen[0], w), _beside(following[0], w)  # (B, O + N)
        reward = (w * torch.from_numpy(batch.reward) * per_reward).sum(dim=1)  # r_w / alpha, nats, (B,)
        noise = torch.randn(2, *action.shape, generator=generator)  # (2, B, d)

        with torch.no_grad():
            next_action, next_log_prob = sample_with_log_prob(*joint.gaussian(following[0], products[1], w), noise[1])
            next_value = targets(next_known, next_action).amin(dim=0) - next_log_prob  # (B,)
            y = reward + discount * (1.0 - terminated) * next_value
        loss = critic_loss(joint.critics(known, action), y)
        critic_adam.minimize(loss)

        if update >= HEAD_START * settings.updates:
            new_action, log_prob = sample_with_log_prob(*joint.gaussian(seen[0], products[0], w), noise[0])
            with without_gradients(critic_parameters):
                # J = E[ log pi(a|s,w) - min_j Q^j(s,a,w) / alpha ]
                actor_loss = (log_prob - joint.critics(known, new_action).amin(dim=0)).mean()
            actor_adam.minimize(actor_loss)

        move_targets(list(targets.parameters()), critic_parameters, settings.tau)
        if update % 500 == 0 or update == settings.updates - 1:
            progress(update, loss.item())
    return joint.requires_grad_(False)


def _copy(actor: nn.Module, wider: nn.Module) -> None:
    """Copies an actor's weights to one of more inputs; the new ones, after the old, count nothing."""
    first = "hidden.0.weight"
    weights = {name: tensor.detach().clone() for name, tensor in actor.state_dict().items()}
    more = wider.state_dict()[first].shape[1] - weights[first].shape[1]
    weights[first] = nn.functional.pad(weights[first], (0, more))
    wider.load_state_dict(weights)


def _beside(observation: Tensor, weights: Tensor) -> Tensor:
    """Observations (B, O) with weights (N,) or (B, N) after them, (B, O + N)."""
    return torch.cat([observation, weights.expand(len(observation), -1)], dim=-1)
