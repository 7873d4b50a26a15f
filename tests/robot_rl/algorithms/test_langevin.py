"""Langevin steps: they leave a density as it is whatever their size, and bring home what lies between its modes."""

import numpy as np
import torch
from scipy.stats import kstest
from torch import Tensor

from robot_rl.algorithms.langevin import langevin
from robot_rl.algorithms.svgd import score_of

GRID = np.linspace(-6.0, 6.0, 200_001)


def two_hills(u: Tensor) -> Tensor:
    """A narrow hill and a broad one, (..., 1) -> (...)."""
    x = u[..., 0]
    return torch.logaddexp(-0.5 * ((x + 1.0) / 0.3) ** 2, -0.5 * ((x - 1.2) / 0.8) ** 2)


def exact_quantiles(count: int) -> np.ndarray:
    """Quantiles of `two_hills` by quadrature."""
    density = two_hills(torch.from_numpy(GRID)[:, None]).exp().numpy()
    return np.interp((np.arange(count) + 0.5) / count, np.cumsum(density) / density.sum(), GRID)


def gap(points: Tensor, exact: np.ndarray) -> float:
    """Largest difference of the two distribution functions."""
    return kstest(np.sort(points.flatten().numpy()), lambda x: np.searchsorted(exact, x) / len(exact)).statistic


def test_a_sample_of_the_density_remains_one_at_steps_so_long_that_half_of_them_are_refused():
    exact = exact_quantiles(20_000)
    start = torch.from_numpy(exact)[:, None]
    generator = torch.Generator().manual_seed(0)
    after = langevin(two_hills, start, 0.5, 10, generator)
    moved = (langevin(two_hills, start, 0.5, 1, generator) != start).double().mean()
    assert 0.3 < moved < 0.95  # some are refused, or nothing is shown
    assert gap(after, exact) < 0.015  # Kolmogorov's 0.1 % level for 20,000 points is 0.014
    # The same steps without the refusal, those of Euler, bend the density.
    bent = start
    for _ in range(10):
        noise = torch.randn(bent.shape, generator=generator, dtype=bent.dtype)
        bent = bent + 0.5 * 0.25 * score_of(two_hills, bent) + 0.5 * noise
    assert gap(bent, exact) > 0.05


def test_points_from_elsewhere_become_a_sample_in_the_end():
    exact = exact_quantiles(4000)
    start = torch.full((4000, 1), 3.0, dtype=torch.float64)
    assert gap(langevin(two_hills, start, 0.5, 300, torch.Generator().manual_seed(1)), exact) < 0.035


def test_the_width_of_a_step_may_differ_from_entry_to_entry():
    # N(0, diag(1, 0.01)): one width would be far too long for the second entry, or too short for the first.
    def oblong(u: Tensor) -> Tensor:
        return -0.5 * (u[..., 0] ** 2 + 100.0 * u[..., 1] ** 2)

    start = torch.zeros(8000, 2, dtype=torch.float64)
    drawn = langevin(oblong, start, torch.tensor([1.0, 0.1]), 30, torch.Generator().manual_seed(2))
    np.testing.assert_allclose(drawn.std(dim=0).numpy(), [1.0, 0.1], rtol=0.05)


def test_a_few_steps_bring_home_what_lies_between_far_modes_and_leave_each_its_share():
    def far_apart(u: Tensor) -> Tensor:
        return torch.logaddexp(-0.5 * ((u[..., 0] + 2) / 0.2) ** 2, -0.5 * ((u[..., 0] - 2) / 0.2) ** 2)

    generator = torch.Generator().manual_seed(3)
    left = -2 + 0.2 * torch.randn(600, 1, generator=generator)
    right = 2 + 0.2 * torch.randn(300, 1, generator=generator)
    between = torch.linspace(-1.3, 1.3, 100)[:, None]
    drawn = langevin(far_apart, torch.cat([left, right, between]), 0.2, 10, generator)
    assert ((drawn.abs() - 2).abs() < 0.8).float().mean() > 0.99
    assert abs((drawn < 0).float().mean().item() - 0.65) < 0.01
