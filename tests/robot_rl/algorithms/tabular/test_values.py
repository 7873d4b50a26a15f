"""Soft and hard values against sums over time, brute force, SciPy's optimiser and closed forms."""

import itertools

import numpy as np
import pytest
from scipy import optimize, special

from robot_rl.algorithms.tabular.mdp import FiniteMDP
from robot_rl.algorithms.tabular.values import (
    boltzmann_policy,
    entropy,
    greedy_policy,
    hard_backup,
    hard_evaluation,
    hard_policy_iteration,
    hard_value_iteration,
    kl_divergence,
    log_boltzmann_policy,
    soft_backup,
    soft_evaluation,
    soft_evaluation_backup,
    soft_policy_iteration,
    soft_value,
    soft_value_iteration,
    value_of_policy,
)
from robot_rl.errors import InvalidInput

EXACT = 1e-9


def summed_over_time(mdp: FiniteMDP, policy: np.ndarray, alpha: float) -> np.ndarray:
    """Q from the definition: E[sum_t gamma^t (r_t + alpha H_t)], less the entropy of the first step, (S, A)."""
    step = np.einsum("sa,sat->st", policy, mdp.transition)
    gained = (policy * mdp.reward).sum(axis=1) + alpha * special.entr(policy).sum(axis=1)
    value, later = gained, mdp.discount * step
    while later.max() > 1e-17:  # twice as many steps each time: those counted, then the same ones from there on
        value, later = value + later @ value, later @ later
    return mdp.reward + mdp.discount * mdp.transition @ value


def test_soft_value_is_the_logarithm_of_the_sum_of_exponentials_without_overflow():
    q = np.random.default_rng(0).normal(scale=3.0, size=(50, 4))
    for alpha in (0.01, 1.0, 30.0):
        np.testing.assert_allclose(
            soft_value(q, alpha), alpha * special.logsumexp(q / alpha, axis=1), rtol=0, atol=1e-12
        )
    assert soft_value(np.array([1e6, -1e6]), 1e-3) == 1e6


def test_log_policy_stays_finite_and_exact_where_the_policy_underflows():
    q = np.array([[0.0, -2000.0]])
    assert boltzmann_policy(q, 1.0).tolist() == [[1.0, 0.0]]
    assert log_boltzmann_policy(q, 1.0).tolist() == [[0.0, -2000.0]]
    assert entropy(np.array([[1.0, 0.0]])).tolist() == [0.0]


def test_evaluation_is_the_sum_over_time_of_rewards_and_entropies(problems, random_policy):
    rng = np.random.default_rng(1)
    for problem in problems:
        policy = random_policy(rng, problem.task)
        for alpha, q in (
            (problem.alpha, soft_evaluation(problem.task, policy, problem.alpha)),
            (0.0, hard_evaluation(problem.task, policy)),
        ):
            np.testing.assert_allclose(q, summed_over_time(problem.task, policy, alpha), rtol=0, atol=EXACT)


def test_repeated_evaluation_meets_the_linear_solve(problems, random_policy):
    rng = np.random.default_rng(2)
    for problem in problems[:50]:
        mdp, policy = problem.task, random_policy(rng, problem.task)
        q = rng.standard_normal(mdp.reward.shape)
        for _ in range(300):
            q = soft_evaluation_backup(mdp, q, policy, problem.alpha)
        np.testing.assert_allclose(q, soft_evaluation(mdp, policy, problem.alpha), rtol=0, atol=EXACT)


def test_backups_contract_with_modulus_gamma(problems, random_policy):
    rng = np.random.default_rng(3)
    for problem in problems:
        mdp, alpha, policy = problem.task, problem.alpha, random_policy(rng, problem.task)
        one, two = rng.normal(scale=3.0, size=(2, *mdp.reward.shape))
        for backup in (
            lambda q: soft_evaluation_backup(mdp, q, policy, alpha),  # noqa: B023
            lambda q: soft_backup(mdp, q, alpha),  # noqa: B023
            lambda q: hard_backup(mdp, q),  # noqa: B023
        ):
            assert np.abs(backup(one) - backup(two)).max() <= mdp.discount * np.abs(one - two).max() + 1e-12
            # A constant distance shrinks by exactly gamma, and the chance of an end: no smaller modulus will do.
            apart = backup(one + 5.0) - backup(one)
            np.testing.assert_allclose(apart, 5.0 * mdp.discount * (1 - problem.ending), rtol=0, atol=1e-12)


def test_improvement_raises_q_everywhere(problems, random_policy):
    rng = np.random.default_rng(4)
    for problem in problems:
        mdp, alpha = problem.task, problem.alpha
        q = soft_evaluation(mdp, random_policy(rng, mdp), alpha)
        assert (soft_evaluation(mdp, boltzmann_policy(q, alpha), alpha) >= q - EXACT).all()
        hard = hard_evaluation(mdp, random_policy(rng, mdp))
        assert (hard_evaluation(mdp, greedy_policy(hard)) >= hard - EXACT).all()


