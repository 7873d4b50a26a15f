"""Samples of known densities on the box [-1, 1]^2: SVGD and soft Q-learning's sampler beside exact samples.

    python benchmarks/densities.py [--seed 0 1 2] [--points 500] [--updates 6000] [--sharpening 4000] [--json]

A Gaussian, four modes, a ring, and a density that is pressed into a corner of the box. Five samples of each:

- particles: SVGD in the pre-tanh space
- sampler: draws of one network, moved along the Stein direction as soft Q-learning moves its own, with the particles,
  widths and sharpening that `SoftQSettings` has by default; one state for each density
- sampler, moved: the same draws after five Langevin steps each, taken or refused by Metropolis's rule, which cost six
  gradients of the density
- Gaussian: the tanh-Gaussian of the greatest likelihood for 20,000 exact points, what a plain policy could do
- exact: other exact points, which show what the measure is where nothing is wrong

The measure is the squared maximum mean discrepancy (MMD) from as many exact points as the sample has, unbiased, with
the mean of three Gaussian kernels, in thousandths. Beside it stands the share of 500 permutations of the two samples
that lie as far apart: below 0.05 they are not of one density; and `threshold` is the 95th percentile of these
permutations for two exact samples. Particles keep each other apart, so they lie closer than independent exact points
do, below zero even; the test is one-sided. For the four modes it prints the shares of the sampler's draws at each mode
and between them, more than four standard deviations from any (exact: 0.03 %). Below the table, twenty more tests of the
sampler for each density say how often its draws are told from exact ones, which is one in twenty if they are alike.

Sources: Gretton et al. 2012, "A Kernel Two-Sample Test"; Liu and Wang 2016 (arXiv 1608.04471); Haarnoja et al. 2017
(arXiv 1702.08165).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robot_rl.algorithms.adam import Adam
from robot_rl.algorithms.distributions import log_one_minus_tanh_squared
from robot_rl.algorithms.langevin import langevin
from robot_rl.algorithms.networks import Sampler
from robot_rl.algorithms.soft_q import SoftQSettings
from robot_rl.algorithms.svgd import Kernel, in_pre_tanh_space, sampler_loss, svgd

SIZE = 2
"""Entries of an action."""
FITTED = 20_000
"""Exact points that the Gaussian is fitted to."""
BANDWIDTHS = (0.02, 0.1, 0.5)
"""h of the kernels exp(-|x - y|^2 / h), in squared units of the action."""
PERMUTATIONS = 500
TESTS = 20
"""Of the sampler, each with other draws and other exact points: near the threshold, one alone is a matter of luck."""
LANGEVIN_STEPS = 5
LANGEVIN_STD = 0.14
"""Of a step's noise, in units of the pre-tanh action: about as wide as the narrowest of these densities."""
SAMPLES = ("particles", "sampler", "sampler, moved", "Gaussian", "exact")
LEVEL = 0.05
"""Share of permutations below which two samples are said to differ."""
ROWS = 16
"""Times that each state is in a batch of the sampler's training; soft Q-learning has 256 states."""


@dataclass(frozen=True)
class Training:
    """Of the sampler, beside soft Q-learning's settings."""

    updates: int
    sharpening: int
    """Updates from the uniform to the density."""
    learning_rate: float
    """Adam's step size at the start; it falls to zero."""
    factors: tuple[float, ...]
    """Of the kernel's bandwidth."""
    densities: tuple[str, ...]
    """Those that one network draws from, by name."""


MODES, MODE_STD = 0.6 * torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), 0.12


def gaussian(a: Tensor) -> Tensor:
    """An oblique Gaussian; the box cuts a little of it off."""
    x, y = (a - torch.tensor([0.2, -0.1])).unbind(-1)
    return -0.5 * (20.0 * x * x - 24.0 * x * y + 15.0 * y * y)


def four_modes(a: Tensor) -> Tensor:
    """Four equal Gaussians of 0.12 at 0.6 from the middle."""
    return torch.logsumexp(-(a[..., None, :] - MODES).square().sum(dim=-1) / (2 * MODE_STD**2), dim=-1)


def ring(a: Tensor) -> Tensor:
    """A ring of radius 0.7, 0.08 wide."""
    return -((a.norm(dim=-1) - 0.7) ** 2) / (2 * 0.08**2)


def corner(a: Tensor) -> Tensor:
    """Rises all the way to a corner of the box."""
    return 6.0 * a[..., 0] - 4.0 * a[..., 1]


DENSITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "Gaussian": gaussian,
    "four modes": four_modes,
    "ring": ring,
    "pressed into a corner": corner,
}
"""Log densities of the action up to a constant, (..., N, 2) -> (..., N)."""


