"""Kronecker factors of the curvature of a network, layer by layer.

A linear layer s = W a gets the gradient dW = g a', where g is the gradient of s. Its Fisher block is
E[(a a') (x) (g g')], and where a and g are independent that is E[a a'] (x) E[g g'] = A (x) S. Then F^-1 vec(dW) is
S^-1 dW A^-1: two small inverses in place of one that nobody could store. The bias is the weight of an input that is
always one.

Source: Martens and Grosse 2015, "Optimizing Neural Networks with Kronecker-factored Approximate Curvature" (arXiv
1503.05671), sections 2 to 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def linear_layers(network: Any) -> list[nn.Linear]:
    """The layers of a network with `hidden` and `head`, in order."""
    return [*network.hidden, network.head]


def traced(network: Any, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Runs a network of tanh layers and keeps what passes through.

    Args:
        network: with `hidden` and `head`.
        x: normalised observations, (B, O).

    Returns:
        Input a of each layer with a one behind it, (B, I + 1), and its output s before the tanh, (B, J).
    """
    inputs, outputs = [], []
    for layer in linear_layers(network):
        inputs.append(torch.cat([x, torch.ones_like(x[:, :1])], dim=1).detach())
        outputs.append(layer(x))
        x = torch.tanh(outputs[-1])
    return inputs, outputs


def second_moment(rows: Tensor) -> Tensor:
    """E[x x'], (n, n), for rows (B, n)."""
    return rows.T @ rows / len(rows)


def joined(layer_gradients: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of weight (J, I) and bias (J,), weight and bias in turn, as one matrix (J, I + 1) per layer."""
    pairs = zip(layer_gradients[::2], layer_gradients[1::2], strict=True)
    return [torch.cat([weight, bias[:, None]], dim=1) for weight, bias in pairs]


def separated(matrices: Sequence[Tensor]) -> list[Tensor]:
    """The inverse of `joined`."""
    return [part for matrix in matrices for part in (matrix[:, :-1], matrix[:, -1])]


def damped(a: Tensor, s: Tensor, damping: float) -> tuple[Tensor, Tensor]:
    """A + pi sqrt(damping) I and S + sqrt(damping) / pi I, whose product is near A (x) S + damping I.

    Args:
        a: A, (I, I).
        s: S, (J, J).
        damping: >= 0.

    Returns:
        (I, I) and (J, J).
    Source: Martens and Grosse 2015, section 6.3: pi^2 is the ratio of the mean eigenvalues.
    """
    balance = ((a.diagonal().mean() + 1e-12) / (s.diagonal().mean() + 1e-12)).sqrt()
    root = damping**0.5

    def raised(matrix: Tensor, addition: Tensor) -> Tensor:
        return matrix + addition * torch.eye(len(matrix), dtype=matrix.dtype)

    return raised(a, root * balance), raised(s, root / balance)


def solve(a: Tensor, s: Tensor, gradient: Tensor) -> Tensor:
    """S^-1 dW A^-1, (J, I), for dW (J, I) and factors that are positive definite."""
    left = torch.cholesky_solve(gradient, torch.linalg.cholesky(s))  # S^-1 dW
    return torch.cholesky_solve(left.T, torch.linalg.cholesky(a)).T


class KroneckerFactors:
    """Running means of A and S of every layer of one network.

    Attributes:
        tensors: what must be saved to go on as before: "count", "inputs/<i>" and "gradients/<i>".
    """

    def __init__(self, network: Any, decay: float, damping: float) -> None:
        """Starts from nothing seen.

        Args:
            network: with `hidden` and `head`.
            decay: share of the past that stays at an update.
            damping: see `damped`.
        """
        self.decay = decay
        self.damping = damping
        layers = linear_layers(network)
        self._inputs = [torch.zeros(layer.in_features + 1, layer.in_features + 1) for layer in layers]
        self._gradients = [torch.zeros(layer.out_features, layer.out_features) for layer in layers]
        self._count = torch.zeros(())
        self.tensors: dict[str, Tensor] = {"count": self._count}
        self.tensors |= {f"inputs/{index}": tensor for index, tensor in enumerate(self._inputs)}
        self.tensors |= {f"gradients/{index}": tensor for index, tensor in enumerate(self._gradients)}

    @torch.no_grad()
    def observe(self, inputs: Sequence[Tensor], output_gradients: Sequence[Tensor]) -> None:
        """A <- decay A + (1 - decay) E[a a'], S likewise; see `traced`.

        Args:
            inputs: a of each layer, (B, I + 1).
            output_gradients: of the log-likelihood of a draw from the model, for each row alone, (B, J).
        """
        self._count += 1
        # A mean that has seen n batches weighs them alike while n is small, so that zero at the start counts nothing.
        weight = max(1.0 - self.decay, 1.0 / float(self._count))
        for factors, rows in ((self._inputs, inputs), (self._gradients, output_gradients)):
            for factor, row in zip(factors, rows, strict=True):
                factor.lerp_(second_moment(row), weight)

    @torch.no_grad()
    def precondition(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """F^-1 g, damped: S^-1 dW A^-1 of every layer, for gradients of weight and bias in turn; in the same shapes."""
        return separated([solve(a, s, g) for a, s, g in zip(*self._damped(), joined(gradients), strict=True)])

    @torch.no_grad()
    def curvature(self, step: Sequence[Tensor]) -> float:
        """d' F d, damped: the sum of tr(D' S D A) over the layers, for steps of weight and bias in turn."""
        return sum(float((d * (s @ d @ a)).sum()) for a, s, d in zip(*self._damped(), joined(step), strict=True))

    def _damped(self) -> tuple[list[Tensor], list[Tensor]]:
        pairs = [damped(a, s, self.damping) for a, s in zip(self._inputs, self._gradients, strict=True)]
        return [a for a, _ in pairs], [s for _, s in pairs]