def test_improvement_without_the_temperature_makes_an_optimal_policy_worse(problems):
    # pi' ~ exp(Q) in place of exp(Q / alpha), as some notes have it.
    worse = 0
    for problem in problems:
        q = soft_evaluation(problem.task, boltzmann_policy(problem.task_q, 1.0), problem.alpha)
        assert (q <= problem.task_q + EXACT).all()
        worse += (q < problem.task_q - 0.01).any()
    assert worse > 150


def test_policy_iteration_and_value_iteration_meet(problems):
    for problem in problems:
        soft = soft_value_iteration(problem.task, problem.alpha)
        np.testing.assert_allclose(soft, problem.task_q, rtol=0, atol=EXACT)
        hard = hard_value_iteration(problem.task)
        np.testing.assert_allclose(hard, hard_policy_iteration(problem.task), rtol=0, atol=EXACT)


def test_the_error_of_value_iteration_shrinks_by_gamma_per_sweep_in_the_end():
    rng = np.random.default_rng(5)
    for _ in range(20):
        mdp = FiniteMDP.random(rng, states=6, actions=3, discount=0.9)
        optimal = soft_policy_iteration(mdp, 0.5)
        q = optimal + 10.0 * rng.random(optimal.shape)
        for _ in range(80):
            before, q = q, soft_backup(mdp, q, 0.5)
        ratio = np.abs(q - optimal).max() / np.abs(before - optimal).max()
        assert ratio == pytest.approx(0.9, rel=0, abs=EXACT)


def test_no_policy_is_better_than_the_optimal_one(problems, random_policy):
    rng = np.random.default_rng(6)
    for problem in problems:
        mdp, alpha, q = problem.task, problem.alpha, problem.task_q
        policy = boltzmann_policy(q, alpha)
        # pi = exp((Q - V) / alpha) attains Q ...
        np.testing.assert_allclose(policy, np.exp((q - soft_value(q, alpha)[:, None]) / alpha), rtol=0, atol=EXACT)
        np.testing.assert_allclose(summed_over_time(mdp, policy, alpha), q, rtol=0, atol=EXACT)
        # ... and neither a policy far from it nor one beside it does better.
        for share in (1.0, 0.01):
            other = (1 - share) * policy + share * random_policy(rng, mdp)
            assert (summed_over_time(mdp, other, alpha) <= q + EXACT).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_optimal_soft_value_is_what_an_optimiser_over_policies_finds(seed: int):
    rng = np.random.default_rng(seed)
    mdp, alpha = FiniteMDP.random(rng, states=3, actions=3, discount=0.7), 0.4

    def loss(logits: np.ndarray) -> float:
        policy = special.softmax(logits.reshape(3, 3), axis=1)
        q = summed_over_time(mdp, policy, alpha)
        return -float((policy * q + alpha * special.entr(policy)).sum())

    found = optimize.minimize(loss, np.zeros(9), method="BFGS", options={"gtol": 1e-7})
    optimal = soft_value(soft_value_iteration(mdp, alpha), alpha).sum()
    assert -found.fun == pytest.approx(optimal, rel=0, abs=EXACT)


@pytest.mark.parametrize("seed", range(5))
def test_the_optimal_hard_value_is_the_best_of_all_deterministic_policies(seed: int):
    mdp = FiniteMDP.random(np.random.default_rng(seed), states=4, actions=3, discount=0.9)
    best = np.full((4, 3), -np.inf)
    for choice in itertools.product(range(3), repeat=4):
        states = np.arange(4)
        step, gained = mdp.transition[states, choice], mdp.reward[states, choice]
        value = np.linalg.inv(np.eye(4) - 0.9 * step) @ gained
        best = np.maximum(best, mdp.reward + 0.9 * mdp.transition @ value)
    np.testing.assert_allclose(hard_value_iteration(mdp), best, rtol=0, atol=EXACT)


def test_temperature_to_zero_gives_ordinary_value_iteration(problems):
    for problem in problems[:50]:
        mdp, hard = problem.task, hard_policy_iteration(problem.task)
        np.testing.assert_allclose(soft_value_iteration(mdp, 1e-11), hard, rtol=0, atol=EXACT)
        # In between, entropy adds at most alpha log A per step from the next one on.
        most = problem.alpha * np.log(mdp.actions) * mdp.discount / (1 - mdp.discount)
        assert (problem.task_q >= hard - EXACT).all()
        assert (problem.task_q <= hard + most + EXACT).all()


