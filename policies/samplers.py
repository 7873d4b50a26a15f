"""Ways to act on a composed Q without training anything, behind one interface, and a table that compares them.

Only the first is in the exported graph; the others show what it leaves on the table, and at which price.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from policies.candidates import CandidatePolicy, CandidateSettings, ranked
from policies.composed_q import ComposedQ, product_of_gaussians
from robot_rl.algorithms.langevin import langevin
from robot_rl.algorithms.svgd import Kernel, LogDensity, in_pre_tanh_space, score_of, stein_direction

REFERENCE_DRAWS = 1024
"""Of the importance sampler that stands for the truth in the table."""


class Answer(NamedTuple):
    """Two actions for each of B observations."""

    action: Tensor
    """The best that the sampler found, (B, d)."""
    sampled_action: Tensor
    """One draw of what it takes for exp(Q_w / T), (B, d)."""


class Sampler(Protocol):
    """A way to act on a composed Q."""

    def __call__(self, observation: np.ndarray, weights: Tensor, temperature: float) -> Answer:
        """Answers raw observations (B, O) at weights (N,) and a temperature T, reward units per nat."""
        ...


class ProductSampler:
    """The product of the skills' policies in closed form, or the joint policy; looks at no critic."""

    def __init__(self, composed: ComposedQ, seed: int = 0) -> None:
        """Args: composed: the skills; seed: of the draws."""
        self._composed, self._generator = composed, torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def __call__(self, observation: np.ndarray, weights: Tensor, temperature: float) -> Answer:
        """See `Sampler`; the temperature is the skills' own."""
        composed = self._composed
        seen = composed.normalized(observation)
        mean, log_std = composed.middle(seen, *composed.gaussians(seen), weights)
        noise = torch.randn(mean.shape, generator=self._generator)
        return Answer(torch.tanh(mean), torch.tanh(mean + log_std.exp() * noise))


class ImportanceSampler:
    """Points between the means and weighted draws: what the exported graph does, with any number of draws."""

    def __init__(self, composed: ComposedQ, draws: int | None = None, seed: int = 0) -> None:
        """Args: composed: what is acted on; draws: K, the exported number by default; seed: of the draws."""
        size = {} if draws is None else {"draws": draws}
        settings = CandidateSettings.make(len(composed.skills), composed.action_size, **size)
        self._policy = CandidatePolicy(composed, settings)
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, observation: np.ndarray, weights: Tensor, temperature: float) -> Answer:
        """See `Sampler`."""
        shape = (len(observation), *self._policy.settings.noise.shape)
        noise = torch.randn(shape, generator=self._generator)
        choice = self._policy(observation, weights, temperature, noise)
        return Answer(choice.action, choice.sampled_action)


class ParticleSampler:
    """Starts from importance-weighted draws, resampled, and moves them along the gradient of Q_w in pre-tanh space.

    With `mala`, by Langevin steps that are accepted or not (Metropolis), so that they sample exp(Q_w / T) in the limit;
    otherwise by the Stein direction (SVGD), where particles keep each other apart.
    """

    def __init__(
        self,
        composed: ComposedQ,
        mala: bool = False,
        particles: int = 16,
        steps: int = 10,
        step_size: float = 0.1,
        seed: int = 0,
    ) -> None:
        """Args: step_size: of a step, times the standard deviation of the product; the others as they say."""
        self._composed, self._mala, self._particles = composed, mala, particles
        self._steps, self._step_size = steps, step_size
        self._settings = CandidateSettings.make(len(composed.skills), composed.action_size)
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, observation: np.ndarray, weights: Tensor, temperature: float) -> Answer:
        """See `Sampler`."""
        composed, rows = self._composed, len(observation)
        with torch.no_grad():
            seen = composed.normalized(observation)
            found = ranked(composed, self._settings, observation, weights, temperature)
            share = torch.softmax(found.log_weight, dim=-1)
            index = torch.multinomial(share, self._particles, replacement=True, generator=self._generator)  # (B, P)
            u = torch.atanh(found.draws[torch.arange(rows)[:, None], index].clamp(-1.0 + 1e-6, 1.0 - 1e-6))
            _, log_std = product_of_gaussians(*composed.gaussians(seen), weights)
            scale = log_std.exp()[:, None]  # (B, 1, d)
        target = in_pre_tanh_space(lambda action: composed.q(seen, action, weights) / temperature)
        if self._mala:
            u = langevin(target, u, self._step_size * scale, self._steps, self._generator)
        else:
            for _ in range(self._steps):
                u = self._stein(target, u, scale)
        with torch.no_grad():
            q = composed.q(seen, torch.tanh(u), weights)
            best = u[torch.arange(rows), q.argmax(dim=1)]
            q_best, q_point = q.amax(dim=1), found.points_q.amax(dim=1)
            point = found.points[torch.arange(rows), found.points_q.argmax(dim=1)]
            action = torch.where((q_best > q_point)[:, None], torch.tanh(best), point)
        return Answer(action, torch.tanh(u[:, 0]))

    def _stein(self, target: LogDensity, u: Tensor, scale: Tensor) -> Tensor:
        # In coordinates where the product has unit variance: one kernel width then suits all entries.
        x = u / scale
        score = score_of(target, u) * scale
        phi = stein_direction(x, score, x, Kernel())
        length = phi.norm(dim=-1, keepdim=True).clamp(min=1.0)
        return u + self._step_size * scale * phi / length


