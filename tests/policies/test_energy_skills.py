"""Compositions of soft Q-learning's skills: on one action against quadrature, and their graph against torch."""

import numpy as np
import pytest
import torch

from policies.candidates import CandidatePolicy, CandidateSettings, ranked
from policies.composed_export import export_composed
from policies.composed_q import ComposedQ
from policies.composed_runtime import ComposedPolicy
from policies.composition_report import composition_report
from policies.correction import Correction
from policies.energy_candidates import draw_around, particles
from robot_rl.errors import ConfigurationError

GRID = np.linspace(-1, 1, 4001)[1:-1]
WEIGHTS = (0.3, 0.7)


@pytest.fixture(scope="module")
def composed(hold, new_energy_skill):
    """One action, two loud skills."""
    return ComposedQ([new_energy_skill(hold, seed, loud=40.0) for seed in range(2)])


@pytest.fixture(scope="module")
def observation():
    return np.array([[0.5, -1.0, 0.3]], dtype=np.float32)


@pytest.fixture(scope="module")
def skill_nats(composed, observation):
    """Q_i / alpha_i on the grid, (N, G)."""
    action = torch.from_numpy(GRID.astype(np.float32))[None, :, None]
    with torch.no_grad():
        return composed.skill_q(composed.normalized(observation), action)[:, 0].double().numpy() / composed.alpha


@pytest.fixture(scope="module")
def many():
    """So many draws that only the method could be wrong."""
    return CandidateSettings.make(2, 1, draws=100_000)


def test_sampled_actions_have_the_density_that_quadrature_finds(composed, observation, skill_nats):
    nats = np.array(WEIGHTS) @ skill_nats
    share = np.exp(nats - nats.max())
    share /= share.sum()
    assert np.ptp(nats) > 1.0  # far from uniform
    policy = CandidatePolicy(composed, CandidateSettings.make(2, 1, draws=100))
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((2000, 100, 2)).astype(np.float32))
    drawn = policy(observation.repeat(2000, axis=0), composed.weights(WEIGHTS), composed.alpha, noise)
    ordered = np.sort(drawn.sampled_action[:, 0].numpy())
    # The largest gap between the two distribution functions (Kolmogorov and Smirnov).
    assert np.abs(np.searchsorted(ordered, GRID) / len(ordered) - share.cumsum()).max() < 0.05


def test_weighed_by_their_density_the_draws_have_the_moments_of_another_one(composed, observation):
    known = particles(composed, composed.normalized(observation)).detach().double()
    noise = torch.from_numpy(np.random.default_rng(1).standard_normal((1, 200_000, 1)))
    draws = draw_around(known, torch.tensor(WEIGHTS, dtype=torch.float64), noise)
    # E_q[p / q] = 1 for any density p, here that of the uniform on the box.
    action = torch.tanh(draws.u[0, :, 0]).numpy()
    log_uniform = np.log((1 - action**2) / 2)
    ratio = np.exp(log_uniform - draws.log_density[0].numpy())
    assert ratio.mean() == pytest.approx(1.0, abs=5 * ratio.std() / len(ratio) ** 0.5)
    assert ratio.max() <= 1 / 0.25 + 1e-3  # a quarter of the draws is uniform
    # The same weights recover the uniform's moments.
    assert (ratio * action).mean() == pytest.approx(0.0, abs=0.01)
    assert (ratio * action**2).mean() == pytest.approx(1 / 3, abs=0.01)


@pytest.mark.parametrize("weights", [WEIGHTS, (0.5, 0.5), (1.0, 0.0), (0.0, 1.0)], ids=str)
def test_the_disagreement_is_what_quadrature_finds(weights, composed, observation, skill_nats, many):
    w = np.array(weights)
    log_z = np.log(np.exp(skill_nats).mean(axis=1))  # the box's volume cancels
    expected = w @ log_z - np.log(np.exp(w @ skill_nats).mean())
    with torch.no_grad():
        found = ranked(composed, many, observation, composed.weights(weights), composed.alpha).disagreement
    assert float(found) == pytest.approx(expected, rel=0.02, abs=1e-4)
    assert max(weights) == 1.0 or expected > 0.02


