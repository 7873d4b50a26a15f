"""Critics without target networks: batch renormalisation over (s, a) and (s', a') together.

Batch normalisation makes the two halves of a temporal difference look alike, if both go through the network in one
batch; then a target average is no longer needed (Bhatt et al. 2024, "CrossQ", arXiv 1902.05605). Renormalisation
bounds by how much the statistics of a batch may differ from their running average (Ioffe 2017, arXiv 1702.03275).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from robot_rl.algorithms.networks import StackedLinear, stacked_values

RATE = 0.01
"""Of the running statistics, one minus CrossQ's momentum."""
EPSILON = 1e-3
"""Added to a variance before its root."""
WARM_UP = 100_000
"""Batches of plain batch normalisation, as in CrossQ, in which the running statistics settle."""
GREATEST_RATIO = 3.0
"""r_max."""
GREATEST_SHIFT = 5.0
"""d_max."""


class StackedBatchRenorm(nn.Module):
    """Batch renormalisation of the features of C critics, each with statistics, gains and biases of its own."""

    mean: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(self, count: int, features: int) -> None:
        """Starts with gain 1, bias 0 and the statistics of the standard normal."""
        super().__init__()
        self.gain = nn.Parameter(torch.ones(count, 1, features))
        self.bias = nn.Parameter(torch.zeros(count, 1, features))
        self.register_buffer("mean", torch.zeros(count, 1, features))
        self.register_buffer("variance", torch.ones(count, 1, features))
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Normalises (C, B, F) by the running statistics and changes nothing."""
        return (x - self.mean) * torch.rsqrt(self.variance + EPSILON) * self.gain + self.bias

    def train_on(self, x: Tensor) -> Tensor:
        """Normalises (C, B, F) over B, with gradients through the batch's statistics, and moves the running ones."""
        # Both sums in one pass, and around a row of the batch: around zero, a mean that is large beside its deviation
        # would drown the difference of squares. One product and one sum per number: an update gains a third by it.
        first = x[:, :1].detach()  # (C, 1, F)
        x = x - first
        mean = x.mean(dim=1, keepdim=True)  # (C, 1, F)
        variance = (x.square().mean(dim=1, keepdim=True) - mean.square()).clamp(min=0.0)  # (C, 1, F)
        deviation = (variance + EPSILON).sqrt()
        with torch.no_grad():
            settled = (self.batches >= WARM_UP).to(x.dtype)  # (); 0 makes r = 1 and d = 0
            r_max, d_max = 1.0 + (GREATEST_RATIO - 1.0) * settled, GREATEST_SHIFT * settled
            running = (self.variance + EPSILON).sqrt()
            # r = clip(sigma_B / sigma, 1 / r_max, r_max);  d = clip((mu_B - mu) / sigma, -d_max, d_max)
            r = torch.clamp(deviation / running, 1.0 / r_max, r_max)
            d = torch.clamp((first + mean - self.mean) / running, -d_max, d_max)
            # mu <- mu + rate (mu_B - mu), and the variance likewise
            self.mean.lerp_(first + mean, RATE)
            self.variance.lerp_(variance, RATE)
            self.batches += 1
        # y = gain ((x - mu_B) / sigma_B r + d) + bias
        scale = self.gain * r / deviation
        return x * scale + (self.gain * d + self.bias - mean * scale)


class BatchRenormCritics(nn.Module):
    """C Q-functions whose every layer is preceded by batch renormalisation."""

    def __init__(
        self,
        count: int,
        observation_size: int,
        action_size: int,
        hidden_sizes: Sequence[int],
        generator: torch.Generator,
    ) -> None:
        """Draws the weights from `generator`; the arguments are those of `Critics`."""
        super().__init__()
        self.count = count
        sizes = [observation_size + action_size, *hidden_sizes]
        self.norms = nn.ModuleList(StackedBatchRenorm(count, size) for size in sizes)
        self.hidden = nn.ModuleList(StackedLinear(count, a, b, generator) for a, b in pairwise(sizes))
        self.head = StackedLinear(count, sizes[-1], 1, generator)

    def forward(self, normalized_observation: Tensor, action: Tensor) -> Tensor:
        """Q_c(s, a) by the running statistics, (C, B), for (B, O) and (B, A)."""
        return self._values(normalized_observation, action, train=False)

    def joint(
        self, observation: Tensor, action: Tensor, next_observation: Tensor, next_action: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Q_c(s, a) and Q_c(s', a'), (C, B) each, by one pass over both; moves the running statistics once."""
        both = torch.cat([observation, next_observation]), torch.cat([action, next_action])  # (2 B, O), (2 B, A)
        q, next_q = self._values(*both, train=True).chunk(2, dim=1)
        return q, next_q

    def _values(self, observation: Tensor, action: Tensor, train: bool) -> Tensor:
        x = torch.cat([observation, action], dim=-1).expand(self.count, -1, -1)  # (C, B, O + A)
        for index, norm in enumerate(self.norms):
            assert isinstance(norm, StackedBatchRenorm)
            if x.dtype == torch.bfloat16:
                x = x.float()  # statistics are float32 under autocast too
            x = norm.train_on(x) if train else norm(x)
            if index < len(self.hidden):
                x = torch.relu(self.hidden[index](x))
        return stacked_values(x, self.head)  # (C, B)
