"""SVGD and the sampler that it trains: directions by brute force, and samples of known densities by a two-sample test.

The two-sample test is the maximum mean discrepancy with a permutation null (Gretton et al. 2012), against exact samples
by rejection. A tanh-Gaussian with the moments of the exact sample stands beside as what one Gaussian can do.
"""

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from robot_rl.algorithms.adam import Adam
from robot_rl.algorithms.distributions import log_one_minus_tanh_squared
from robot_rl.algorithms.langevin import langevin
from robot_rl.algorithms.networks import Sampler
from robot_rl.algorithms.svgd import (
    Kernel,
    in_pre_tanh_space,
    sampler_loss,
    score_of,
    stein_direction,
    svgd,
)
from robot_rl.errors import ConfigurationError, InvalidInput

MODES = torch.tensor([[0.6, 0.0], [-0.6, 0.0], [0.0, 0.6], [0.0, -0.6]])


def gaussian(a: Tensor) -> Tensor:
    x = a - torch.tensor([0.2, -0.1])
    return -0.5 * (20.0 * x[..., 0] ** 2 - 24.0 * x[..., 0] * x[..., 1] + 15.0 * x[..., 1] ** 2)


def four_modes(a: Tensor) -> Tensor:
    return torch.logsumexp(-(a[..., None, :] - MODES).square().sum(-1) / (2 * 0.12**2), dim=-1)


def ring(a: Tensor) -> Tensor:
    return -((a.norm(dim=-1) - 0.7) ** 2) / (2 * 0.08**2)


def pressed_into_a_corner(a: Tensor) -> Tensor:
    return 6.0 * a[..., 0] - 4.0 * a[..., 1]


DENSITIES = {f.__name__: f for f in (gaussian, four_modes, ring, pressed_into_a_corner)}
NOT_GAUSSIAN = ("four_modes", "ring")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def exact_sample(log_density, count: int, seed: int) -> Tensor:
    """By rejection from the uniform on the box."""
    proposals = torch.rand(100_000, 2, generator=generator(seed)) * 2 - 1
    accept = torch.exp(log_density(proposals) - log_density(proposals).max())
    kept = proposals[torch.rand(len(proposals), generator=generator(seed + 1)) < accept]
    assert len(kept) >= count
    return kept[:count]


def tanh_gaussian_sample(exact: Tensor, count: int) -> Tensor:
    u = torch.atanh(exact)
    factor = torch.linalg.cholesky(torch.cov(u.T))
    return torch.tanh(u.mean(dim=0) + torch.randn(count, 2, generator=generator(7)) @ factor.T)


class TwoSamples:
    """Squared MMD between two samples, unbiased, with a mean of three Gaussian kernels."""

    def __init__(self, ours: Tensor, exact: Tensor) -> None:
        both = torch.cat([ours, exact]).double()
        squared = torch.cdist(both, both).square()
        self.k = (sum(torch.exp(-squared / h) for h in (0.02, 0.1, 0.5)) / 3).fill_diagonal_(0.0).numpy()
        self.ours = np.r_[np.ones(len(ours)), np.zeros(len(exact))]
        self.mmd = self.between(self.ours)

    def between(self, first: np.ndarray) -> float:
        """Args: first: 1 for rows of the first sample, otherwise 0."""
        second = 1.0 - first
        n, m = first.sum(), second.sum()
        within = first @ self.k @ first / (n * (n - 1)) + second @ self.k @ second / (m * (m - 1))
        return float(within - 2 * first @ self.k @ second / (n * m))

    def p_value(self) -> float:
        """Share of 200 permutations that lie as far apart."""
        rng = np.random.default_rng(0)
        return float(np.mean([self.between(rng.permutation(self.ours)) >= self.mmd for _ in range(200)]))


@pytest.mark.parametrize("factors", [(1.0,), (0.2, 3.0)])
@pytest.mark.parametrize("shape", ["gaussian", "inverse_multiquadric"])
def test_the_slope_of_a_kernel_is_its_derivative(shape: str, factors: tuple[float, ...]):
    kernel = Kernel(shape, bandwidth=0.7, factors=factors)
    squared = torch.tensor([[0.0, 0.3], [2.0, 5.0]], dtype=torch.float64)
    step = 1e-6
    numeric = (kernel(squared + step)[0] - kernel(squared - step)[0]) / (2 * step)
    torch.testing.assert_close(kernel(squared)[1], numeric, rtol=1e-6, atol=1e-9)
    assert kernel(squared)[0][0, 0] == 1.0


