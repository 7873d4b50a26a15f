"""Draws of a sampled action: where each comes from, and with which density."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

PHASE = 0.381966
"""Where in each stratum it is decided whose draw it is; no fraction, so that no weights lie on a border."""


class Draws(NamedTuple):
    """Draws with the density that they came from."""

    u: Tensor
    """Pre-tanh actions, (B, K, d)."""
    log_density: Tensor
    """log q(u) of the mixture, with respect to du, (B, K)."""


def strata(shares: Tensor, count: int) -> Tensor:
    """Which component of a mixture each of K draws is from, (K, C) of zeros and ones, by shares (C,) of sum one.

    The strata have fixed places, so that the same noise moves smoothly with the shares.
    """
    border = torch.cumsum(shares, dim=0)  # (C,)
    place = (torch.arange(count) + PHASE) / count  # (K,)
    before = (place[:, None] < border).to(shares.dtype)  # 1 from the draw's own component on
    before[:, -1] = 1.0
    return torch.diff(before, dim=1, prepend=torch.zeros(count, 1, dtype=shares.dtype))
