"""The critic of on-policy learners: V(s), in a unit that follows the size of the returns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from robot_rl.algorithms.actors import draw_orthogonal

WINDOW = 20_000
"""Targets over which the unit is a mean, once there were so many."""
LEAST_UNIT = 1e-3
"""Where all rewards are zero, the unit must not be."""


class StateValue(nn.Module):
    """V(s) = unit * network(s), tanh layers; the unit is the root mean square of the targets.

    So the network's own output stays near one, whatever the rewards are, and one step size suits all tasks. When the
    unit changes, the last layer changes too, such that no value does (van Hasselt et al. 2016, arXiv 1602.07714).
    """

    unit: Tensor
    count: Tensor

    def __init__(self, observation_size: int, hidden_sizes: Sequence[int], generator: torch.Generator) -> None:
        """Draws orthogonal weights from `generator`; `hidden_sizes` are the widths of the tanh layers."""
        super().__init__()
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise([observation_size, *hidden_sizes]))
        self.head = nn.Linear(hidden_sizes[-1], 1)
        for layer in self.hidden:
            assert isinstance(layer, nn.Linear)
            draw_orthogonal(layer, math.sqrt(2.0), generator)
        draw_orthogonal(self.head, 1.0, generator)
        self.register_buffer("unit", torch.ones(()))
        self.register_buffer("count", torch.zeros(()))

    def in_units(self, normalized_observation: Tensor) -> Tensor:
        """V(s) / unit, (...), for observations (..., O)."""
        x = normalized_observation
        for layer in self.hidden:
            x = torch.tanh(layer(x))
        return self.head(x).squeeze(-1)

    def forward(self, normalized_observation: Tensor) -> Tensor:
        """V(s), reward units, (...), for observations (..., O)."""
        return self.unit * self.in_units(normalized_observation)

    @torch.no_grad()
    def rescale(self, target: Tensor) -> None:
        """Moves the unit towards the root mean square of targets (T,), and changes no value."""
        self.count += len(target)
        weight = len(target) / self.count.clamp(max=WINDOW)
        square = self.unit.square().lerp(target.square().mean(), weight.clamp(max=1.0))
        new = square.sqrt().clamp(min=LEAST_UNIT)
        self.head.weight.mul_(self.unit / new)
        self.head.bias.mul_(self.unit / new)
        self.unit.copy_(new)


def value_loss(critic: StateValue, normalized_observation: Tensor, target: Tensor) -> Tensor:
    """J_V = 1/2 mean ((V(s) - R) / unit)^2, for observations (B, O) and targets R (B,)."""
    return 0.5 * (critic.in_units(normalized_observation) - target / critic.unit).square().mean()