def test_the_bandwidth_follows_the_median_by_either_rule_and_in_every_state_apart():
    squared = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 90.0]])  # N = M = 3, median 5
    both = torch.stack([squared, 4 * squared])
    expected = [5 / math.log(3), 20 / math.log(3)]
    assert Kernel(rule="median").width(both).flatten().tolist() == pytest.approx(expected)
    expected = [5 / (2 * math.log(4)), 20 / (2 * math.log(4))]
    assert Kernel(rule="half_median").width(both).flatten().tolist() == pytest.approx(expected)
    assert Kernel().width(torch.zeros(2, 2)).item() == pytest.approx(1e-3)


def test_a_kernel_of_several_widths_is_the_mean_of_those_of_one():
    squared = torch.rand(3, 6, 5, generator=generator(), dtype=torch.float64)
    h = Kernel().width(squared)
    expected = (torch.exp(-squared / (0.25 * h)) + torch.exp(-squared / (4.0 * h))) / 2.0
    torch.testing.assert_close(Kernel(factors=(0.25, 4.0))(squared)[0], expected)


@pytest.mark.parametrize("kernel", [Kernel(bandwidth=0.4), Kernel("inverse_multiquadric", bandwidth=1.3)])
def test_the_direction_is_that_of_two_plain_loops(kernel: Kernel):
    particles = torch.randn(2, 5, 3, generator=generator(1), dtype=torch.float64)
    score = torch.randn(2, 5, 3, generator=generator(2), dtype=torch.float64)
    points = torch.randn(2, 4, 3, generator=generator(3), dtype=torch.float64)

    def k(x: np.ndarray, y: np.ndarray) -> float:
        t = ((x - y) ** 2).sum() / kernel.bandwidth
        return float(np.exp(-t) if kernel.shape == "gaussian" else (1 + t) ** -0.5)

    phi = stein_direction(particles, score, points, kernel).numpy()
    for state in range(2):
        for j, y in enumerate(points[state].numpy()):
            expected = np.zeros(3)
            for i, x in enumerate(particles[state].numpy()):
                steps = 1e-6 * np.eye(3)
                expected += k(x, y) * score[state, i].numpy()
                expected += [(k(x + step, y) - k(x - step, y)) / 2e-6 for step in steps]
            np.testing.assert_allclose(phi[state, j], expected / 5, rtol=1e-6, atol=1e-8)


def test_particles_that_are_the_density_stay_where_they_are():
    # Stein's identity: under p itself the direction is zero everywhere. Particles: 20,000 quantiles of N(0, 1).
    quantiles = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    u = torch.special.ndtri(quantiles)[:, None]
    points = torch.linspace(-3, 3, 13, dtype=torch.float64)[:, None]
    phi = stein_direction(u, -u, points, Kernel(bandwidth=0.8))
    assert phi.abs().max().item() < 1e-4
    assert stein_direction(u + 0.1, -u - 0.1, points, Kernel(bandwidth=0.8)).abs().max().item() > 1e-2


def test_the_divergence_falls_at_the_rate_of_the_kernelised_stein_discrepancy():
    # q = N(.5, 1.2^2) as quantiles, p = N(0, 1). Moving every u to u + eps phi(u) changes the divergence by
    # -eps <phi, phi> in the kernel's space (Liu and Wang 2016, theorem 3.1), a double sum in closed form. The
    # divergence itself is taken here from its definition, the density of the moved particles by finite differences.
    count, h = 800, 0.9
    u = 0.5 + 1.2 * torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count)
    kernel, score = Kernel(bandwidth=h), -u

    def phi(x: Tensor) -> Tensor:
        return stein_direction(u[:, None], score[:, None], x[:, None], kernel)[:, 0]

    def divergence(eps: float) -> float:
        moved = u + eps * phi(u)
        step = 1e-5
        stretch = 1 + eps * (phi(u + step) - phi(u - step)) / (2 * step)
        log_q = -0.5 * ((u - 0.5) / 1.2) ** 2 - math.log(1.2) - stretch.log()
        return float((log_q + 0.5 * moved**2).mean())

    fall = (divergence(-1e-3) - divergence(1e-3)) / 2e-3
    d = u[:, None] - u[None]
    k = torch.exp(-(d**2) / h)
    mixed = 2 / h - 4 * d**2 / h**2  # d^2 k / du_i du_j over k
    discrepancy = (k * (score[:, None] * score[None] + 2 * d / h * (score[:, None] - score[None]) + mixed)).mean()
    assert fall == pytest.approx(discrepancy.item(), rel=1e-3)
    assert fall > 0


