"""What is promised of composed skills, against the task solved by itself."""

import numpy as np
import pytest
from scipy import special

from robot_rl.algorithms.tabular.composition import (
    acting_bound,
    conjunction,
    conjunction_bound,
    disagreement,
    divergence_backup,
    divergence_correction,
    gpi_policy,
    log_product_of_policies,
    skill_weights,
)
from robot_rl.algorithms.tabular.mdp import FiniteMDP
from robot_rl.algorithms.tabular.values import (
    boltzmann_policy,
    hard_evaluation,
    hard_policy_iteration,
    soft_evaluation,
    soft_policy_iteration,
)
from robot_rl.errors import InvalidInput

EXACT = 1e-9


def test_all_identities_hold_on_two_hundred_random_problems(composed):
    assert len(composed) == 200
    for problem, found in composed:
        task_q, average = problem.task_q, found.average
        # Qbar >= Q_w >= Qbar - C
        assert (average >= task_q - EXACT).all()
        assert (task_q >= average - found.bound - EXACT).all()
        # Q_w = Qbar - C_w, with 0 <= C_w <= C
        np.testing.assert_allclose(average - found.correction, task_q, rtol=0, atol=EXACT)
        assert (found.correction >= -EXACT).all()
        assert (found.correction <= found.bound + EXACT).all()
        # Q_w >= Q^pi >= Q_w - D for pi ~ exp(Qbar / alpha)
        acting = soft_evaluation(problem.task, boltzmann_policy(average, problem.alpha), problem.alpha)
        assert (task_q >= acting - EXACT).all()
        assert (acting >= task_q - found.acting_bound - EXACT).all()
        # pi ~ exp((Qbar - C_w) / alpha) attains Q_w
        corrected = boltzmann_policy(average - found.correction, problem.alpha)
        np.testing.assert_allclose(
            soft_evaluation(problem.task, corrected, problem.alpha), task_q, rtol=0, atol=EXACT
        )


def test_averaging_alone_is_not_exact(composed):
    too_much = [np.abs(found.average - problem.task_q).max() for problem, found in composed]
    assert np.median(too_much) > 0.1
    lost = [
        (p.task_q - soft_evaluation(p.task, boltzmann_policy(found.average, p.alpha), p.alpha)).max()
        for p, found in composed
    ]
    assert max(lost) > 0.1


def test_the_bound_and_the_correction_satisfy_their_equations_written_out(composed):
    # Sums over s' and a' one by one, as on paper.
    for problem, found in composed[:20]:
        mdp, alpha = problem.task, problem.alpha
        policies = special.softmax(problem.skill_q / alpha, axis=2)
        composed_policy = special.softmax(found.average / alpha, axis=1)
        for s, a in np.ndindex(mdp.states, mdp.actions):
            bound, acting, correction = 0.0, 0.0, 0.0
            for t in range(mdp.states):
                product = np.prod(policies[:, t] ** problem.weights[:, None], axis=0)
                reached = mdp.discount * mdp.transition[s, a, t]
                bound += reached * (-alpha * np.log(product.sum()) + found.bound[t].max())
                acting += reached * composed_policy[t] @ (found.bound[t] + found.acting_bound[t])
                correction += -alpha * reached * np.log((product * np.exp(-found.correction[t] / alpha)).sum())
            assert found.bound[s, a] == pytest.approx(bound, rel=0, abs=EXACT)
            assert found.acting_bound[s, a] == pytest.approx(acting, rel=0, abs=EXACT)
            assert found.correction[s, a] == pytest.approx(correction, rel=0, abs=EXACT)


def test_the_backup_of_the_correction_contracts_with_modulus_gamma(problems):
    rng = np.random.default_rng(0)
    for problem in problems:
        mdp, alpha = problem.task, problem.alpha
        log_product = log_product_of_policies(problem.skill_q, alpha, problem.weights)
        one, two = rng.normal(scale=2.0, size=(2, *mdp.reward.shape))
        distance = divergence_backup(mdp, one, log_product, alpha) - divergence_backup(mdp, two, log_product, alpha)
        assert np.abs(distance).max() <= mdp.discount * np.abs(one - two).max() + EXACT


def test_the_boltzmann_policy_of_the_average_is_the_product_of_the_policies(composed):
    for problem, found in composed:
        # In logarithms, since at low temperature the policies themselves underflow.
        log_policies = special.log_softmax(problem.skill_q / problem.alpha, axis=2)
        log_product = np.tensordot(problem.weights, log_policies, axes=1)
        np.testing.assert_allclose(
            log_product_of_policies(problem.skill_q, problem.alpha, problem.weights), log_product, rtol=0, atol=EXACT
        )
        np.testing.assert_allclose(
            boltzmann_policy(found.average, problem.alpha), special.softmax(log_product, axis=1), rtol=0, atol=EXACT
        )


