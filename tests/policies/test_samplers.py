"""Every way to act on a composed Q, on one action, where quadrature knows the density and the best action."""

import numpy as np
import pytest
import torch

from policies.composed_q import ComposedQ, product_of_gaussians
from policies.samplers import ImportanceSampler, ParticleSampler, PathIntegralSampler, compare_samplers, samplers

GRID = np.linspace(-1, 1, 4001)[1:-1]


@pytest.fixture(scope="module")
def composed(hold, new_skill):
    return ComposedQ([new_skill(hold, seed, loud=40.0) for seed in range(2)])


@pytest.fixture(scope="module")
def observation():
    return np.array([[0.5, -1.0, 0.3]], dtype=np.float32)


@pytest.fixture(scope="module")
def density(composed, observation):
    """exp(Q_w / T) over the box, normalised on the grid."""
    action = torch.from_numpy(GRID.astype(np.float32))[None, :, None]
    with torch.no_grad():
        q = composed.q(composed.normalized(observation), action, composed.weights())[0].double().numpy()
    share = np.exp((q - q.max()) / composed.alpha)
    return share / share.sum(), q


@pytest.mark.parametrize("name", ["importance", "mala"])
def test_the_draws_have_the_density_that_quadrature_finds(name, composed, observation, density):
    share, q = density
    assert np.ptp(q) / composed.alpha > 1.0  # far from uniform
    rows = observation.repeat(4000, axis=0)
    sampler = {
        "importance": ImportanceSampler(composed, draws=200),
        "mala": ParticleSampler(composed, mala=True, particles=4, steps=20, step_size=0.7),
    }[name]
    drawn = np.sort(sampler(rows, composed.weights(), composed.alpha).sampled_action[:, 0].numpy())
    # The largest gap between the two distribution functions (Kolmogorov and Smirnov).
    gap = np.abs(np.searchsorted(drawn, GRID) / len(drawn) - share.cumsum()).max()
    assert gap < 0.05


def test_whatever_searches_finds_no_more_than_there_is_and_the_cross_entropy_method_all_of_it(
    composed, observation, density
):
    _, q = density
    with torch.no_grad():
        for name, sampler in samplers(composed).items():
            action = sampler(observation, composed.weights(), composed.alpha).action
            found = float(composed.q(composed.normalized(observation), action[:, None], composed.weights()))
            assert found <= q.max() + 1e-4
            if name == "cem":
                assert found >= q.max() - 0.02 * np.ptp(q)


def test_a_round_of_path_integral_control_goes_to_the_mean_that_quadrature_finds(composed, observation):
    w, temperature = composed.weights([0.3, 0.7]), 2.0 * composed.alpha
    seen = composed.normalized(observation)
    with torch.no_grad():
        mean, log_std = (x[:, 0, 0].double() for x in composed.gaussians(seen))
        centre = product_of_gaussians(*composed.gaussians(seen), w)[0].double().item()
        width = float((w.double() * ((mean - centre) ** 2 + torch.exp(2 * log_std))).sum().sqrt())
        # The base distribution N(centre, width^2) times exp(Q / T), on a grid of u.
        u = centre + width * np.linspace(-8, 8, 8001)
        action = torch.tanh(torch.from_numpy(u).float())[None, :, None]
        nats = composed.q(seen, action, w)[0].double().numpy() / temperature
    share = np.exp(nats - nats.max() - 0.5 * ((u - centre) / width) ** 2)
    expected = share @ u / share.sum()
    found = PathIntegralSampler(composed, rounds=1, draws=400_000)(observation, w, temperature)
    assert np.arctanh(found.action.item()) == pytest.approx(expected, abs=0.01 * width)
    assert abs(expected - centre) > 0.1 * width


def test_refinement_is_never_worse_than_what_it_starts_from(composed):
    rows = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
    w = composed.weights()

    def best(sampler):
        action = sampler(rows, w, composed.alpha).action
        with torch.no_grad():
            return composed.q(composed.normalized(rows), action[:, None], w)[:, 0]

    start = best(ImportanceSampler(composed))
    for mala in (False, True):
        assert (best(ParticleSampler(composed, mala=mala)) >= start - 1e-5).all()


def test_the_table_has_a_row_for_every_sampler_and_begins_at_the_products_mean(composed):
    rows = np.random.default_rng(0).standard_normal((16, 3)).astype(np.float32)
    table = compare_samplers(composed, rows, composed.weights(), composed.alpha)
    assert list(table) == ["product", "candidates", "svgd", "mala", "cem", "mppi", "reference"]
    assert table["product"].best_q == pytest.approx(0.0, abs=1e-6)
    assert table["candidates"].best_q >= 0.0
    assert all(np.isfinite(row).all() and row.milliseconds > 0 for row in table.values())