def test_the_pre_tanh_density_is_the_density_of_the_action_times_the_change_of_volume():
    nodes, weights = np.polynomial.legendre.leggauss(400)
    u = torch.from_numpy(12.0 * nodes)[:, None]  # (400, 1), one point each
    density = in_pre_tanh_space(lambda a: torch.log1p(a[..., 0] ** 2))(u).exp().numpy()
    # The integral over u in R is the one over a in [-1, 1]: that of 1 + a^2, 8/3.
    assert float(12.0 * weights @ density) == pytest.approx(8 / 3, rel=1e-6)


def test_a_density_that_rises_to_the_bound_still_has_a_place_inside():
    # log p(u) = 6 a + log(1 - a^2) with a = tanh u has its mode where 6 (1 - a^2) - 2 a = 0: a = (-1 + sqrt(37)) / 6.
    log_density = in_pre_tanh_space(lambda a: 6.0 * a[..., 0])
    mode = math.atanh((math.sqrt(37) - 1) / 6)
    at_mode, below, above, far = score_of(
        log_density, torch.tensor([[mode], [mode - 0.5], [mode + 0.5], [30.0]], dtype=torch.float64)
    )[:, 0].tolist()
    assert at_mode == pytest.approx(0.0, abs=1e-12)
    assert below > 0 > above
    assert far == pytest.approx(-2.0)  # where tanh is 1 to the last bit, the change of volume still leads back


@pytest.mark.parametrize("name", DENSITIES)
def test_particles_become_a_sample_of_a_density_in_the_box(name: str):
    log_density = DENSITIES[name]
    exact = exact_sample(log_density, 512, seed=11)
    start = torch.randn(128, 2, generator=generator(5))
    particles = torch.tanh(svgd(in_pre_tanh_space(log_density), start, steps=200))
    ours = TwoSamples(particles, exact)
    fitted = TwoSamples(tanh_gaussian_sample(exact, 128), exact)
    before = TwoSamples(torch.tanh(start), exact)
    print(f"{name}: MMD^2 {ours.mmd:.1e}, of a Gaussian fit {fitted.mmd:.1e}, of the start {before.mmd:.1e}")
    assert particles.abs().max() < 1.0
    assert ours.p_value() > 0.05
    assert ours.mmd < fitted.mmd
    assert before.p_value() < 0.01
    if name in NOT_GAUSSIAN:
        assert fitted.p_value() < 0.01  # the test can tell


def test_an_inverse_multiquadric_kernel_and_a_wider_bandwidth_sample_too():
    exact = exact_sample(ring, 512, seed=11)
    start = torch.randn(128, 2, generator=generator(5))
    for kernel in (Kernel("inverse_multiquadric"), Kernel(rule="median")):
        particles = torch.tanh(svgd(in_pre_tanh_space(ring), start, kernel, steps=150))
        assert TwoSamples(particles, exact).p_value() > 0.05