def test_summing_two_skills_halves_the_temperature_and_is_not_the_product_of_their_policies(problems):
    apart = []
    for problem in problems:
        pair, alpha = problem.skill_q[:2], problem.alpha
        summed = special.softmax(pair.sum(axis=0) / alpha, axis=1)
        np.testing.assert_allclose(summed, boltzmann_policy(conjunction(pair), alpha / 2), rtol=0, atol=EXACT)
        roots = np.sqrt(special.softmax(pair / alpha, axis=2)).prod(axis=0)
        product = roots / roots.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(boltzmann_policy(conjunction(pair), alpha), product, rtol=0, atol=EXACT)
        apart.append(np.abs(summed - product).max())
    assert np.median(apart) > 0.01


def test_disagreement_of_two_skills_is_half_their_renyi_divergence_of_order_one_half(problems):
    for problem in problems:
        pair = problem.skill_q[:2]
        one, two = special.softmax(pair / problem.alpha, axis=2)
        renyi = -2 * np.log(np.sqrt(one * two).sum(axis=1))
        np.testing.assert_allclose(disagreement(pair, problem.alpha), renyi / 2, rtol=0, atol=EXACT)
        # In general -log sum p^w q^(1-w) = (1 - w) D_w(p || q).
        log_one, log_two = special.log_softmax(pair / problem.alpha, axis=2)
        renyi = special.logsumexp(0.3 * log_one + 0.7 * log_two, axis=1) / (0.3 - 1)
        found = disagreement(pair, problem.alpha, [0.3, 0.7])
        np.testing.assert_allclose(found, (1 - 0.3) * renyi, rtol=0, atol=EXACT)
        assert (found >= -EXACT).all()


def test_the_whole_renyi_divergence_in_place_of_half_of_it_doubles_the_bound(problems):
    for problem in problems[:50]:
        pair, mdp, alpha = problem.skill_q[:2], problem.task, problem.alpha
        one, two = special.log_softmax(pair / alpha, axis=2)
        renyi = -2 * special.logsumexp((one + two) / 2, axis=1)
        loose = hard_policy_iteration(mdp.with_reward(mdp.discount * mdp.transition @ (alpha * renyi)))
        np.testing.assert_allclose(loose, 2 * conjunction_bound(mdp, pair, alpha), rtol=0, atol=EXACT)


def test_one_skill_with_all_the_weight_is_that_skill(problems):
    for problem in problems[:50]:
        count = len(problem.skill_q)
        given = problem.task, problem.skill_q, problem.alpha, np.eye(count)[1]
        np.testing.assert_array_equal(conjunction(problem.skill_q, np.eye(count)[1]), problem.skill_q[1])
        for function in (conjunction_bound, acting_bound, divergence_correction):
            np.testing.assert_allclose(function(*given), 0.0, rtol=0, atol=EXACT)


def test_skills_that_agree_lose_nothing(problems):
    # Rewards that differ by constants have the same policies, so their average is exact.
    for problem in problems[:50]:
        q = np.stack([problem.skill_q[0], soft_policy_iteration(
            problem.skills[0].with_reward(problem.skills[0].reward + 3.0), problem.alpha
        )])  # fmt: skip
        for function in (conjunction_bound, acting_bound, divergence_correction):
            np.testing.assert_allclose(function(problem.task, q, problem.alpha), 0.0, rtol=0, atol=EXACT)


def test_with_one_state_the_bound_is_attained():
    # One state that stays: Q_i = r_i + gamma V_i with V_i = alpha logsumexp(r_i / alpha) / (1 - gamma).
    rng = np.random.default_rng(1)
    for _ in range(20):
        alpha, gamma, rewards, weights = 0.6, 0.8, rng.normal(size=(3, 4)), rng.dirichlet(np.ones(3))
        mdp = FiniteMDP(rewards[:1], np.ones((1, 4, 1)), gamma)
        one_step = alpha * special.logsumexp(rewards / alpha, axis=1)
        q = (rewards + gamma / (1 - gamma) * one_step[:, None])[:, None, :]
        too_much = weights @ one_step - alpha * special.logsumexp(weights @ rewards / alpha)
        truth = gamma / (1 - gamma) * too_much
        np.testing.assert_allclose(conjunction_bound(mdp, q, alpha, weights), truth, rtol=0, atol=EXACT)
        np.testing.assert_allclose(divergence_correction(mdp, q, alpha, weights), truth, rtol=0, atol=EXACT)


def test_disagreement_of_near_deterministic_skills_grows_as_one_over_the_temperature():
    # As alpha -> 0, alpha times the disagreement tends to sum_i w_i max_a Q_i - max_a sum_i w_i Q_i.
    rng = np.random.default_rng(2)
    for _ in range(50):
        q, weights = rng.normal(size=(3, 2, 4)), rng.dirichlet(np.ones(3))
        limit = weights @ q.max(axis=2) - np.tensordot(weights, q, axes=1).max(axis=1)
        np.testing.assert_allclose(1e-11 * disagreement(q, 1e-11, weights), limit, rtol=0, atol=EXACT)


