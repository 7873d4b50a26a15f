"""The policy of an energy: draws of a sampler that follows exp(Q / alpha), and the best of a few as its mode."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robot_rl.algorithms.networks import Critics, Sampler

BLOCK = 512
"""Observations whose candidates are compared at once; bounds the memory."""


def lowest_q(critics: Critics, normalized_observation: Tensor, action: Tensor) -> Tensor:
    """The least Q of all critics for several actions per state.

    Args:
        critics: any number of them.
        normalized_observation: (B, O).
        action: in [-1, 1], (B, N, A).

    Returns:
        min_c Q_c(s, a_i), (B, N).
    """
    states, count, size = action.shape
    rows = normalized_observation[:, None].expand(-1, count, -1).reshape(states * count, -1)  # (B N, O)
    q = critics(rows, action.reshape(states * count, size))  # (C, B N)
    return q.amin(dim=0).view(states, count)


class EnergyPolicy(nn.Module):
    """What acts: one draw of the sampler, or, without noise, the best by Q of a fixed set of draws.

    The draw of noise zero would be no mode: between two good actions it is neither. So the deterministic policy looks
    at K draws, from noise that is kept with the weights, and takes the one that the critics like best.
    """

    candidates: Tensor

    def __init__(self, sampler: Sampler, critics: Critics, candidates: Tensor) -> None:
        """Shares the networks with the learner.

        Args:
            sampler: of pre-tanh actions.
            critics: that rank them.
            candidates: noise of the K draws, (K, A).
        """
        super().__init__()
        self.sampler = sampler
        self.critics = critics
        self.register_buffer("candidates", candidates)

    def pre_tanh(self, normalized_observation: Tensor, noise: Tensor | None = None) -> Tensor:
        """The pre-tanh action.

        Args:
            normalized_observation: (..., O).
            noise: draws of N(0, I), (..., A); None for the deterministic policy.

        Returns:
            u, (..., A).
        """
        if noise is not None:
            return self.sampler(normalized_observation, noise[..., None, :]).squeeze(-2)
        rows = normalized_observation.reshape(-1, normalized_observation.shape[-1])  # (B, O)
        best = [self._best(block) for block in rows.split(BLOCK)]
        return torch.cat(best).view(*normalized_observation.shape[:-1], -1)

    def ranked(self, normalized_observation: Tensor) -> tuple[Tensor, Tensor]:
        """The K candidates for observations (B, O): pre-tanh actions (B, K, A) and their Q (B, K)."""
        u = self.sampler(normalized_observation, self.candidates)  # (B, K, A)
        return u, lowest_q(self.critics, normalized_observation, torch.tanh(u))

    def _best(self, rows: Tensor) -> Tensor:
        u, q = self.ranked(rows)
        return u[torch.arange(len(rows)), q.argmax(dim=-1)]
