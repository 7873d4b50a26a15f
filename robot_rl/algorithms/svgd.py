"""Stein variational gradient descent: particles that become a sample of a density, and a network that draws them.

Of all directions in the unit ball of the kernel's space, a particle at u lowers KL(particles || p) fastest along

    phi(u) = mean_i[ k(u_i, u) grad log p(u_i) + grad_{u_i} k(u_i, u) ],

towards high density, and away from each other. Only the gradient of log p enters, so p needs no normalisation.

Actions live in a box. The particles are pre-tanh actions u, free in R^A, and the density of u is that of a = tanh(u)
times |da/du|: log p(u) = log p(a) + sum log(1 - tanh^2 u). In this space the box needs no bound and nothing leaves it.

Sources: Liu and Wang 2016 (arXiv 1608.04471); amortised: Haarnoja et al. 2017 (arXiv 1702.08165), section 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from robot_rl.algorithms.distributions import log_one_minus_tanh_squared
from robot_rl.errors import InvalidInput
from robot_rl.settings import check

LogDensity = Callable[[Tensor], Tensor]
"""Maps points (..., N, A) to log densities (..., N), up to a constant that is the same for all N."""

KERNELS = ("gaussian", "inverse_multiquadric")
BANDWIDTH_RULES = ("half_median", "median")

LEAST_BANDWIDTH = 1e-3
"""Particles that coincide have a median distance of zero, and would never part."""


@dataclass(frozen=True)
class Kernel:
    """A kernel k(x, y) of the squared distance |x - y|^2, with its bandwidth h."""

    shape: str = "gaussian"
    """gaussian: exp(-|x - y|^2 / h); inverse_multiquadric: (1 + |x - y|^2 / h)^(-1/2), with longer reach."""
    bandwidth: float | None = None
    """h, in squared units of the particles; None follows the median of the squared distances by the rule."""
    rule: str = "half_median"
    """half_median: h = med / (2 log(N + 1)), narrow enough to tell modes apart; median: h = med / log N, twice as wide;
    at least 1e-3 both."""
    factors: tuple[float, ...] = (1.0,)
    """Of h; the kernel is the mean of those with bandwidths factor * h. Narrow ones see the shape of a mode, wide ones
    that there are others."""

    def __post_init__(self) -> None:
        """Refuses what cannot work, by name."""
        check(
            self,
            "kernel",
            shape=(self.shape in KERNELS, f"one of {', '.join(KERNELS)}"),
            bandwidth=(self.bandwidth is None or self.bandwidth > 0, "positive, or none to follow the median"),
            rule=(self.rule in BANDWIDTH_RULES, f"one of {', '.join(BANDWIDTH_RULES)}"),
            factors=(len(self.factors) > 0 and all(f > 0 for f in self.factors), "one or more, positive"),
        )

    def width(self, squared_distance: Tensor) -> Tensor:
        """The bandwidth for N particles seen from M points.

        Args:
            squared_distance: (..., N, M).

        Returns:
            h, (..., 1, 1), without gradient.

        Raises:
            InvalidInput: the bandwidth follows the median and N is 1.
        """
        if self.bandwidth is not None:
            return torch.full_like(squared_distance[..., :1, :1], self.bandwidth)
        count = squared_distance.shape[-2]
        if count < 2:
            raise InvalidInput("kernel: the median rule needs at least 2 particles; give a bandwidth")
        median = squared_distance.detach().flatten(-2).median(dim=-1).values[..., None, None]
        divisor = math.log(count) if self.rule == "median" else 2.0 * math.log(count + 1)
        return (median / divisor).clamp(min=LEAST_BANDWIDTH)

    def __call__(self, squared_distance: Tensor) -> tuple[Tensor, Tensor]:
        """The kernel and its derivative with respect to the squared distance.

        Args:
            squared_distance: (..., N, M).

        Returns:
            k and dk / d|x - y|^2, (..., N, M) each.
        """
        h = self.width(squared_distance)  # (..., 1, 1)
        kernels, slopes = zip(*(self._at(squared_distance, factor * h) for factor in self.factors), strict=True)
        return sum(kernels) / len(kernels), sum(slopes) / len(slopes)

    def _at(self, squared_distance: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Kernel and derivative for one bandwidth."""
        if self.shape == "gaussian":
            k = torch.exp(-squared_distance / h)
            return k, -k / h
        base = 1.0 + squared_distance / h
        k = base.rsqrt()
        return k, -0.5 * k / (base * h)


