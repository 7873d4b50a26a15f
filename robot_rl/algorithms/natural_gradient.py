"""The pieces of the natural gradient: Fisher-vector products, conjugate gradients, a step of given KL, backtracking.

The Fisher matrix H is the Hessian of the mean KL(pi_old || pi) at pi = pi_old. It is as wide as the policy has weights,
so it is never written down: products with it are two backward passes. Parameters are seen as one flat vector, (P,).

Sources: Kakade 2001, "A Natural Policy Gradient"; Schulman et al. 2015 (arXiv 1502.05477), appendix C; Hestenes and
Stiefel 1952 for conjugate gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]
"""v -> H v, for v (P,)."""


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """All entries of some tensors as one vector, (P,); a copy."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


@torch.no_grad()
def assign(parameters: Sequence[Tensor], flat: Tensor) -> None:
    """Writes a vector (P,) into parameters, the inverse of `flatten`."""
    for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.copy_(part.view_as(parameter))


def fisher_vector_product(kl: Tensor, parameters: Sequence[Tensor], damping: float = 0.0) -> Product:
    """Products with H + damping I, without H.

    Args:
        kl: mean KL(pi_old || pi_theta), (), at theta = theta_old, a function of the parameters.
        parameters: theta.
        damping: added to the diagonal, since with few samples some directions seem to cost nothing.

    Returns:
        v -> H v + damping v.
    """
    slope = flatten(torch.autograd.grad(kl, parameters, create_graph=True))  # (P,), zero here but not beside here

    def product(vector: Tensor) -> Tensor:
        # H v = d/dtheta (dKL/dtheta . v)
        hessian = torch.autograd.grad(slope @ vector, parameters, retain_graph=True)
        return flatten(hessian) + damping * vector

    return product


@torch.no_grad()
def conjugate_gradients(product: Product, b: Tensor, iterations: int, tolerance: float = 1e-10) -> Tensor:
    """Solves H x = b for a positive definite H, by products alone.

    Args:
        product: v -> H v.
        b: (P,).
        iterations: at most so many; P of them are exact but for rounding.
        tolerance: of |b - H x|^2, relative to |b|^2.

    Returns:
        x, (P,).
    """
    x = torch.zeros_like(b)
    residual, direction = b.clone(), b.clone()  # r = b - H x
    square = residual @ residual
    least = tolerance * square
    for _ in range(iterations):
        if square <= least:
            break
        with torch.enable_grad():
            image = product(direction)
        step = square / (direction @ image)
        x += step * direction
        residual -= step * image
        before, square = square, residual @ residual
        direction = residual + (square / before) * direction
    return x


def step_to_limit(direction: Tensor, image: Tensor, limit: float) -> Tensor:
    """The multiple of a direction at which KL, as a quadratic form, is at its limit.

    Args:
        direction: x, (P,).
        image: H x, (P,).
        limit: delta, nats.

    Returns:
        sqrt(2 delta / x' H x) x, (P,); zero where x is.
    Source: Schulman et al. 2015, appendix C.
    """
    curvature = direction @ image
    if not curvature > 0:
        return torch.zeros_like(direction)
    return (2.0 * limit / curvature).sqrt() * direction


@dataclass(frozen=True)
class Accepted:
    """What a line search came to."""

    fraction: float
    """Of the full step; 0 where none was good."""
    improvement: float
    """Of the objective."""
    kl: float
    """Nats."""


def backtrack(
    evaluate: Callable[[float], tuple[float, float]], limit: float, shrink: float, attempts: int
) -> Accepted:
    """The longest of the steps 1, s, s^2 ... that improves the objective and keeps to the limit.

    Args:
        evaluate: fraction of the full step -> improvement of the objective over no step, and KL, nats.
        limit: delta, nats.
        shrink: s, in (0, 1).
        attempts: how many steps are tried.

    Returns:
        What was accepted; NaN counts as bad.
    """
    for attempt in range(attempts):
        fraction = shrink**attempt
        improvement, kl = evaluate(fraction)
        if improvement > 0 and kl <= limit:
            return Accepted(fraction, improvement, kl)
    return Accepted(0.0, 0.0, 0.0)