def test_adding_c_to_the_reward_shifts_q_by_c_over_one_minus_gamma(problems):
    for problem in problems:
        mdp = problem.task
        shifted = soft_policy_iteration(mdp.with_reward(mdp.reward + 2.5), problem.alpha)
        going_on = mdp.discount * (1 - problem.ending)
        np.testing.assert_allclose(shifted, problem.task_q + 2.5 / (1 - going_on), rtol=0, atol=EXACT)


def test_scaling_reward_and_temperature_together_scales_q(problems):
    for problem in problems:
        scaled = soft_policy_iteration(problem.task.with_reward(7.0 * problem.task.reward), 7.0 * problem.alpha)
        np.testing.assert_allclose(scaled, 7.0 * problem.task_q, rtol=0, atol=EXACT)


def test_value_of_a_policy_is_the_soft_value_of_its_q_only_for_the_boltzmann_policy(problems, random_policy):
    rng = np.random.default_rng(7)
    for problem in problems:
        mdp, alpha = problem.task, problem.alpha
        policy = random_policy(rng, mdp)
        q = summed_over_time(mdp, policy, alpha)
        value = (policy * q).sum(axis=1) + alpha * special.entr(policy).sum(axis=1)
        np.testing.assert_allclose(value_of_policy(q, policy, alpha), value, rtol=0, atol=EXACT)
        # V = alpha logsumexp(Q / alpha), written for any policy, is too much by alpha KL(pi || exp(Q / alpha) / Z).
        divergence = special.rel_entr(policy, special.softmax(q / alpha, axis=1)).sum(axis=1)
        np.testing.assert_allclose(soft_value(q, alpha) - value, alpha * divergence, rtol=0, atol=EXACT)
        assert (soft_value(q, alpha) - value).max() > 1e-4
        boltzmann = boltzmann_policy(problem.task_q, alpha)
        own = value_of_policy(problem.task_q, boltzmann, alpha)
        np.testing.assert_allclose(soft_value(problem.task_q, alpha), own, rtol=0, atol=EXACT)


def test_entropy_plus_mean_q_falls_short_of_the_log_sum_by_the_divergence_and_the_other_sign_exceeds_it():
    rng = np.random.default_rng(8)
    for _ in range(200):
        q, policy = rng.normal(scale=2.0, size=4), rng.dirichlet(np.ones(4))
        objective = special.entr(policy).sum() + policy @ q
        divergence = special.rel_entr(policy, special.softmax(q)).sum()
        most = special.logsumexp(q)
        assert kl_divergence(policy, log_boltzmann_policy(q, 1.0)) == pytest.approx(divergence, rel=0, abs=EXACT)
        assert objective == pytest.approx(most - divergence, rel=0, abs=EXACT)
        assert objective != pytest.approx(most + divergence, rel=0, abs=1e-4)


def test_the_improved_policy_has_the_least_divergence_and_the_greatest_picks_the_worst_action():
    # Two actions: the whole simplex is a line. The wrong sign would maximise the divergence.
    q, first = np.array([1.0, 0.2]), np.linspace(0.0, 1.0, 2001)
    policies = np.stack([first, 1 - first], axis=1)
    divergence = kl_divergence(policies, log_boltzmann_policy(q, 0.5))
    objective = value_of_policy(q, policies, 0.5)
    assert divergence.argmin() == objective.argmax()
    np.testing.assert_allclose(policies[divergence.argmin()], special.softmax(q / 0.5), rtol=0, atol=3e-4)
    assert policies[divergence.argmax()].tolist() == [0.0, 1.0]


def test_a_backup_without_gamma_has_not_the_return_as_its_fixed_point():
    # One state, reward 1, two like actions: the return is (1 + gamma alpha log 2) / (1 - gamma).
    mdp, alpha = FiniteMDP(np.ones((1, 2)), np.ones((1, 2, 1)), 0.9), 0.5
    truth = (1 + 0.9 * alpha * np.log(2)) / (1 - 0.9)
    q = np.full((1, 2), truth)
    np.testing.assert_allclose(soft_backup(mdp, q, alpha), truth, rtol=0, atol=1e-12)
    # Without gamma every sweep adds a whole step again, and none is the last.
    for _ in range(100):
        q = mdp.reward + mdp.transition @ soft_value(q, alpha)
    np.testing.assert_allclose(q, truth + 100 * (1 + alpha * np.log(2)), rtol=0, atol=1e-9)


def test_boltzmann_exploration_on_hard_q_does_not_seek_states_with_choice_and_the_soft_policy_does():
    # From state 0, action 0 leads to a state of three like actions, action 1 to one where two of three cost 50.
    transition = np.zeros((3, 3, 3))
    transition[0, 0, 1] = transition[0, 1, 2] = transition[0, 2, 2] = 1.0
    mdp = FiniteMDP([[0.0, 0.0, -50.0], [1.0, 1.0, 1.0], [1.0, -50.0, -50.0]], transition, 0.9)
    alpha = 1.0
    hard = boltzmann_policy(hard_value_iteration(mdp), alpha)
    soft = boltzmann_policy(soft_value_iteration(mdp, alpha), alpha)
    assert hard[0, 0] == pytest.approx(hard[0, 1], rel=0, abs=1e-12)
    # Q differs by gamma alpha log 3, so the odds are 3^gamma.
    assert soft[0, 0] / soft[0, 1] == pytest.approx(3**0.9, rel=1e-9)


