"""Products of Gaussians against quadrature, combinations against the finite case, and one line for every refusal."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm

from policies.composed_q import ComposedQ, combine, log_affinity, product_of_gaussians
from policies.composed_runtime import checked_temperature
from policies.skills import Skill
from robot_rl.algorithms.soft_q import SoftQ, SoftQSettings
from robot_rl.algorithms.tabular.composition import conjunction
from robot_rl.errors import ConfigurationError, InvalidInput, UnknownName
from robot_rl.make import make_learner
from robot_rl.spec_file import load_robot
from robot_rl.training.normalizer import Normalizer

WEIGHTS = ([0.2, 0.5, 0.3], [0.0, 0.9, 0.1], [1.0, 0.0, 0.0])


def three_gaussians(rows=4, actions=2, seed=0):
    rng = np.random.default_rng(seed)
    mean, log_std = rng.normal(0, 0.8, (3, rows, actions)), rng.uniform(-1.2, 0.2, (3, rows, actions))
    return torch.from_numpy(mean), torch.from_numpy(log_std)


def powers(mean, log_std, weights, row, entry):
    """prod_i N(u; mu_i, sigma_i)^w_i of one entry, as a function."""
    triples = list(zip(mean[:, row, entry].numpy(), log_std.exp()[:, row, entry].numpy(), weights, strict=True))
    return lambda u: np.exp(sum(w * norm.logpdf(u, m, s) for m, s, w in triples))


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_the_product_of_gaussians_is_the_one_that_quadrature_finds(weights):
    mean, log_std = three_gaussians()
    found_mean, found_log_std = product_of_gaussians(mean, log_std, torch.tensor(weights, dtype=torch.float64))
    for row, entry in np.ndindex(4, 2):
        # The trapezoidal rule is as good as any for a function that vanishes at both ends.
        u = np.linspace(-20, 20, 20_001)
        density = powers(mean, log_std, weights, row, entry)(u)
        density /= density.sum()
        centre, second = density @ u, density @ u**2
        assert float(found_mean[row, entry]) == pytest.approx(centre, abs=1e-7)
        assert float(found_log_std.exp()[row, entry]) == pytest.approx((second - centre**2) ** 0.5, abs=1e-7)


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_the_affinity_is_the_integral_over_actions_under_the_tanh_too(weights):
    mean, log_std = three_gaussians()
    found = log_affinity(mean, log_std, torch.tensor(weights, dtype=torch.float64))
    for row in range(4):
        expected = 0.0
        for entry in range(2):
            # In action space every density has the factor 1 / (1 - a^2), and the powers of the factors sum to one.
            a = np.linspace(-1, 1, 200_003)[1:-1]
            of_action = powers(mean, log_std, weights, row, entry)(np.arctanh(a)) / (1 - a * a)
            expected += np.log(of_action.sum() * (a[1] - a[0]))
        assert float(found[row]) == pytest.approx(expected, abs=1e-5)


def test_skills_that_agree_have_an_affinity_of_one_and_others_less():
    mean, log_std = three_gaussians()
    same = mean[:1].expand(3, -1, -1), log_std[:1].expand(3, -1, -1)
    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    assert log_affinity(*same, weights).abs().max() < 1e-12
    assert (log_affinity(mean, log_std, weights) < -1e-3).all()


def test_weights_of_their_own_for_each_row_do_what_the_same_weights_do_for_all():
    mean, log_std = three_gaussians()
    rows = torch.tensor([*WEIGHTS, [0.3, 0.3, 0.4]], dtype=torch.float64)
    each = product_of_gaussians(mean, log_std, rows), log_affinity(mean, log_std, rows)
    for row, weights in enumerate(rows):
        for ours, alone in zip(each[0], product_of_gaussians(mean, log_std, weights), strict=True):
            torch.testing.assert_close(ours[row], alone[row])
        torch.testing.assert_close(each[1][row], log_affinity(mean, log_std, weights)[row])


def test_a_combination_is_that_of_the_finite_case():
    q = np.random.default_rng(0).normal(0, 3, (3, 5, 4))
    weights, alpha = [0.2, 0.0, 0.8], 0.7

    def found(kind):
        return combine(torch.from_numpy(q), torch.tensor(weights, dtype=torch.float64), kind, alpha).numpy()

    np.testing.assert_allclose(found("conjunction"), conjunction(q, weights), atol=1e-12)
    np.testing.assert_allclose(found("or"), alpha * np.log(np.tensordot(weights, np.exp(q / alpha), 1)), atol=1e-9)
    np.testing.assert_allclose(found("gpi"), np.maximum(q[0], q[2]))


@pytest.mark.parametrize("kind", ["or", "gpi"])
def test_a_skill_without_weight_has_no_part_however_much_it_promises(kind):
    q = torch.from_numpy(np.random.default_rng(0).normal(0, 3, (3, 5, 4)).astype(np.float32)).requires_grad_()
    found = combine(q + torch.tensor([0.0, 1000.0, 0.0]).view(3, 1, 1), torch.tensor([0.2, 0.0, 0.8]), kind, 0.05)
    torch.testing.assert_close(found, combine(q[[0, 2]], torch.tensor([0.2, 0.8]), kind, 0.05))
    found.sum().backward()
    assert (q.grad[1] == 0).all()
    torch.testing.assert_close(q.grad.sum(dim=0), torch.ones(5, 4))


def test_with_one_temperature_the_composed_q_is_the_weighted_mean_of_the_least_critics(three_skills):
    composed = ComposedQ(three_skills)
    rng = np.random.default_rng(1)
    observation = rng.standard_normal((6, 87)).astype(np.float32)
    action = torch.from_numpy(rng.uniform(-1, 1, (6, 5, 12)).astype(np.float32))
    found = composed.q(composed.normalized(observation), action, composed.weights([0.2, 0.5, 0.3]))
    expected = 0.0
    for weight, skill in zip((0.2, 0.5, 0.3), three_skills, strict=True):
        seen = torch.from_numpy(skill.normalizer(observation))
        q = torch.stack([skill.critics(seen, action[:, k]).amin(dim=0) for k in range(5)], dim=1)
        expected = expected + weight * q
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_with_several_temperatures_a_skill_alone_keeps_its_own_policy(three_skills):
    """exp(Q_w / alpha) with all weight on skill i has to be exp(Q_i / alpha_i)."""
    skills = [replace(three_skills[0], alpha=0.05, settings=LEARNT), replace(three_skills[1], settings=LEARNT)]
    composed = ComposedQ(skills)
    assert composed.alpha == pytest.approx((0.05 * 0.2) ** 0.5)
    observation = np.zeros((1, 87), dtype=np.float32)
    action = torch.zeros(1, 1, 12)
    for index, skill in enumerate(skills):
        nats = composed.q(composed.normalized(observation), action, composed.weights(np.eye(2)[index])) / composed.alpha
        own = skill.critics(torch.from_numpy(skill.normalizer(observation)), action[:, 0]).amin(dim=0) / skill.alpha
        torch.testing.assert_close(nats[:, 0], own)


LEARNT = {"temperature_learning_rate": 3e-4, "target_entropy": -6.0}


@pytest.mark.parametrize(
    "weights", [[0.5, 0.6, -0.1], [0.5, 0.5, 0.1], [0.5, 0.5], [0.5, 0.5, np.nan], [[1, 0, 0]]], ids=str
)
def test_weights_that_are_none_are_refused_and_never_rescaled(three_skills, weights):
    with pytest.raises(InvalidInput, match="weights"):
        ComposedQ(three_skills).weights(weights)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf])
def test_a_temperature_has_to_be_finite_and_above_zero(temperature):
    with pytest.raises(InvalidInput, match="temperature"):
        checked_temperature(temperature)


def test_one_skill_alone_is_allowed_and_none_is_not(three_skills):
    assert ComposedQ(three_skills[:1]).weights().tolist() == [1.0]
    with pytest.raises(ConfigurationError, match="at least one"):
        ComposedQ([])


# -- skills that do not fit --------------------------------------------------------------------------------------------


def refusal(skills, **more):
    with pytest.raises(ConfigurationError) as caught:
        ComposedQ(skills, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


DIFFERENCES = {
    "robot": (
        lambda s, stroll, spec: replace(s, task=stroll(load_robot("minitaur"))),
        ["robot.name", "'go2'", "'minitaur'"],
    ),
    "gain": (
        lambda s, stroll, spec: replace(s, task=stroll(spec("go2", {"joints.FL_hip_joint.kp": 41}))),
        ["FL_hip_joint.kp", "41"],
    ),
    "control rate": (
        lambda s, stroll, spec: replace(s, task=stroll(spec("go2", {"control_rate": 100}))),
        ["control_rate", "50", "100"],
    ),
    "action map": (
        lambda s, stroll, spec: replace(s, task=stroll(spec("go2", {"action.scale": 0.123}))),
        ["action map.scale", "0.123"],
    ),
    "observation": (
        lambda s, stroll, spec: replace(s, task=_shorter(stroll)(load_robot("go2"))),
        ["observation.size", "87"],
    ),
    "goal": (
        lambda s, stroll, spec: replace(s, task=_renamed(stroll)(load_robot("go2"))),
        ["up m/s", "turn rad/s"],
    ),
    "algorithm": (
        lambda s, stroll, spec: replace(s, algorithm="sac_value"),
        ["algorithm", "'sac'", "'sac_value'"],
    ),
    "discount": (
        lambda s, stroll, spec: replace(s, discount=0.9),
        ["discount", "0.99", "0.9"],
    ),
    "target entropy": (
        lambda s, stroll, spec: replace(s, settings=LEARNT),
        ["temperature.target_entropy", "-12", "-6"],
    ),
    "a fixed temperature": (
        lambda s, stroll, spec: replace(s, settings={"temperature_learning_rate": 0.0}),
        ["temperature.kind", "'learnt'", "'fixed'"],
    ),
}


def _shorter(stroll):
    return type("Shorter", (stroll,), {"history_length": 1})


def _renamed(stroll):
    return type("Renamed", (stroll,), {"goal_labels": ("forward m/s", "left m/s", "up m/s")})


@pytest.mark.parametrize("what", DIFFERENCES)
def test_skills_that_differ_are_refused_with_the_difference_and_both_values(what, three_skills, stroll, robot_spec):
    change, words = DIFFERENCES[what]
    message = refusal([three_skills[0], change(three_skills[1], stroll, robot_spec)])
    for word in (*words, "skill 0", "skill 1"):
        assert word in message


def test_two_fixed_temperatures_that_differ_are_refused_with_both_values(three_skills):
    fixed = [replace(skill, settings={"temperature_learning_rate": 0.0}) for skill in three_skills[:2]]
    assert ComposedQ(fixed).alpha == pytest.approx(0.2)
    message = refusal([fixed[0], replace(fixed[1], alpha=0.5)])
    assert "temperature.value: 0.2 for 'skill 0', 0.5 for 'skill 1'" in message


def test_the_simulation_of_the_robot_may_differ(three_skills, stroll, robot_spec):
    heavier = stroll(robot_spec("go2", {"sensors.joint_position": {"noise": 0.2}}))
    ComposedQ([three_skills[0], replace(three_skills[1], task=heavier)])


def test_two_skills_need_two_names(three_skills):
    assert "names of their own" in refusal([three_skills[0], three_skills[0]])


def test_the_best_of_several_policies_is_only_taken_for_one_task(three_skills, stroll):
    assert ComposedQ(three_skills, "gpi").kind == "gpi"
    other = type("Other", (stroll,), {"name": "hop"})(load_robot("go2"))
    message = refusal([three_skills[0], replace(three_skills[1], task=other)], kind="gpi")
    assert "hop" in message
    assert "one task" in message


def test_a_kind_that_does_not_exist_is_answered_with_those_that_do(three_skills):
    with pytest.raises(UnknownName, match="conjunction, or, gpi"):
        ComposedQ(three_skills, "and")


def test_an_actor_of_another_kind_is_no_skill(walk):
    learner = SoftQ(87, 12, SoftQSettings(hidden_sizes=(8, 8)), 0, Normalizer.identity(87))
    learner.actor = learner.sampler
    with pytest.raises(ConfigurationError, match="actor as 'sac' or 'soft_q' have them"):
        Skill.of_learner(learner, walk, "soft")


@pytest.mark.parametrize("algorithm", ["sac_value", "td3", "ppo"])
def test_a_learner_without_a_temperature_is_no_skill(algorithm, walk):
    learner = make_learner(algorithm, walk, {"hidden_sizes": (8, 8)}, 0)
    with pytest.raises(ConfigurationError, match=f"a policy of '{algorithm}' cannot be composed; .*a temperature"):
        Skill.of_learner(learner, walk, "other")
