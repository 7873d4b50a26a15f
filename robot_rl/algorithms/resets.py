"""Periodic resets: new weights now and then, while the replay stays.

What a network learns from its first transitions it does not easily unlearn, all the less with many updates per step. A
network that begins again learns from everything in the replay, and soon does better than it did.

Source: Nikishin et al. 2022, "The Primacy Bias in Deep Reinforcement Learning" (arXiv 2205.07802).
"""

from __future__ import annotations

import torch
from torch import nn

from robot_rl.algorithms.adam import Adam


@torch.no_grad()
def reset_network(network: nn.Module, fresh: nn.Module, adam: Adam | None = None) -> None:
    """Gives a network the weights and statistics of `fresh`, in place, and its optimiser no memory.

    Args:
        network: to be reset.
        fresh: one of the same shape.
        adam: of its weights, if it has one.
    """
    new = {**dict(fresh.named_parameters()), **dict(fresh.named_buffers())}
    for name, tensor in {**dict(network.named_parameters()), **dict(network.named_buffers())}.items():
        tensor.copy_(new[name])
    if adam is not None:
        adam.restart()