def test_boltzmann_exploration_on_hard_q_is_best_for_this_steps_entropy_and_not_for_the_objective(
    problems, random_policy
):
    rng = np.random.default_rng(9)
    short = 0
    for problem in problems:
        mdp, alpha = problem.task, problem.alpha
        q = hard_policy_iteration(mdp)
        explorer = boltzmann_policy(q, alpha)
        other = random_policy(rng, mdp)
        this_step = [(p * q).sum(axis=1) + alpha * special.entr(p).sum(axis=1) for p in (explorer, other)]
        assert (this_step[0] >= this_step[1] - EXACT).all()
        reached = summed_over_time(mdp, explorer, alpha)
        assert (reached <= problem.task_q + EXACT).all()
        short += (reached < problem.task_q - 1e-6).any()
    assert short > 100


def test_without_a_discount_the_soft_value_is_the_log_sum_over_all_paths(random_world):
    rng = np.random.default_rng(10)
    for _ in range(20):
        world = random_world(rng, cycles=False)
        mdp, alpha = world.task(rng.normal(scale=3.0, size=3)), 0.7

        def returns(state: int, action: int, mdp: FiniteMDP = mdp) -> list[float]:
            """Of every path that starts with this action."""
            (following,) = np.nonzero(mdp.transition[state, action])
            reward = mdp.reward[state, action]
            later = [r for s in following for a in range(mdp.actions) for r in returns(int(s), a)]
            return [reward + r for r in later] if len(following) else [reward]

        paths = [[np.array(returns(s, a)) for a in range(mdp.actions)] for s in range(mdp.states)]
        soft = [[alpha * special.logsumexp(r / alpha) for r in row] for row in paths]
        hard = [[r.max() for r in row] for row in paths]
        for solve in (soft_value_iteration, soft_policy_iteration):
            np.testing.assert_allclose(solve(mdp, alpha), soft, rtol=0, atol=EXACT)
        for solve in (hard_value_iteration, hard_policy_iteration):
            np.testing.assert_allclose(solve(mdp), hard, rtol=0, atol=EXACT)


@pytest.mark.parametrize("solve", [hard_value_iteration, hard_policy_iteration])
def test_without_a_discount_a_way_round_that_costs_nothing_is_no_hindrance(solve):
    # To stay is as good as to go on, which earns 1 and ends.
    mdp = FiniteMDP([[0.0, 0.0], [1.0, 1.0]], np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]), 1.0)
    np.testing.assert_allclose(solve(mdp), np.ones((2, 2)), rtol=0, atol=EXACT)


@pytest.mark.parametrize("solve", [soft_value_iteration, soft_policy_iteration])
def test_without_a_discount_a_way_round_that_pays_for_ever_is_refused(solve):
    # Ending earns nothing and staying costs 0.1, but at temperature 1 the choice between two is worth log 2 a step.
    mdp = FiniteMDP([[0.0, -0.1, -0.1]], np.array([[[0.0], [1.0], [1.0]]]), 1.0)
    with pytest.raises(InvalidInput, match="round pays for ever"):
        solve(mdp, 1.0)
    # At a lower temperature it does not pay: sum_a exp(r / alpha) < 1 over the actions that stay.
    assert np.isfinite(solve(mdp, 0.1)).all()


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_not_positive_is_refused(alpha: float):
    mdp = FiniteMDP(np.zeros((1, 2)), np.ones((1, 2, 1)), 0.9)
    for call in (
        lambda: soft_value_iteration(mdp, alpha),
        lambda: soft_policy_iteration(mdp, alpha),
        lambda: soft_evaluation(mdp, np.full((1, 2), 0.5), alpha),
        lambda: boltzmann_policy(mdp.reward, alpha),
    ):
        with pytest.raises(InvalidInput, match="alpha must be positive"):
            call()


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (np.full((2, 2), 0.5), r"has shape \(2, 2\), the finite MDP takes \(1, 2\)"),
        (np.array([[0.6, 0.6]]), "sum to 1"),
        (np.array([[1.5, -0.5]]), ">= 0"),
        (np.array([[np.nan, 1.0]]), ">= 0"),
    ],
)
def test_what_is_no_policy_is_refused(policy: np.ndarray, message: str):
    mdp = FiniteMDP(np.zeros((1, 2)), np.ones((1, 2, 1)), 0.9)
    with pytest.raises(InvalidInput, match=message):
        hard_evaluation(mdp, policy)
