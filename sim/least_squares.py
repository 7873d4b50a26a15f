"""Gauss-Newton with Levenberg's damping, and what its result is worth when residuals are not independent.

A residual is measured minus simulated, a matrix (T, C) for each stretch of time: T samples, C columns, such as a
sensor of a joint each. Every column has its own deviation, which is found on the way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

Residuals = Sequence[Array]
"""(T_l, C_l) of each stretch l."""
Slopes = Sequence[Array]
"""(P, T_l, C_l): derivative of the simulated motion by each unknown."""

_STEPS = 15
"""Gauss-Newton steps at most."""
_SMALL = 0.02
"""Step, in standard deviations of the result, after which nothing is gained any more."""
_TRIES = 6
"""Dampings that are tried before the fit is said to have arrived."""


@dataclass(frozen=True)
class Fit:
    """Where a fit arrived."""

    x: Array
    """(P,), unknowns in units of their scales."""
    residuals: Residuals
    slopes: Slopes
    """At `x`."""
    deviations: Sequence[Array]
    """(C_l,) of each column of each stretch."""
    at_bound: NDArray[np.bool_]
    """(P,) bool: whether the data would have it lower than it may be."""
    steps: int

    @property
    def information(self) -> Array:
        """J^T W J, (P, P), without the prior."""
        return sum(
            np.einsum("ptc,qtc->pq", slope / sigma, slope / sigma, optimize=True)
            for slope, sigma in zip(self.slopes, self.deviations, strict=True)
        )  # type: ignore[return-value]


def gauss_newton(
    residuals_at: Callable[[Array], Residuals | None],
    slopes_at: Callable[[Array, Residuals], Slopes],
    start: Array,
    lower: Array,
    floors: Sequence[Array],
    prior: float,
) -> Fit:
    """Minimises the sum over columns of squared residuals in units of the column's deviation.

    (J^T W J + prior + mu D) step = J^T W r - prior (x - start), with D the diagonal of what stands before it. After
    every step each deviation is the root mean square of its column's residuals, at least its floor.

    Args:
        residuals_at: measured minus simulated; None where the simulation fails.
        slopes_at: derivatives of the simulated motion, given the residuals there.
        start: (P,), in units of the unknowns' scales; it has to be a point where the simulation works.
        lower: (P,), least values; -inf where there is none.
        floors: (C_l,) least deviation of each column, which is the sensor's own.
        prior: information, per scale^2, that each unknown is where it starts.

    Returns:
        The fit.

    Raises:
        ValueError: the simulation fails at the start.
    """
    x, damping = np.maximum(start, lower), 1e-3
    residuals = residuals_at(x)
    if residuals is None:
        raise ValueError("the simulation fails with the numbers that the fit begins with")
    deviations = _deviations(residuals, floors)
    slopes, steps, arrived = slopes_at(x, residuals), 0, False
    while steps < _STEPS and not arrived:
        steps += 1
        information, gradient = _normal_equations(residuals, slopes, deviations)
        information = information + prior * np.eye(len(x))
        gradient = gradient - prior * (x - start)
        free = ~((x <= lower) & (gradient < 0.0))
        cost = _cost(residuals, deviations, prior, x - start)
        arrived = True
        for _ in range(_TRIES):
            step = np.zeros(len(x))
            damped = information + damping * np.diag(np.diag(information))
            step[free] = np.linalg.solve(damped[np.ix_(free, free)], gradient[free])
            tried = np.maximum(x + step, lower)
            found = residuals_at(tried)
            if found is not None and _cost(found, deviations, prior, tried - start) < cost:
                deviation = np.sqrt(np.diag(np.linalg.inv(information)))
                arrived = bool((np.abs(tried - x) <= _SMALL * deviation).all())
                x, residuals, damping = tried, found, 0.1 * damping
                break
            damping *= 10.0
        before, deviations = deviations, _deviations(residuals, floors)
        # A fit has not arrived while the columns' weights still change.
        moved = max(float(np.abs(new / old - 1.0).max()) for new, old in zip(deviations, before, strict=True))
        arrived = arrived and moved < 0.05
        slopes = slopes_at(x, residuals)
    gradient = _normal_equations(residuals, slopes, deviations)[1]
    return Fit(x, residuals, slopes, deviations, (x <= lower) & (gradient < 0.0), steps)


def covariance(fit: Fit, windows: Sequence[int]) -> Array:
    """Covariance of the unknowns, honest where residuals follow each other.

    H^-1 S H^-1 with H = J^T W J and S the long-run covariance of the scores s_t = J_t^T W r_t. Independent residuals
    give H^-1, and no deviation is less than what H^-1 has: a column is not trusted beyond its floor.

    Args:
        fit: of all unknowns.
        windows: samples up to which residuals of each stretch may follow each other.

    Returns:
        (P, P), in units of the scales squared.

    Source: Newey and West 1987 (Econometrica 55).
    """
    inverse = inverse_of(fit.information)
    long_run = np.zeros_like(inverse)
    for residual, slope, sigma, window in zip(fit.residuals, fit.slopes, fit.deviations, windows, strict=True):
        scores = np.einsum("ptc,tc->tp", slope / sigma, residual / sigma, optimize=True)  # (T, P)
        # A fit takes from the sums over windows what it could fit: of T samples about one window's worth.
        long_run += long_run_covariance(scores, window) * len(scores) / max(1, len(scores) - window)
    found = inverse @ long_run @ inverse
    widened = np.sqrt(np.maximum(1.0, np.diag(inverse) / np.maximum(np.diag(found), 1e-300)))
    return found * np.outer(widened, widened)


def long_run_covariance(scores: Array, window: int) -> Array:
    """Covariance of the sum over time of scores (T, P) that may be correlated up to `window` samples, (P, P).

    The mean over all windows of that length of the outer product of the window's sum: Bartlett's kernel.
    """
    window = max(1, min(window, len(scores)))
    padded = np.zeros((len(scores) + 2 * window - 1, scores.shape[1]))
    padded[window : window + len(scores)] = scores
    sums = np.cumsum(padded, axis=0)
    blocks = sums[window:] - sums[:-window]
    return blocks.T @ blocks / window


def student_quantile(confidence: float, degrees: float) -> float:
    """Half the width of a two-sided interval of Student's t, in deviations; for some ten degrees of freedom and more.

    Source: Cornish and Fisher's expansion (Abramowitz and Stegun 26.7.5), three terms.
    """
    z = NormalDist().inv_cdf(0.5 * (1.0 + confidence))
    first = (z**3 + z) / 4.0
    second = (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / 96.0
    third = (3.0 * z**7 + 19.0 * z**5 + 17.0 * z**3 - 15.0 * z) / 384.0
    return z + first / degrees + second / degrees**2 + third / degrees**3


def inverse_of(information: Array) -> Array:
    """The inverse of a symmetric matrix that may be nearly singular; large, never negative, where it is."""
    # Scaled to a unit diagonal first, so that what is small is small by comparison.
    size = np.sqrt(np.maximum(np.diag(information), 1e-300))
    values, vectors = np.linalg.eigh(information / np.outer(size, size))
    inverse = (vectors / np.maximum(values, 1e-12)) @ vectors.T
    return inverse / np.outer(size, size)


def _normal_equations(residuals: Residuals, slopes: Slopes, deviations: Sequence[Array]) -> tuple[Array, Array]:
    """J^T W J and J^T W r."""
    parts = []
    for residual, slope, sigma in zip(residuals, slopes, deviations, strict=True):
        scaled = (slope / sigma).reshape(len(slope), -1)
        parts.append((scaled @ scaled.T, scaled @ (residual / sigma).ravel()))
    return sum(part[0] for part in parts), sum(part[1] for part in parts)  # type: ignore[return-value]


def _deviations(residuals: Residuals, floors: Sequence[Array]) -> list[Array]:
    return [
        np.maximum(floor, np.sqrt(np.mean(residual**2, axis=0)))
        for residual, floor in zip(residuals, floors, strict=True)
    ]


def _cost(residuals: Residuals, deviations: Sequence[Array], prior: float, from_start: Array) -> float:
    fit = sum(float(((r / sigma) ** 2).sum()) for r, sigma in zip(residuals, deviations, strict=True))
    cost = fit + prior * float(from_start @ from_start)
    return cost if math.isfinite(cost) else math.inf
