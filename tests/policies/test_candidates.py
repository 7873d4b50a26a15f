"""Draws against SciPy, importance sampling against quadrature, and the choice that is exact at one weight."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import chisquare, norm

from policies.candidates import (
    PRODUCT_SHARE,
    CandidatePolicy,
    CandidateSettings,
    draw,
    effective_sample_size,
    gumbel,
    log_importance,
    points_between,
    stratified,
)
from policies.composed_q import ComposedQ, product_of_gaussians
from robot_rl.errors import ConfigurationError

T = 0.7


def gaussians(actions, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(0, 0.7, (2, 1, actions))), torch.from_numpy(rng.uniform(-1, 0, (2, 1, actions)))


def two_hills(a):
    """A Q with two modes that no Gaussian has, of actions (..., d)."""
    near = ((a - 0.5) ** 2).sum(-1), ((a + 0.4) ** 2).sum(-1)
    return np.log(np.exp(-8.0 * near[0]) + 0.6 * np.exp(-12.0 * near[1]))


@pytest.mark.parametrize("actions", [1, 2])
@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.1, 0.9), (0.0, 1.0)], ids=str)
def test_weighted_draws_have_the_means_that_quadrature_finds(actions, weights):
    mean, log_std = gaussians(actions)
    noise = torch.from_numpy(np.random.default_rng(1).standard_normal((1, 200_000, actions)))
    w = torch.tensor(weights, dtype=torch.float64)
    draws = draw(product_of_gaussians(mean, log_std, w), mean, log_std, w, noise)
    a = torch.tanh(draws.u)
    share = torch.softmax(log_importance(torch.from_numpy(two_hills(a.numpy())), draws, T), dim=-1)[0]
    found = share @ a[0], share @ a[0].square()

    # exp(Q / T) over the box; the density of a, not of u, so no Jacobian appears here.
    grid = np.linspace(-1, 1, 801 if actions == 2 else 20_001)
    points = np.stack(np.meshgrid(*[grid] * actions, indexing="ij"), axis=-1).reshape(-1, actions)
    density = np.exp(two_hills(points) / T)
    density /= density.sum()
    slack = 5.0 / float(effective_sample_size(torch.log(share))) ** 0.5
    for moment, ours in zip((points, points**2), found, strict=True):
        np.testing.assert_allclose(ours, density @ moment, atol=slack)
    assert slack < 0.1


def test_the_density_of_the_draws_is_that_of_the_mixture_as_it_was_drawn():
    mean, log_std = gaussians(2)
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
    product = product_of_gaussians(mean, log_std, weights)
    noise = torch.from_numpy(np.random.default_rng(1).standard_normal((1, 48, 2)))
    draws = draw(product, mean, log_std, weights, noise)
    counts = stratified(weights, 48).sum(dim=0).numpy()
    means = [product[0][0].numpy(), *mean[:, 0].numpy()]
    stds = [product[1][0].exp().numpy(), *log_std[:, 0].exp().numpy()]
    u = draws.u[0].numpy()
    each = [norm.logpdf(u, m, s).sum(axis=1) for m, s in zip(means, stds, strict=True)]
    np.testing.assert_allclose(draws.log_density[0], logsumexp(each, axis=0, b=counts[:, None] / 48), atol=1e-10)


@pytest.mark.parametrize("weights", [(0.2, 0.5, 0.3), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (1 / 3, 1 / 3, 1 / 3)], ids=str)
@pytest.mark.parametrize("count", [1, 7, 48])
def test_every_stratum_has_its_share_of_the_draws_to_within_one(weights, count):
    chosen = stratified(torch.tensor(weights), count)
    assert (chosen.sum(dim=1) == 1).all()
    assert ((chosen == 0) | (chosen == 1)).all()
    wanted = count * np.array([PRODUCT_SHARE, *(np.array(weights) * (1 - PRODUCT_SHARE))])
    assert (np.abs(chosen.sum(dim=0).numpy() - wanted) <= 1.0 + 1e-6).all()


def test_gumbel_noise_chooses_by_the_weights():
    weights = np.array([0.5, 0.2, 0.05, 0.25])
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((40_000, 4)))
    chosen = (torch.from_numpy(np.log(weights)) + gumbel(noise)).argmax(dim=1).numpy()
    assert chisquare(np.bincount(chosen, minlength=4), weights * len(noise)).pvalue > 1e-3


def test_the_effective_sample_size_is_the_number_of_equal_weights():
    assert float(effective_sample_size(torch.zeros(1, 48))) == pytest.approx(48.0)
    assert float(effective_sample_size(torch.tensor([[0.0, 0.0, -1e9, -1e9]]))) == pytest.approx(2.0)
    assert float(effective_sample_size(torch.tensor([[900.0, 0.0, 0.0]]))) == pytest.approx(1.0)


def test_the_points_begin_with_the_products_mean_then_the_skills_and_leave_no_mean_behind():
    mean, log_std = (x.float() for x in gaussians(2))
    settings = CandidateSettings.make(2, 2)
    weights = torch.tensor([0.3, 0.7])
    points = points_between(mean, log_std, weights, settings.share)[0]
    torch.testing.assert_close(points[0], product_of_gaussians(mean, log_std, weights)[0][0])
    torch.testing.assert_close(points[1:3], mean[:, 0], rtol=0, atol=1e-2)
    low, high = mean.amin(dim=0)[0], mean.amax(dim=0)[0]
    assert ((points >= low - 1e-6) & (points <= high + 1e-6)).all()


@pytest.mark.parametrize("alone", [0, 1, 2])
def test_with_all_weight_on_one_skill_the_action_is_its_own_mean_whatever_the_critics_say(three_skills, alone):
    policy = CandidatePolicy(ComposedQ(three_skills))
    observation = np.random.default_rng(2).standard_normal((50, 87)).astype(np.float32)
    skill = three_skills[alone]
    choice = policy(observation, policy.composed.weights(np.eye(3)[alone]), policy.composed.alpha)
    own = torch.tanh(skill.actor(torch.from_numpy(skill.normalizer(observation)))[0])
    torch.testing.assert_close(choice.action, own, rtol=0, atol=1e-5)
    assert choice.disagreement.abs().max() < 1e-4


def test_the_deterministic_action_is_never_worse_by_q_than_the_mean_of_the_product(three_skills):
    composed = ComposedQ(three_skills)
    observation = np.random.default_rng(2).standard_normal((200, 87)).astype(np.float32)
    weights = composed.weights([0.2, 0.5, 0.3])
    choice = CandidatePolicy(composed)(observation, weights, composed.alpha)
    seen = composed.normalized(observation)
    mean, _ = product_of_gaussians(*composed.gaussians(seen), weights)
    with torch.no_grad():
        of_mean = composed.q(seen, torch.tanh(mean)[:, None], weights)[:, 0]
    assert (choice.value >= of_mean - 1e-5).all()
    assert (choice.value > of_mean + 1e-3).float().mean() > 0.5


def test_points_too_few_to_hold_every_skill_are_refused_unless_it_is_the_product_alone():
    with pytest.raises(ConfigurationError, match="1 point or at least 4"):
        CandidateSettings.make(3, 2, points=3)
    assert CandidateSettings.make(3, 2, points=1).share.shape == (1, 3, 2)