class CrossEntropySampler:
    """The cross-entropy method on Q_w: control rather than sampling, as it settles on one mode.

    Its draw is from the Gaussian that it ends with, which is narrower than exp(Q_w / T).
    """

    def __init__(self, composed: ComposedQ, rounds: int = 4, draws: int = 64, elite: int = 8, seed: int = 0) -> None:
        """Args: rounds: of draws; elite: how many of them the next Gaussian is fitted to."""
        self._composed, self._rounds, self._draws, self._elite = composed, rounds, draws, elite
        self._generator = torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def __call__(self, observation: np.ndarray, weights: Tensor, temperature: float) -> Answer:
        """See `Sampler`."""
        composed, rows = self._composed, torch.arange(len(observation))
        seen = composed.normalized(observation)
        centre, std = _wide_gaussian(composed, seen, weights)
        best, best_q = centre, composed.q(seen, torch.tanh(centre)[:, None], weights)[:, 0]
        for _ in range(self._rounds):
            noise = torch.randn(len(rows), self._draws, centre.shape[-1], generator=self._generator)
            u = centre[:, None] + std[:, None] * noise
            q = composed.q(seen, torch.tanh(u), weights)
            top = q.topk(self._elite, dim=1)
            chosen = u[rows[:, None], top.indices]  # (B, E, d)
            centre, std = chosen.mean(dim=1), chosen.std(dim=1)
            better = top.values[:, 0] > best_q
            best = torch.where(better[:, None], chosen[:, 0], best)
            best_q = torch.where(better, top.values[:, 0], best_q)
        noise = torch.randn(centre.shape, generator=self._generator)
        return Answer(torch.tanh(best), torch.tanh(centre + std * noise))


class PathIntegralSampler:
    """Model predictive path integral control (MPPI) with a horizon of one action, and Q_w in place of a model.

    Draws around a centre are weighed by exp(Q_w / T), and their mean is the next centre; the width stays. Control
    rather than sampling: between two modes it acts on their mean. Its draw is one of the last ones, by its weight.

    Source: Williams et al. 2017, "Information Theoretic MPC for Model-Based Reinforcement Learning", algorithm 1.
    """

    def __init__(self, composed: ComposedQ, rounds: int = 4, draws: int = 64, seed: int = 0) -> None:
        """Args: composed: what is acted on; rounds: of draws, each of so many."""
        self._composed, self._rounds, self._draws = composed, rounds, draws
        self._generator = torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def __call__(self, observation: np.ndarray, weights: Tensor, temperature: float) -> Answer:
        """See `Sampler`."""
        composed = self._composed
        seen = composed.normalized(observation)
        centre, std = _wide_gaussian(composed, seen, weights)
        for _ in range(self._rounds):
            noise = torch.randn(len(centre), self._draws, centre.shape[-1], generator=self._generator)
            u = centre[:, None] + std[:, None] * noise  # (B, K, d)
            # w_k proportional to exp(Q_w(s, tanh u_k) / T)
            share = torch.softmax(composed.q(seen, torch.tanh(u), weights) / temperature, dim=1)  # (B, K)
            centre = (share[..., None] * u).sum(dim=1)  # u <- sum_k w_k u_k
        taken = torch.multinomial(share, 1, generator=self._generator)[:, 0]
        return Answer(torch.tanh(centre), torch.tanh(u[torch.arange(len(u)), taken]))


def _wide_gaussian(composed: ComposedQ, seen: Sequence[Tensor], weights: Tensor) -> tuple[Tensor, Tensor]:
    """The product's mean, and a standard deviation as wide as the skills are apart and each by itself, (B, d) each."""
    mean, log_std = composed.gaussians(seen)
    centre, _ = product_of_gaussians(mean, log_std, weights)
    w = weights.view(-1, 1, 1)
    return centre, (w * ((mean - centre).square() + torch.exp(2.0 * log_std))).sum(dim=0).sqrt()


def samplers(composed: ComposedQ) -> Mapping[str, Sampler]:
    """All of them by name, each with its default settings; the last is the truth that the others approach."""
    return {
        "product": ProductSampler(composed),
        "candidates": ImportanceSampler(composed),
        "svgd": ParticleSampler(composed),
        "mala": ParticleSampler(composed, mala=True),
        "cem": CrossEntropySampler(composed),
        "mppi": PathIntegralSampler(composed),
        "reference": ImportanceSampler(composed, REFERENCE_DRAWS),
    }


class SamplerFigures(NamedTuple):
    """One row of the table."""

    best_q: float
    """Mean Q_w of the deterministic action above that of the product's mean, nats."""
    best_error: float
    """Standard error of it over the observations, nats."""
    sample_q: float
    """The same of the sampled action; a sampler of exp(Q_w / T) has that of `reference`."""
    sample_error: float
    milliseconds: float
    """Of one decision in torch, on one observation."""


def compare_samplers(
    composed: ComposedQ, observation: np.ndarray, weights: Tensor, temperature: float
) -> dict[str, SamplerFigures]:
    """What each sampler reaches over raw observations (B, O)."""
    seen = composed.normalized(observation)

    @torch.no_grad()
    def nats(action: Tensor) -> Tensor:
        return composed.q(seen, action[:, None], weights)[:, 0] / temperature

    base = nats(ProductSampler(composed)(observation, weights, temperature).action)
    table = {}
    for name, sampler in samplers(composed).items():
        answer = sampler(observation, weights, temperature)
        best, drawn = nats(answer.action) - base, nats(answer.sampled_action) - base
        taken = []
        for row in observation[:3]:
            start = time.perf_counter()
            sampler(row[None], weights, temperature)
            taken.append(time.perf_counter() - start)
        root = max(len(base) - 1, 1) ** 0.5
        table[name] = SamplerFigures(
            float(best.mean()),
            float(best.std(correction=0)) / root,
            float(drawn.mean()),
            float(drawn.std(correction=0)) / root,
            1e3 * min(taken),
        )
    return table