def stein_direction(particles: Tensor, score: Tensor, points: Tensor, kernel: Kernel) -> Tensor:
    """The direction phi along which `points` should move.

    Args:
        particles: u_i, the sample so far, (..., N, A).
        score: grad log p(u_i), (..., N, A).
        points: u_j, (..., M, A); may be the particles themselves.
        kernel: of both.

    Returns:
        phi(u_j), (..., M, A), without gradient.
    Source: Liu and Wang 2016, eq. 8.
    """
    particles, score, points = particles.detach(), score.detach(), points.detach()
    # Differences, not |x|^2 + |y|^2 - 2 xy: a narrow kernel would see the rounding of that.
    distance = torch.cdist(particles, points, compute_mode="donot_use_mm_for_euclid_dist")  # (..., N, M)
    k, slope = kernel(distance.square())  # (..., N, M) each
    attraction = k.mT @ score  # (..., M, A)
    # grad_{u_i} k(u_i, u_j) = 2 (u_i - u_j) dk/d|u_i - u_j|^2, summed over i
    repulsion = 2.0 * (slope.mT @ particles - slope.sum(dim=-2)[..., None] * points)  # (..., M, A)
    # phi(u_j) = mean_i[ k(u_i, u_j) grad log p(u_i) + grad_{u_i} k(u_i, u_j) ]
    return (attraction + repulsion) / particles.shape[-2]


def score_of(log_density: LogDensity, points: Tensor) -> Tensor:
    """grad log p at points (..., N, A), of the same shape; leaves no gradient elsewhere."""
    with torch.enable_grad():
        points = points.detach().requires_grad_()
        return torch.autograd.grad(log_density(points).sum(), points)[0]


def in_pre_tanh_space(log_density: LogDensity) -> LogDensity:
    """The log density of u where a = tanh(u) has the given one on [-1, 1]^A."""

    def of_pre_tanh(u: Tensor) -> Tensor:
        # log p(u) = log p(a) + log |da/du|
        return log_density(torch.tanh(u)) + log_one_minus_tanh_squared(u).sum(dim=-1)

    return of_pre_tanh


def svgd(
    log_density: LogDensity,
    start: Tensor,
    kernel: Kernel | None = None,
    steps: int = 500,
    step_size: float = 0.1,
) -> Tensor:
    """Moves particles until they are a sample of a density.

    Each coordinate's step is divided by the root of the running mean of its squared direction (RMSprop), as in the
    paper's experiments, and the step size falls linearly to zero, so that the particles come to rest.

    Args:
        log_density: of the points, in the particles' own space; see `in_pre_tanh_space` for actions.
        start: the first particles, (..., N, A); leading dimensions are samples of their own.
        kernel: see `Kernel`.
        steps: how often all particles move.
        step_size: of the first step, in the units of the particles.

    Returns:
        The particles, (..., N, A).
    """
    kernel = kernel or Kernel()
    particles = start.detach().clone()
    mean_square = torch.zeros_like(particles)
    for step in range(steps):
        phi = stein_direction(particles, score_of(log_density, particles), particles, kernel)  # (..., N, A)
        mean_square = phi.square() if step == 0 else torch.lerp(phi.square(), mean_square, 0.9)
        particles += step_size * (1.0 - step / steps) * phi / (mean_square.sqrt() + 1e-6)
    return particles


def sampler_loss(still: Tensor, moved: Tensor, log_density: LogDensity, kernel: Kernel) -> Tensor:
    """A loss whose gradient moves a network that draws particles along the Stein direction.

    Both arguments are draws u = f(noise; s) of the network: the direction is computed from the ones that hold still,
    and the others follow it, so that no particle counts its own place. The value of this loss means nothing.

    Args:
        still: u_i, (..., N, A); a leading dimension is a state.
        moved: u_j, with gradients to the network, (..., M, A).
        log_density: of u, (..., N, A) -> (..., N).
        kernel: see `Kernel`.

    Returns:
        A scalar whose gradient is -mean_j (du_j / dtheta)^T phi(u_j), the mean over states too.
    Source: Haarnoja et al. 2017, eq. 13-14.
    """
    phi = stein_direction(still, score_of(log_density, still), moved, kernel)  # (..., M, A)
    return -(phi * moved).sum(dim=-1).mean()