def test_the_networks_gradient_is_the_direction_carried_back_by_finite_differences():
    sampler = Sampler(3, 2, (6, 5), generator(3)).double()
    observation = torch.randn(2, 3, generator=generator(4), dtype=torch.float64)
    noise = torch.randn(2, 7, 2, generator=generator(5), dtype=torch.float64)
    kernel, fixed, log_density = Kernel(bandwidth=0.6), 3, in_pre_tanh_space(gaussian)
    frozen = copy.deepcopy(sampler)
    with torch.no_grad():
        u = frozen(observation, noise)
    phi = stein_direction(u[:, :fixed], score_of(log_density, u[:, :fixed]), u[:, fixed:], kernel)

    def carried() -> float:
        with torch.no_grad():
            moved = sampler(observation, noise)[:, fixed:]
        return float(-(phi * moved).sum() / (2 * 4))  # 2 states, 4 particles that move

    for parameter in sampler.parameters():
        drawn = sampler(observation, noise)
        (gradient,) = torch.autograd.grad(
            sampler_loss(drawn[:, :fixed], drawn[:, fixed:], log_density, kernel), parameter
        )
        flat = parameter.data.view(-1)
        for index in range(flat.numel()):
            here, step = flat[index].item(), 1e-6
            flat[index] = here + step
            above = carried()
            flat[index] = here - step
            below = carried()
            flat[index] = here
            assert gradient.view(-1)[index].item() == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-8)


def between(drawn: Tensor) -> float:
    """Share further than three standard deviations from all of the four modes; 0.011 of an exact sample."""
    return float((torch.cdist(drawn, MODES).amin(dim=1) > 3 * 0.12).float().mean())


def test_one_network_learns_to_sample_every_density_for_its_state():
    # One state per density. They sharpen over the first half, as a Q-function does that starts from nothing.
    states = torch.eye(4)
    sampler = Sampler(4, 2, (64, 64), generator(0))
    adam = Adam(dict(sampler.named_parameters()), 5e-3)
    noise, steps = generator(1), 500
    for step in range(steps):
        sharpness = min(1.0, 0.05 + 2 * step / steps)

        def log_density(u: Tensor, sharpness: float = sharpness) -> Tensor:
            each = [f(torch.tanh(u[i])) for i, f in enumerate(DENSITIES.values())]
            return sharpness * torch.stack(each) + log_one_minus_tanh_squared(u).sum(-1)

        adam.learning_rate = 5e-3 * (1 - step / steps)
        still, moved = sampler(states, torch.randn(4, 64, 2, generator=noise)).chunk(2, dim=1)
        adam.minimize(sampler_loss(still, moved, log_density, Kernel()))
    with torch.no_grad():
        drawn = torch.tanh(sampler(states, torch.randn(4, 1000, 2, generator=noise)))
    found = {}
    for (name, log_density), ours in zip(DENSITIES.items(), drawn, strict=True):
        exact = exact_sample(log_density, 1000, seed=21)
        found[name] = TwoSamples(ours, exact).mmd, TwoSamples(tanh_gaussian_sample(exact, 1000), exact).mmd
        print(f"{name}: MMD^2 {found[name][0]:.1e}, Gaussian fit {found[name][1]:.1e}")
    shares = torch.bincount(torch.cdist(drawn[1], MODES).argmin(1), minlength=4) / 1000
    print("shares of the four modes", shares.tolist())
    # What a network of one piece must leave between the modes, a few Langevin steps bring home.
    moved = langevin(in_pre_tanh_space(four_modes), torch.atanh(drawn[1]), 0.14, 5, noise)
    kept = TwoSamples(torch.tanh(moved), exact_sample(four_modes, 1000, seed=21)).mmd
    print(f"four modes after Langevin steps: MMD^2 {kept:.1e}")
    assert kept < 0.6 * found["four_modes"][0]
    print("between them", between(drawn[1]), between(torch.tanh(moved)))
    assert between(drawn[1]) > 0.04
    assert between(torch.tanh(moved)) < 0.025
    assert shares.min() > 0.15
    assert drawn.abs().max() <= 1.0
    for name, (ours, fitted) in found.items():
        if name in NOT_GAUSSIAN:
            assert ours < 0.5 * fitted
        assert ours < 0.02


def test_what_cannot_work_is_refused_with_what_is_allowed():
    for values, words in (
        ({"shape": "cubic"}, "gaussian, inverse_multiquadric"),
        ({"bandwidth": 0.0}, "positive"),
        ({"rule": "mean"}, "half_median, median"),
        ({"factors": ()}, "one or more"),
        ({"factors": (1.0, 0.0)}, "positive"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            Kernel(**values)
    one = torch.zeros(1, 2)
    with pytest.raises(InvalidInput, match="at least 2 particles"):
        stein_direction(one, one, one, Kernel())
