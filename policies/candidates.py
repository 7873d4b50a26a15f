"""What a composed policy chooses its action from: points between the skills' means, and draws around them.

    noise ─ draws of the product and of the skills ─ weight exp(Q_w/T)/q ─ one by its weight ── sampled action
    points between the skills' means ─────────────── the best by Q_w ───────────────────────── deterministic action

Two sets, because they answer two questions. A sample of exp(Q_w / T) needs draws with a known density everywhere. The
deterministic action shall be steady, and with all weight on one skill it must be that skill's own mean; the best of
random draws is neither. So it is the best of H points that are averages of the means, each entry of the action with
shares of its own:

    u_h = sum_i g_hi w_i mu_i / v_i  /  sum_i g_hi w_i / v_i

g = 1 gives the mean of the product; a large g_hi the mean of skill i; the others lie between. A skill without weight
has no part in any, so with one weight alone all H points are that skill's mean.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from policies.composed_q import LEAST_WEIGHT, ComposedQ, log_affinity
from policies.draws import Draws, strata
from policies.energy_candidates import draw_around, energy_disagreement, particles, points_of
from policies.refinement import refine
from robot_rl.algorithms.distributions import HALF_LOG_2_PI, log_one_minus_tanh_squared
from robot_rl.algorithms.soft_value import kernel_width
from robot_rl.errors import ConfigurationError

POINTS, DRAWS = 16, 48
PRODUCT_SHARE = 0.5
"""Of the draws, from the product; the rest from the skills by their weights, so that no good action is out of reach."""
EMPHASIS = 1e4
"""By how much one skill counts more than the others in the point that stands for its mean."""
SPREAD = 2.5
"""Standard deviation of the logarithms of g at the points between."""
LEAST_PROBABILITY = 1e-6
"""Keeps the Gumbel noise finite."""


class Choice(NamedTuple):
    """What a composed policy answers for B observations."""

    action: Tensor
    """Deterministic, in [-1, 1], (B, d)."""
    sampled_action: Tensor
    """In [-1, 1], (B, d)."""
    value: Tensor
    """Q_w of the deterministic action, reward units, (B,)."""
    sampled_value: Tensor
    """Q_w of the sampled action, reward units, (B,)."""
    effective_sample_size: Tensor
    """(sum w)^2 / sum w^2 of the draws' weights, from 1 to the number of draws, (B,)."""
    disagreement: Tensor
    """-log of the integral of prod_i pi_i^w_i, nats, (B,)."""


class CandidateSettings(NamedTuple):
    """The constants of the candidates; they are part of a composed policy's file."""

    share: Tensor
    """g, > 0, (H, N, d); of no use to energy-based skills, whose points are their samplers' draws."""
    noise: Tensor
    """Standard normal, (K, d + 1): for d entries of an action, and one for the choice; used where none is given."""
    refinement: int = 0
    """Steps up the gradient of Q_w from the best of the points; see `policies.refinement`."""

    @classmethod
    def make(
        cls, skills: int, actions: int, points: int = POINTS, draws: int = DRAWS, seed: int = 0, refinement: int = 0
    ) -> CandidateSettings:
        """Draws them.

        Args:
            skills: number N.
            actions: entries d of an action.
            points: number H of points between the skills' means; 1 for the product's mean alone, or at least N + 1.
            draws: number K of draws.
            seed: of the generator.
            refinement: steps up the gradient of Q_w from the best of the points.

        Raises:
            ConfigurationError: too few.
        """
        if (points != 1 and points < skills + 1) or draws < 1:
            raise ConfigurationError(
                f"candidates: {skills} skills need 1 point or at least {skills + 1}, and a draw; got {points}, {draws}"
            )
        rng = np.random.default_rng(seed)
        rest = points - 1 - skills
        share = np.ones((points, skills, actions))
        if points > 1:
            share[1 : skills + 1] += EMPHASIS * np.eye(skills)[:, :, None]
            # One half of the points between favours a skill in all entries alike, the other in each by itself.
            whole = rest // 2
            share[skills + 1 : skills + 1 + whole] = np.exp(SPREAD * rng.standard_normal((whole, skills, 1)))
            share[skills + 1 + whole :] = np.exp(SPREAD * rng.standard_normal((rest - whole, skills, actions)))
        noise = rng.standard_normal((draws, actions + 1))
        constants = [torch.from_numpy(part.astype(np.float32)) for part in (share, noise)]
        return cls(constants[0], constants[1], refinement)


