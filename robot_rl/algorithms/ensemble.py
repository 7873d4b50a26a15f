"""More critics than two: what is drawn from an ensemble, and what is left out of its members.

- REDQ: N critics; the target takes the least of a random subset of M, the actor the mean of all (Chen et al. 2021,
  "Randomized Ensembled Double Q-Learning", arXiv 2101.05982).
- DroQ: two critics whose dropout stands for an ensemble (Hiraoka et al. 2022, "Dropout Q-Functions for Doubly Efficient
  Reinforcement Learning", arXiv 2110.02034).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def lowest(q: Tensor) -> Tensor:
    """min_c Q_c, (B,), for q (C, B)."""
    return torch.minimum(q[0], q[1]) if len(q) == 2 else q.amin(dim=0)


def random_subset(count: int, size: int, generator: torch.Generator) -> Tensor:
    """`size` different indices out of `count`, every subset as likely, (M,)."""
    return torch.randperm(count, generator=generator)[:size]


def kept_units(
    probability: float, passes: int, count: int, batch: int, widths: Sequence[int], generator: torch.Generator
) -> list[list[Tensor]]:
    """What each pass through the critics multiplies its hidden units by.

    Args:
        probability: p with which a unit is left out, in (0, 1).
        passes: number of passes.
        count: C.
        batch: B.
        widths: of the hidden layers.
        generator: of the draws.

    Returns:
        For every pass and hidden layer (C, B, width): 0 with probability p, otherwise 1 / (1 - p), so that the mean
        is 1.
    """
    keep = 1.0 - probability
    return [
        [torch.empty(count, batch, width).bernoulli_(keep, generator=generator).div_(keep) for width in widths]
        for _ in range(passes)
    ]