def exact_points(log_density: Callable[[Tensor], Tensor], count: int, generator: torch.Generator) -> Tensor:
    """Points of a density, (count, 2), by rejection from the uniform on the box."""
    grid = torch.cartesian_prod(*[torch.linspace(-1.0, 1.0, 401)] * SIZE)
    highest, kept = log_density(grid).max() + 1e-3, torch.empty(0, SIZE)
    while len(kept) < count:
        proposals = 2.0 * torch.rand(50_000, SIZE, generator=generator) - 1.0
        accepted = torch.rand(len(proposals), generator=generator).log() < log_density(proposals) - highest
        kept = torch.cat([kept, proposals[accepted]])
    return kept[:count]


def fitted_gaussian(log_density: Callable[[Tensor], Tensor], count: int, generator: torch.Generator) -> Tensor:
    """Points of the tanh-Gaussian of greatest likelihood, (count, 2): mean and covariance of the pre-tanh points."""
    u = torch.atanh(exact_points(log_density, FITTED, generator).double().clamp(-1.0 + 1e-9, 1.0 - 1e-9)).float()
    factor = torch.linalg.cholesky(torch.cov(u.T))
    return torch.tanh(u.mean(dim=0) + torch.randn(count, SIZE, generator=generator) @ factor.T)


def svgd_particles(log_density: Callable[[Tensor], Tensor], count: int, generator: torch.Generator) -> Tensor:
    """Particles in the box, (count, 2)."""
    start = torch.randn(count, SIZE, generator=generator)
    return torch.tanh(svgd(in_pre_tanh_space(log_density), start))


def trained_sampler(training: Training, generator: torch.Generator) -> Sampler:
    """One network that draws from each density in a state of its own, the rows of the unit matrix."""
    settings, count = SoftQSettings(), len(training.densities)
    sampler = Sampler(count, SIZE, settings.hidden_sizes, generator)
    adam = Adam(dict(sampler.named_parameters()), training.learning_rate)
    kernel = Kernel(settings.kernel, settings.bandwidth, settings.bandwidth_rule, training.factors)
    states = torch.eye(count).repeat_interleave(ROWS, dim=0)  # (B, S)
    for update in range(training.updates):
        adam.learning_rate = training.learning_rate * (1.0 - update / training.updates)
        sharpness = min(1.0, (update + 1) / training.sharpening)

        def log_density(u: Tensor, sharpness: float = sharpness) -> Tensor:
            parts = torch.tanh(u).chunk(count)
            q = torch.cat([DENSITIES[name](part) for name, part in zip(training.densities, parts, strict=True)])
            return sharpness * q + log_one_minus_tanh_squared(u).sum(dim=-1)

        shape = (len(states), settings.fixed_particles + settings.moved_particles, SIZE)
        drawn = sampler(states, torch.randn(shape, generator=generator))
        still, moved = drawn.split([settings.fixed_particles, settings.moved_particles], dim=1)
        adam.minimize(sampler_loss(still.detach(), moved, log_density, kernel))
    return sampler


class TwoSamples:
    """The squared maximum mean discrepancy of two equally large samples, and its distribution if they are alike."""

    def __init__(self, ours: Tensor, theirs: Tensor, seed: int) -> None:
        """Args: ours, theirs: (n, 2) each; seed: of the permutations."""
        both = torch.cat([ours, theirs]).double()
        squared = torch.cdist(both, both).square()
        kernels = [torch.exp(-squared / h) for h in BANDWIDTHS]
        self._kernel = (torch.stack(kernels).mean(dim=0)).fill_diagonal_(0.0).numpy()
        first = np.repeat([1.0, 0.0], len(ours))
        rng = np.random.default_rng(seed)
        self._shuffled = self._between(np.stack([rng.permutation(first) for _ in range(PERMUTATIONS)]))
        self.mmd = float(self._between(first[None])[0])

    def _between(self, first: NDArray[np.floating]) -> NDArray[np.floating]:
        """MMD^2 for rows (P, 2 n) that are 1 where a point counts to the first sample."""
        second, n = 1.0 - first, first.shape[1] / 2
        to_first, to_second = first @ self._kernel, second @ self._kernel
        within = (to_first * first).sum(axis=1) + (to_second * second).sum(axis=1)
        return within / (n * (n - 1)) - 2.0 * (to_first * second).sum(axis=1) / n**2

    @property
    def p_value(self) -> float:
        """Share of permutations that lie as far apart."""
        return float((self._shuffled >= self.mmd).mean())

    @property
    def threshold(self) -> float:
        """MMD^2 that one in twenty permutations exceeds."""
        return float(np.quantile(self._shuffled, 1.0 - LEVEL))


