"""RMSprop over a list of tensors, with statistics that several processes can share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class RMSprop:
    """Gradient steps divided by the root of a running mean of squares (Tieleman and Hinton 2012), updated in place.

    Attributes:
        tensors: what must be saved to go on as before: "square/<name>".
    """

    def __init__(self, parameters: dict[str, nn.Parameter], learning_rate: float, decay: float, eps: float) -> None:
        """Starts with squares of zero."""
        self.parameters: list[Tensor] = list(parameters.values())
        self.learning_rate = learning_rate
        self.decay = decay
        self.eps = eps
        self._squares = [torch.zeros_like(parameter.detach()) for parameter in self.parameters]
        self.tensors: dict[str, Tensor] = {
            f"square/{name}": square for name, square in zip(parameters, self._squares, strict=True)
        }

    @torch.no_grad()
    def apply(self, gradients: Sequence[Tensor]) -> None:
        """One step down gradients that may have been computed elsewhere."""
        for parameter, gradient, square in zip(self.parameters, gradients, self._squares, strict=True):
            # g <- d g + (1 - d) dtheta^2;  theta <- theta - lr dtheta / sqrt(g + eps)
            square.mul_(self.decay).addcmul_(gradient, gradient, value=1.0 - self.decay)
            parameter.addcdiv_(gradient, (square + self.eps).sqrt_(), value=-self.learning_rate)