@pytest.mark.parametrize("alone", [0, 1])
def test_with_all_weight_on_one_skill_the_action_is_its_own_deterministic_one(alone, walk, new_energy_skill):
    skills = [new_energy_skill(walk, seed) for seed in range(2)]
    composed, skill = ComposedQ(skills), skills[alone]
    rows = np.random.default_rng(2).standard_normal((100, walk.layout.size)).astype(np.float32)
    choice = CandidatePolicy(composed)(rows, composed.weights(np.eye(2)[alone]), composed.alpha)
    with torch.no_grad():
        own = torch.tanh(skill.actor.pre_tanh(torch.from_numpy(skill.normalizer(rows))))
    torch.testing.assert_close(choice.action, own, rtol=0, atol=1e-5)
    assert choice.disagreement.abs().max() < 1e-3


@pytest.mark.parametrize("kind", ["conjunction", "or"])
def test_the_graph_answers_as_torch_does_with_the_same_noise(kind, walk, new_energy_skill, tmp_path):
    skills = [new_energy_skill(walk, seed, layer_norm_critic=seed == 1) for seed in range(3)]
    torch_policy = CandidatePolicy(ComposedQ(skills, kind))
    report = export_composed(torch_policy, tmp_path / "a.onnx", weights=[0.2, 0.5, 0.3])
    assert report.max_error <= 1e-4
    policy = ComposedPolicy.load(tmp_path / "a.onnx", robot=walk.spec, layout=walk.layout)
    assert policy.composition.points == 48
    assert policy.composition.skills[0].sizes == (walk.layout.size, 32, 24, 12)
    rng = np.random.default_rng(3)
    rows = (walk.layout.offset + walk.layout.scale * rng.standard_normal((300, walk.layout.size))).astype(np.float32)
    noise = rng.standard_normal((300, 48, 13)).astype(np.float32)
    for weights in ((0.2, 0.5, 0.3), (1.0, 0.0, 0.0), (0.0, 0.5, 0.5)):
        policy.weights, w = weights, torch_policy.composed.weights(weights)
        theirs = torch_policy(rows, w, policy.temperature, torch.from_numpy(noise))
        plain, drawn = policy.answer(rows), policy.answer(rows, noise)
        # Two candidates that are worth the same to the last digit may change places.
        assert (np.abs(plain.action - theirs.action.numpy()).max(axis=1) <= 1e-4).sum() >= 299
        assert (np.abs(drawn.action - theirs.sampled_action.numpy()).max(axis=1) <= 1e-4).sum() >= 299
        np.testing.assert_allclose(plain.value, theirs.value, atol=1e-4)
        np.testing.assert_allclose(drawn.disagreement, theirs.disagreement, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(drawn.effective_sample_size, theirs.effective_sample_size, rtol=1e-2)


def test_the_report_measures_what_it_can_without_gaussians(composed, observation):
    rows = np.random.default_rng(4).standard_normal((60, 3)).astype(np.float32)
    report = composition_report(CandidatePolicy(composed), None, composed.alpha, [rows, rows + 0.1])
    of_two = report["disagreement_of_pairs_nats"]["skill 0 | skill 1"]
    assert report["disagreement_nats"]["mean"] == pytest.approx(of_two)
    assert all(std > 0.1 for std in report["action_std"].values())
    assert "samplers" not in report


def test_what_needs_a_density_and_what_does_not_fit_is_refused(walk, new_skill, new_energy_skill):
    two = [new_energy_skill(walk, seed) for seed in range(2)]
    with pytest.raises(ConfigurationError, match="a divergence correction is for Gaussian skills, not for 'soft_q'"):
        ComposedQ(two, correction=Correction.new(walk.layout.size, 2, 12, (8,), 0))
    with pytest.raises(ConfigurationError, match="differ in algorithm: 'soft_q' for 'skill 0', 'sac' for"):
        ComposedQ([two[0], new_skill(walk, 1)])
    with pytest.raises(ConfigurationError, match="differ in their candidates: 16 for 'skill 0', 8 for 'skill 1'"):
        ComposedQ([two[0], new_energy_skill(walk, 1, candidates=8)])
    with pytest.raises(ConfigurationError, match="a policy of 'soft_q' is no Gaussian"):
        ComposedQ(two).gaussians([])