def points_between(mean: Tensor, log_std: Tensor, weights: Tensor, share: Tensor) -> Tensor:
    """u_h of the module's head, (B, H, d), for Gaussians (N, B, d), weights (N,) and shares (H, N, d)."""
    weighted = weights.view(-1, 1, 1) * torch.exp(-2.0 * log_std)  # w_i / v_i, (N, B, d)
    counted = weighted.movedim(0, 1)[:, None] * share  # (B, H, N, d)
    return (counted * mean.movedim(0, 1)[:, None]).sum(dim=2) / counted.sum(dim=2)


def stratified(weights: Tensor, count: int) -> Tensor:
    """Which component each of K draws is from, (K, 1 + N) of zeros and ones: the product first, then the skills."""
    return strata(torch.cat([weights.new_full((1,), PRODUCT_SHARE), (1.0 - PRODUCT_SHARE) * weights]), count)


def draw(
    middle: tuple[Tensor, Tensor], mean: Tensor, log_std: Tensor, weights: Tensor, noise: Tensor
) -> Draws:
    """Draws from the mixture of the product, or what takes its place, and the skills, in strata.

    Args:
        middle: mean and log standard deviation of all skills together, (B, d) each.
        mean: of the skills' Gaussians, (N, B, d).
        log_std: (N, B, d).
        weights: w, (N,).
        noise: standard normal, (B or 1, K, d).
    """
    product_mean, product_log_std = middle
    means = torch.cat([product_mean[None], mean]).movedim(0, 1)  # (B, 1 + N, d)
    log_stds = torch.cat([product_log_std[None], log_std]).movedim(0, 1)
    chosen = stratified(weights, noise.shape[-2])  # (K, 1 + N)
    u = chosen @ means + torch.exp(chosen @ log_stds) * noise  # (B, K, d)
    # The density of the mixture as it was drawn: with the shares that the strata have, not those that were asked for.
    log_share = chosen.mean(dim=0).clamp(min=LEAST_WEIGHT).log()  # (1 + N,)
    z = (u[:, :, None] - means[:, None]) * torch.exp(-log_stds)[:, None]  # (B, K, 1 + N, d)
    log_each = (-0.5 * z.square() - log_stds[:, None] - HALF_LOG_2_PI).sum(dim=-1)  # (B, K, 1 + N)
    return Draws(u, torch.logsumexp(log_each + log_share, dim=-1))


def log_importance(q: Tensor, draws: Draws, temperature: float) -> Tensor:
    """log weight = Q_w(s, tanh u) / T + sum log(1 - tanh^2 u) - log q(u), (B, K), up to a constant."""
    return q / temperature + log_one_minus_tanh_squared(draws.u).sum(dim=-1) - draws.log_density


def effective_sample_size(log_weight: Tensor) -> Tensor:
    """(sum w)^2 / sum w^2, from 1 to K, (B,), for log weights (B, K)."""
    share = torch.softmax(log_weight, dim=-1)
    return 1.0 / share.square().sum(dim=-1)


def gumbel(noise: Tensor) -> Tensor:
    """Gumbel noise from standard normal noise, elementwise: argmax(log w + gumbel) is a draw by the weights w."""
    probability = 0.5 * (1.0 + torch.erf(noise * 2.0**-0.5))
    return -torch.log(-torch.log(probability.clamp(LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY)))


class Ranked(NamedTuple):
    """All candidates of a choice, with what it is made by."""

    points: Tensor
    """Actions, (B, H, d)."""
    points_u: Tensor
    """The same before the tanh, (B, H, d)."""
    points_q: Tensor
    """Q_w of each, (B, H); the highest is the deterministic action."""
    draws: Tensor
    """Actions, (B, K, d)."""
    draws_q: Tensor
    """(B, K)."""
    log_weight: Tensor
    """(B, K)."""
    score: Tensor
    """log weight + Gumbel noise, (B, K); the highest is the sampled action."""
    disagreement: Tensor
    """(B,)."""
    scale: Tensor
    """How far the skills' own draws spread before the tanh, (B, d)."""


