"""Actors beside the one of soft actor-critic: a deterministic one, and a Gaussian one for policy gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from robot_rl.algorithms.networks import draw_weights


class DeterministicActor(nn.Module):
    """Maps a normalised observation to one action; what explores is added to it."""

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        hidden_sizes: Sequence[int],
        noise: float,
        generator: torch.Generator,
    ) -> None:
        """Draws the weights from `generator`.

        Args:
            observation_size: number of entries O of an observation.
            action_size: number of entries A of an action.
            hidden_sizes: widths of the ReLU layers.
            noise: standard deviation of what is added to the action in order to explore.
            generator: source of the initial weights.
        """
        super().__init__()
        self.noise = noise
        sizes = [observation_size, *hidden_sizes]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.head = nn.Linear(sizes[-1], action_size)
        draw_weights([*self.hidden, self.head], generator)

    def forward(self, normalized_observation: Tensor) -> Tensor:
        """mu(s) in [-1, 1], (..., A), for observations (..., O)."""
        x = normalized_observation
        for layer in self.hidden:
            x = torch.relu(layer(x))
        return torch.tanh(self.head(x))

    def explore(self, action: Tensor, noise: Tensor) -> Tensor:
        """clip(a + noise std * noise, -1, 1), for draws of N(0, I) of the action's shape."""
        return (action + self.noise * noise).clamp(-1.0, 1.0)


class GaussianActor(nn.Module):
    """The Gaussian under the tanh with one spread for all states, as policy gradients have it; tanh layers."""

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        hidden_sizes: Sequence[int],
        initial_log_std: float,
        generator: torch.Generator,
    ) -> None:
        """Draws orthogonal weights from `generator`, the head's so small that the first policy is the same everywhere.

        Args:
            observation_size: number of entries O of an observation.
            action_size: number of entries A of an action.
            hidden_sizes: widths of the tanh layers.
            initial_log_std: log standard deviation of the pre-tanh action at the start.
            generator: source of the initial weights.
        """
        super().__init__()
        sizes = [observation_size, *hidden_sizes]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.head = nn.Linear(sizes[-1], action_size)
        for layer in self.hidden:
            assert isinstance(layer, nn.Linear)
            draw_orthogonal(layer, math.sqrt(2.0), generator)
        draw_orthogonal(self.head, 0.01, generator)
        self.log_std = nn.Parameter(torch.full((action_size,), initial_log_std))

    def forward(self, normalized_observation: Tensor) -> tuple[Tensor, Tensor]:
        """The Gaussian of the pre-tanh action: mean and log_std, (..., A) each, for observations (..., O)."""
        x = normalized_observation
        for layer in self.hidden:
            x = torch.tanh(layer(x))
        mean = self.head(x)
        return mean, self.log_std.expand_as(mean)


def draw_orthogonal(layer: nn.Linear, gain: float, generator: torch.Generator) -> None:
    """Orthonormal rows or columns times `gain`, bias zero: signals keep their size (Saxe et al. 2014)."""
    rows, columns = layer.weight.shape
    square = torch.randn(max(rows, columns), min(rows, columns), generator=generator)
    q, r = torch.linalg.qr(square)
    q = q * r.diagonal().sign()  # so that every orthogonal matrix is as likely
    with torch.no_grad():
        layer.weight.copy_(gain * (q if rows >= columns else q.T))
        layer.bias.zero_()
