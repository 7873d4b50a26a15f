"""Residual feed-forward networks of actor and critics, whose wider versions learn better and not worse.

A linear layer to the width h; blocks x + W2 relu(W1 norm(x)) with an inner width of 4 h; a normalisation; a linear
head. So there is a linear path from input to head, and what is learnt first is simple.

Source: Lee et al. 2024, "SimBa: Simplicity Bias for Scaling Up Parameters in Deep RL" (arXiv 2410.09754).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from robot_rl.algorithms.actors import draw_orthogonal
from robot_rl.algorithms.networks import StackedLayerNorm, StackedLinear, in_float32, stacked_values

INNER = 4
"""Width inside a block over the width of the network."""


class ResidualBlock(nn.Module):
    """x + W2 relu(W1 norm(x))."""

    def __init__(self, width: int, generator: torch.Generator) -> None:
        """Draws the weights from `generator`, each of variance 2 / inputs (He et al. 2015)."""
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, INNER * width)
        self.narrow = nn.Linear(INNER * width, width)
        for layer in (self.wide, self.narrow):
            _draw_he(layer.weight, layer.in_features, generator)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., h) to (..., h)."""
        return x + self.narrow(torch.relu(self.wide(self.norm(x))))


class ResidualActor(nn.Module):
    """Maps a normalised observation to the Gaussian under the tanh."""

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        hidden_sizes: Sequence[int],
        log_std_bounds: tuple[float, float],
        generator: torch.Generator,
    ) -> None:
        """Draws the weights from `generator`; the arguments are those of `Actor`, one block for each hidden size."""
        super().__init__()
        self.log_std_min, self.log_std_max = log_std_bounds
        width = hidden_sizes[0]
        self.embedding = nn.Linear(observation_size, width)
        self.blocks = nn.ModuleList(ResidualBlock(width, generator) for _ in hidden_sizes)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 2 * action_size)
        for layer in (self.embedding, self.head):
            draw_orthogonal(layer, 1.0, generator)
            nn.init.zeros_(layer.bias)

    def forward(self, normalized_observation: Tensor) -> tuple[Tensor, Tensor]:
        """The Gaussian of the pre-tanh action: mean and log_std, (..., A) each, for observations (..., O)."""
        x = self.embedding(normalized_observation)
        for block in self.blocks:
            x = block(x)
        mean, log_std = in_float32(self.head, self.norm(x)).chunk(2, dim=-1)
        return mean, log_std.clamp(self.log_std_min, self.log_std_max)


class StackedResidualBlock(nn.Module):
    """The block of C critics: x_c + W2_c relu(W1_c norm_c(x_c))."""

    def __init__(self, count: int, width: int, generator: torch.Generator) -> None:
        """Draws the weights from `generator`, each of variance 2 / inputs (He et al. 2015)."""
        super().__init__()
        self.norm = StackedLayerNorm(count, width)
        self.wide = StackedLinear(count, width, INNER * width, generator)
        self.narrow = StackedLinear(count, INNER * width, width, generator)
        for layer in (self.wide, self.narrow):
            _draw_he(layer.weight, layer.weight.shape[1], generator)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(C, B, h) to (C, B, h)."""
        return x + self.narrow(torch.relu(self.wide(self.norm(x))))


class ResidualCritics(nn.Module):
    """C Q-functions of the same shape and independent weights."""

    def __init__(
        self,
        count: int,
        observation_size: int,
        action_size: int,
        hidden_sizes: Sequence[int],
        generator: torch.Generator,
    ) -> None:
        """Draws the weights from `generator`; the arguments are those of `Critics`, one block for each hidden size."""
        super().__init__()
        self.count = count
        width = hidden_sizes[0]
        self.embedding = StackedLinear(count, observation_size + action_size, width, generator)
        self.blocks = nn.ModuleList(StackedResidualBlock(count, width, generator) for _ in hidden_sizes)
        self.norm = StackedLayerNorm(count, width)
        self.head = StackedLinear(count, width, 1, generator)

    def forward(self, normalized_observation: Tensor, action: Tensor) -> Tensor:
        """Q_c(s, a) of all critics, (C, B), for (B, O) and (B, A)."""
        x = torch.cat([normalized_observation, action], dim=-1).expand(self.count, -1, -1)  # (C, B, O + A)
        x = self.embedding(x)  # (C, B, h)
        for block in self.blocks:
            x = block(x)
        return stacked_values(self.norm(x), self.head)  # (C, B)


@torch.no_grad()
def _draw_he(weight: Tensor, inputs: int, generator: torch.Generator) -> None:
    weight.copy_(math.sqrt(2.0 / inputs) * torch.randn(weight.shape, generator=generator))