def test_the_correction_does_not_look_at_rewards(composed):
    for problem, found in composed[:20]:
        blank = problem.task.with_reward(np.zeros_like(problem.task.reward))
        correction = divergence_correction(blank, problem.skill_q, problem.alpha, problem.weights)
        np.testing.assert_array_equal(correction, found.correction)


def test_generalised_policy_improvement_is_nowhere_below_any_of_the_policies(problems, random_policy):
    rng = np.random.default_rng(3)
    for problem in problems:
        task, alpha = problem.task, problem.alpha
        policies = [boltzmann_policy(q, alpha) for q in problem.skill_q] + [random_policy(rng, task) for _ in range(2)]
        q = np.stack([soft_evaluation(task, policy, alpha) for policy in policies])
        improved = soft_evaluation(task, gpi_policy(q, alpha), alpha)
        assert (improved >= q.max(axis=0) - EXACT).all()
        assert (improved <= problem.task_q + EXACT).all()


def corridor() -> tuple[FiniteMDP, np.ndarray]:
    """Seven cells, one goal at each end, and a third goal down a side step in the middle.

    Actions are left, right and down; down only leads out in the middle and stays elsewhere. The left goal pays 1 to the
    first skill and -1 to the second, the right one the other way round, and the one in the middle pays both 0.6.
    """
    cells, middle = 7, 3
    transition = np.zeros((cells, 3, cells))
    rewards = np.zeros((2, cells, 3))
    for cell in range(cells):
        if cell > 0:
            transition[cell, 0, cell - 1] = 1.0
        if cell < cells - 1:
            transition[cell, 1, cell + 1] = 1.0
        if cell != middle:
            transition[cell, 2, cell] = 1.0
    rewards[:, 0, 0] = 1.0, -1.0
    rewards[:, cells - 1, 1] = -1.0, 1.0
    rewards[:, middle, 2] = 0.6
    return FiniteMDP(rewards.mean(axis=0), transition, 0.98), rewards


def test_averaging_dithers_between_incompatible_goals_and_the_correction_repairs_it():
    task, rewards = corridor()
    alpha, middle = 0.005, 3
    q = np.stack([soft_policy_iteration(task.with_reward(reward), alpha) for reward in rewards])
    average = conjunction(q)
    dithering = boltzmann_policy(average, alpha)
    repaired = boltzmann_policy(average - divergence_correction(task, q, alpha), alpha)

    def earned(policy: np.ndarray) -> float:
        """Discounted reward from the middle, entropy not counted."""
        return float((policy * hard_evaluation(task, policy)).sum(axis=1)[middle])

    # Each skill expects to turn back and reach its own goal, so either way looks better than the goal of both.
    assert dithering[middle, 2] < 0.01
    np.testing.assert_allclose(dithering[middle, 0], dithering[middle, 1], rtol=0, atol=EXACT)
    best = earned(boltzmann_policy(soft_policy_iteration(task, alpha), alpha))
    assert best > 0.58
    assert earned(dithering) < 0.3 * best
    assert earned(repaired) == pytest.approx(best, rel=0, abs=EXACT)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([0.5], r"2 skills need as many weights, got 1: \[0.5\]"),
        ([0.2, 0.3, 0.5], r"got 3: \[0.2, 0.3, 0.5\]"),
        ([[0.5, 0.5]], r"got shape \(1, 2\)"),
        (1.0, r"got shape \(\)"),
        (["much", "little"], r"must be numbers >= 0 of sum 1, got \['much', 'little'\]"),
        ([1.5, -0.5], r">= 0 and sum to 1, got \[1.5, -0.5\]"),
        ([0.5, 0.6], r"got \[0.5, 0.6\] with sum 1.1"),
        ([0.0, 0.0], "sum to 1"),
        ([np.nan, 1.0], "got .nan, 1.0."),
    ],
)
def test_weights_that_are_no_weights_are_refused(weights, message: str):
    with pytest.raises(InvalidInput, match=message):
        skill_weights(weights, 2)
    with pytest.raises(InvalidInput, match=message):
        conjunction(np.zeros((2, 1, 2)), weights)


def test_no_weights_weigh_all_alike():
    np.testing.assert_allclose(conjunction(np.arange(12.0).reshape(3, 2, 2)), [[4.0, 5.0], [6.0, 7.0]])


@pytest.mark.parametrize("function", [conjunction_bound, acting_bound, divergence_correction])
def test_q_functions_of_another_problem_are_refused(function):
    mdp = FiniteMDP(np.zeros((1, 2)), np.ones((1, 2, 1)), 0.9)
    with pytest.raises(InvalidInput, match=r"must be \(N, 1, 2\), got \(2, 1, 3\)"):
        function(mdp, np.zeros((2, 1, 3)), 1.0)
    with pytest.raises(InvalidInput, match="alpha must be positive, got 0"):
        function(mdp, np.zeros((2, 1, 2)), 0.0)