def modes_of(drawn: Tensor) -> dict[str, Any]:
    """Of draws (N, 2): the share that is nearest to each mode, and the share between the modes."""
    distance, nearest = torch.cdist(drawn, MODES).min(dim=-1)
    shares = torch.bincount(nearest, minlength=len(MODES)) / len(drawn)
    return {"shares": shares.tolist(), "between": float((distance > 4 * MODE_STD).float().mean())}


def measure(seed: int, points: int, training: Training) -> dict[str, dict[str, Any]]:
    """MMD^2 and p value of every sample by density, and the threshold."""
    generator = torch.Generator().manual_seed(seed)
    sampler = trained_sampler(training, generator)
    states = torch.eye(len(training.densities))  # (D, D)
    with torch.no_grad():
        drawn = sampler(states, torch.randn(len(states), points, SIZE, generator=generator))  # (D, points, 2), pre-tanh
        again = torch.Generator().manual_seed(seed)
        more = sampler(states, torch.randn(len(states), TESTS * points, SIZE, generator=again))  # (D, T points, 2)
    found: dict[str, dict[str, Any]] = {}
    for name, ours, others in zip(training.densities, drawn, more, strict=True):
        log_density = DENSITIES[name]
        moved = partial(
            langevin, in_pre_tanh_space(log_density), std=LANGEVIN_STD, steps=LANGEVIN_STEPS, generator=again
        )
        samples = {
            "particles": svgd_particles(log_density, points, generator),
            "sampler": torch.tanh(ours),
            "sampler, moved": torch.tanh(moved(start=ours)),
            "Gaussian": fitted_gaussian(log_density, points, generator),
            "exact": exact_points(log_density, points, generator),
        }
        exact = exact_points(log_density, points, generator)
        compared = {kind: TwoSamples(sample, exact, seed) for kind, sample in samples.items()}
        found[name] = {kind: {"mmd": pair.mmd, "p": pair.p_value} for kind, pair in compared.items()}
        found[name]["threshold"] = compared["exact"].threshold
        truth = exact_points(log_density, TESTS * points, again)
        for kind, u in (("sampler", others), ("sampler, moved", moved(start=others))):
            pairs = zip(torch.tanh(u).split(points), truth.split(points), strict=True)
            tests = [TwoSamples(*pair, seed) for pair in pairs]
            found[name][kind]["mean"] = float(np.mean([test.mmd for test in tests]))
            found[name][kind]["told_apart"] = sum(test.p_value < LEVEL for test in tests)
        if log_density is four_modes:
            found[name]["modes"] = modes_of(torch.tanh(others))
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--points", type=int, default=500, help="in every sample")
    parser.add_argument("--updates", type=int, default=6000, help="of the sampler")
    own = SoftQSettings()
    parser.add_argument("--sharpening", type=int, default=own.sharpening_updates, help="updates to the density")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="of the sampler at the start")
    parser.add_argument("--factors", type=float, nargs="+", default=own.bandwidth_factors, help="of the bandwidth")
    parser.add_argument("--only", nargs="+", choices=DENSITIES, default=list(DENSITIES), help="densities")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    given = parser.parse_args()
    torch.set_num_threads(1)
    factors, densities = tuple(given.factors), tuple(given.only)
    training = Training(given.updates, given.sharpening, given.learning_rate, factors, densities)
    runs = {seed: measure(seed, given.points, training) for seed in given.seed}
    if given.json:
        print(json.dumps(runs, indent=1))
        return
    print(f"MMD^2 from {given.points} exact points, thousandths (p value), seeds {', '.join(map(str, given.seed))}\n")
    print(f"| density | {' | '.join(SAMPLES)} | threshold |")
    print("|---" * (len(SAMPLES) + 2) + "|")
    for name in densities:
        each = [
            ", ".join(f"{1e3 * run[name][kind]['mmd']:.2f} ({run[name][kind]['p']:.2f})" for run in runs.values())
            for kind in SAMPLES
        ]
        threshold = ", ".join(f"{1e3 * run[name]['threshold']:.2f}" for run in runs.values())
        print(f"| {name} | {' | '.join(each)} | {threshold} |")
    for kind in ("sampler", "sampler, moved"):
        print(f"\n{kind}: mean MMD^2 of {TESTS} other samples, and how many of them are told from exact points")
        for name in densities:
            each = [f"{1e3 * run[name][kind]['mean']:.2f} ({run[name][kind]['told_apart']})" for run in runs.values()]
            print(f"  {name}: {', '.join(each)}")
    for seed, run in runs.items():
        if "four modes" in run:
            modes = run["four modes"]["modes"]
            shares = ", ".join(f"{100 * share:.1f}" for share in modes["shares"])
            print(f"seed {seed}: % of the sampler's draws at the modes {shares}; between {100 * modes['between']:.1f}")


if __name__ == "__main__":
    main()
