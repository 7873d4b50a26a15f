"""Several skills as one: their Q-functions combined, and the product of their Gaussians.

The actors' Gaussians live under the tanh. With weights that sum to one, the product of the skills' policies is again a
tanh-Gaussian, because the Jacobians' powers sum to one too:

    prod_i pi_i(a|s)^w_i = Z_w(s) pi_w(a|s),   1/v = sum_i w_i / v_i,   mu = v sum_i w_i mu_i / v_i

and -log Z_w(s) is how far the skills disagree in s.

Sources: Haarnoja et al. 2018 (arXiv 1803.06773); Hunt et al. 2019 (arXiv 1812.02216); see docs/composition.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from policies.contract import COMPOSITIONS
from policies.skills import Skill, check_skills
from robot_rl.algorithms.energy_policy import EnergyPolicy, lowest_q
from robot_rl.algorithms.tabular.composition import skill_weights
from robot_rl.errors import ConfigurationError, UnknownName

if TYPE_CHECKING:
    from policies.correction import Correction
    from policies.joint import Joint

LEAST_WEIGHT = 1e-30
"""Stands under a logarithm for the share of a component that no draw is from."""
NEVER = -1e30
"""What a skill without weight is worth to `or` and `gpi`, where the best ones count."""


def product_of_gaussians(mean: Tensor, log_std: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """prod_i N(u; mu_i, v_i)^w_i, normalised, which is a Gaussian.

    Args:
        mean: mu_i, (N, B, d).
        log_std: log sigma_i, (N, B, d).
        weights: w, sum 1, (N,), or (B, N) for weights that differ from row to row.

    Returns:
        Mean and log standard deviation, (B, d) each.
    """
    weighted = _column(weights) * torch.exp(-2.0 * log_std)  # w_i / v_i, (N, B, d)
    precision = weighted.sum(dim=0)  # 1/v = sum_i w_i / v_i, (B, d)
    # mu = v sum_i w_i mu_i / v_i
    return (weighted * mean).sum(dim=0) / precision, -0.5 * precision.log()


def log_affinity(mean: Tensor, log_std: Tensor, weights: Tensor) -> Tensor:
    """log Z_w = log of the integral of prod_i pi_i^w_i, (B,): 0 where all skills agree, below it elsewhere.

    The tanh changes nothing, an integral does not mind the coordinates. For two skills and w = 1/2, -log Z_w is half of
    their Renyi divergence of order 1/2. Takes what `product_of_gaussians` takes.
    """
    product_mean, product_log_std = product_of_gaussians(mean, log_std, weights)
    w = _column(weights)
    # log Z = sum_d [ log sigma - sum_i w_i log sigma_i - 1/2 sum_i w_i (mu_i - mu)^2 / v_i ]
    apart = 0.5 * (w * ((mean - product_mean) * torch.exp(-log_std)).square()).sum(dim=0)  # (B, d)
    return (product_log_std - (w * log_std).sum(dim=0) - apart).sum(dim=-1)


class ComposedQ:
    """The Q-function of N skills together.

    Each skill's Q counts in units of its own temperature: Q_w = alpha sum_i w_i Q_i / alpha_i, with alpha the geometric
    mean of the alpha_i. Where these are equal that is the plain weighted mean. Where each was learnt, Q_i / alpha_i is
    the soft Q of the reward r_i / alpha_i at temperature one, so all that is known of averaging holds for the reward
    sum_i w_i r_i / alpha_i; and at temperature alpha a weight of one gives back each skill's own policy.

    Attributes:
        skills: as given.
        kind: conjunction (sum_i w_i Q_i, less the correction), or (alpha log sum_i w_i exp(Q_i / alpha)), gpi
            (max_i Q_i over the skills that have a weight; every Q_i must be about the same reward).
        alpha: temperature at which the composition acts unless told otherwise, reward units per nat.
        correction: learnt C_w, subtracted from the conjunction; None for none.
        joint: learnt policy and Q-function that take the place of product and mean; None for none.
    """

    def __init__(
        self,
        skills: Sequence[Skill],
        kind: str = "conjunction",
        correction: Correction | None = None,
        joint: Joint | None = None,
    ) -> None:
        """Puts them together.

        Raises:
            ConfigurationError: the skills do not fit together, or what was asked for makes no sense of them.
        """
        check_skills(skills)
        if kind not in COMPOSITIONS:
            raise UnknownName.of("composition", kind, COMPOSITIONS)
        for learnt, what in ((correction, "a divergence correction"), (joint, "a joint policy")):
            if learnt is not None and kind != "conjunction":
                raise ConfigurationError(f"{what} belongs to the conjunction, not to {kind!r}")
        if correction is not None and joint is not None:
            raise ConfigurationError(
                "a divergence correction has no place beside a joint policy, whose critics are of the weighted reward"
            )
        if kind == "gpi":
            _require_one_reward(skills)
        self.skills = tuple(skills)
        for learnt, what in ((correction, "a divergence correction"), (joint, "a joint policy")):
            if learnt is not None and self.energies:
                raise ConfigurationError(f"{what} is for Gaussian skills, not for {skills[0].algorithm!r}")
        counts = {skill.name: len(actor.candidates) for skill, actor in zip(skills, self.energies, strict=False)}
        if len(set(counts.values())) > 1:
            raise ConfigurationError(
                "skills cannot be composed, they differ in their candidates: "
                f"{', '.join(f'{count} for {name!r}' for name, count in counts.items())}"
            )
        self.kind = kind
        self.correction, self.joint = correction, joint
        self.alphas = tuple(skill.alpha for skill in skills)
        self.alpha = math.exp(sum(map(math.log, self.alphas)) / len(self.alphas))
        self.observation_size = skills[0].task.layout.size
        self.action_size = skills[0].task.spec.action.size

    @property
    def energies(self) -> tuple[EnergyPolicy, ...]:
        """The skills' actors where they are energy-based, as those of soft Q-learning; empty for Gaussian ones."""
        return tuple(skill.actor for skill in self.skills if isinstance(skill.actor, EnergyPolicy))

    def weights(self, weights: ArrayLike | None = None) -> Tensor:
        """Weights as float32, (N,); None weighs all alike. Raises InvalidInput, see `skill_weights`."""
        return torch.from_numpy(skill_weights(weights, len(self.skills)).astype(np.float32))

    def normalized(self, observation: np.ndarray) -> list[Tensor]:
        """Raw observations (B, O) as each skill sees them, N tensors (B, O)."""
        return [torch.from_numpy(skill.normalizer(observation)) for skill in self.skills]

    def gaussians(self, observation: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The skills' Gaussians under the tanh for normalised observations: mean and log std, (N, B, d) each.

        Raises:
            ConfigurationError: the skills have none.
        """
        if self.energies:
            raise ConfigurationError(f"a policy of {self.skills[0].algorithm!r} is no Gaussian")
        pairs = [skill.actor(seen) for skill, seen in zip(self.skills, observation, strict=True)]
        means, log_stds = zip(*pairs, strict=True)
        return torch.stack(means), torch.stack(log_stds)

    def middle(
        self, observation: Sequence[Tensor], mean: Tensor, log_std: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The Gaussian of all skills together, (B, d) each: the joint policy, or the product where there is none.

        Args:
            observation: from `normalized`.
            mean: from `gaussians`.
            log_std: from `gaussians`.
            weights: from `weights`, (N,).
        """
        product = product_of_gaussians(mean, log_std, weights)
        return product if self.joint is None else self.joint.gaussian(observation[0], product, weights)

    def product(self, observation: Sequence[Tensor], weights: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log std of the product of the skills' policies, (B, d) each, for normalised observations."""
        return product_of_gaussians(*self.gaussians(observation), weights)

    def skill_q(self, observation: Sequence[Tensor], action: Tensor) -> Tensor:
        """alpha Q_i / alpha_i, (N, B, K), for normalised observations and actions (B, K, d)."""
        return torch.stack(
            [
                lowest_q(skill.critics, seen, action) * (self.alpha / skill.alpha)
                for skill, seen in zip(self.skills, observation, strict=True)
            ]
        )

    def q(self, observation: Sequence[Tensor], action: Tensor, weights: Tensor) -> Tensor:
        """Q_w(s, a), (B, K).

        Args:
            observation: from `normalized`.
            action: in [-1, 1], (B, K, d).
            weights: from `weights`, (N,).
        """
        return self.combined(self.skill_q(observation, action), observation, action, weights)

    def combined(
        self, skill_q: Tensor, observation: Sequence[Tensor], action: Tensor, weights: Tensor
    ) -> Tensor:
        """Q_w(s, a), (B, K), from what `skill_q` says of the same actions."""
        combined = combine(skill_q, weights, self.kind, self.alpha)  # (B, K)
        if self.correction is not None:
            combined = combined - self.alpha * self.correction(observation[0], action, weights)
        if self.joint is not None:
            combined = self.alpha * self.joint.corrected(combined / self.alpha, observation[0], action, weights)
        return combined


def combine(q: Tensor, weights: Tensor, kind: str, alpha: float) -> Tensor:
    """One Q of several, (...).

    Args:
        q: Q_i, (N, ...), reward units.
        weights: w, (N,).
        kind: one of COMPOSITIONS.
        alpha: temperature of OR, reward units per nat.
    """
    w = weights.view(-1, *[1] * (q.dim() - 1))
    if kind == "or":
        # Q = alpha log sum_i w_i exp(Q_i / alpha)
        return alpha * torch.logsumexp(torch.where(w > 0, w.log() + q / alpha, NEVER), dim=0)
    if kind == "gpi":
        return torch.where(w > 0, q, NEVER).amax(dim=0)
    return (w * q).sum(dim=0)


def _column(weights: Tensor) -> Tensor:
    """(N,) -> (N, 1, 1) and (B, N) -> (N, B, 1)."""
    return weights.movedim(-1, 0).reshape(weights.shape[-1], -1, 1)


def _require_one_reward(skills: Sequence[Skill]) -> None:
    def reward(skill: Skill) -> tuple[str, str]:
        return skill.task.name, str(getattr(skill.task, "settings", {}))

    for skill in skills[1:]:
        if reward(skill) != reward(skills[0]):
            raise ConfigurationError(
                "generalised policy improvement takes the best of several policies for one task, but "
                f"{skills[0].name!r} was trained on {' '.join(reward(skills[0]))} and {skill.name!r} on "
                f"{' '.join(reward(skill))}"
            )