def ranked(
    composed: ComposedQ,
    settings: CandidateSettings,
    observation: np.ndarray,
    weights: Tensor,
    temperature: float,
    noise: Tensor | None = None,
) -> Ranked:
    """The candidates for raw observations (B, O); `noise` (B or 1, K, d + 1), None for the one in the settings."""
    noise = settings.noise[None] if noise is None else noise
    seen = composed.normalized(observation)
    if composed.energies:
        known = particles(composed, seen)  # (B, N, P, d)
        points_u, draws = points_of(known, weights), draw_around(known, weights, noise[..., :-1])
        scale = (weights[:, None] * kernel_width(known)[:, :, 0]).sum(dim=1)
    else:
        mean, log_std = composed.gaussians(seen)  # (N, B, d)
        middle = composed.middle(seen, mean, log_std, weights)
        if composed.joint is None:
            points_u = points_between(mean, log_std, weights, settings.share)
        else:
            points_u = middle[0][:, None]
        scale = middle[1].exp()
        draws = draw(middle, mean, log_std, weights, noise[..., :-1])
    points, actions = torch.tanh(points_u), torch.tanh(draws.u)  # (B, H, d), (B, K, d)
    candidates = torch.cat([points, actions], dim=1)  # (B, H + K, d)
    skill_q = composed.skill_q(seen, candidates)  # (N, B, H + K)
    q = composed.combined(skill_q, seen, candidates, weights)  # (B, H + K)
    points_q, draws_q = q.split([points.shape[1], actions.shape[1]], dim=1)
    log_weight = log_importance(draws_q, draws, temperature)
    score = log_weight + gumbel(noise[..., -1])
    if composed.energies:
        apart = energy_disagreement(skill_q[..., points.shape[1] :], composed.alpha, weights, draws)
    else:
        apart = -log_affinity(mean, log_std, weights)
    return Ranked(points, points_u, points_q, actions, draws_q, log_weight, score, apart, scale)


class Chooses(Protocol):
    """Whatever answers observations as a composed policy does."""

    def __call__(
        self, observation: np.ndarray, weights: Tensor, temperature: float, noise: Tensor | None = None
    ) -> Choice:
        """See `CandidatePolicy`."""
        ...


class CandidatePolicy:
    """The composed policy that is exported: chooses among candidates, in torch."""

    def __init__(self, composed: ComposedQ, settings: CandidateSettings | None = None) -> None:
        """Args: composed: what is acted on; settings: of the candidates, drawn with seed 0 by default."""
        self.composed = composed
        self.settings = settings or CandidateSettings.make(len(composed.skills), composed.action_size)

    @property
    def points(self) -> int:
        """Among how many the deterministic action is chosen."""
        energies = self.composed.energies
        if energies:
            return sum(len(actor.candidates) for actor in energies)
        return len(self.settings.share) if self.composed.joint is None else 1

    @torch.no_grad()
    def __call__(
        self, observation: np.ndarray, weights: Tensor, temperature: float, noise: Tensor | None = None
    ) -> Choice:
        """Chooses.

        Args:
            observation: raw, (B, O).
            weights: from `ComposedQ.weights`, (N,).
            temperature: T, > 0, reward units per nat.
            noise: standard normal, (B, K, d + 1) or (1, K, d + 1); None for the one of the settings.
        """
        found = ranked(self.composed, self.settings, observation, weights, temperature, noise)
        rows = torch.arange(len(observation))
        best, taken = found.points_q.argmax(dim=1), found.score.argmax(dim=1)
        action, value = found.points[rows, best], found.points_q[rows, best]
        if self.settings.refinement:
            action, value = self._refined(observation, found, best, weights, temperature)
        return Choice(
            action,
            found.draws[rows, taken],
            value,
            found.draws_q[rows, taken],
            effective_sample_size(found.log_weight),
            found.disagreement,
        )

    def _refined(
        self, observation: np.ndarray, found: Ranked, best: Tensor, weights: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor]:
        """Action (B, d) and its Q_w (B,) after the steps from the points of index `best`, (B,)."""
        composed, steps = self.composed, self.settings.refinement
        seen, start = composed.normalized(observation), found.points_u[torch.arange(len(best)), best][:, None]
        action = torch.tanh(refine(composed, seen, start, found.scale, weights, temperature, steps))  # (B, 1, d)
        return action[:, 0], composed.q(seen, action, weights)[:, 0]
