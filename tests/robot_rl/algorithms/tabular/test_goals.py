"""OR of soft values and the Boolean algebra of goal values: where they are exact, and where they are not."""

import numpy as np
import pytest
from scipy import special

from robot_rl.algorithms.tabular.goals import GoalWorld, complement, disjunction, goal_values
from robot_rl.algorithms.tabular.values import hard_policy_iteration, soft_policy_iteration, soft_value_iteration
from robot_rl.errors import InvalidInput

EXACT = 1e-9
LOW, HIGH, PENALTY = -4.0, 6.0, -1000.0


def error_of_or(rng: np.random.Generator, world: GoalWorld, step_rewards: np.ndarray | None = None) -> float:
    """How far the OR of two tasks' soft values is from the soft value of the OR of their goal rewards."""
    alpha, weights = rng.uniform(0.2, 1.0), rng.dirichlet(np.ones(2))
    goal_rewards = rng.normal(scale=4.0, size=(2, world.ending.shape[2]))
    either = world.task(alpha * special.logsumexp(goal_rewards / alpha, axis=0, b=weights[:, None]))
    tasks = [world.task(reward) for reward in goal_rewards]
    if step_rewards is not None:
        extra = step_rewards - 3.0  # keeps ways round from paying
        tasks = [task.with_reward(task.reward + r) for task, r in zip(tasks, extra, strict=True)]
        either = either.with_reward(either.reward + disjunction(extra, alpha, weights))
    q = np.stack([soft_value_iteration(task, alpha) for task in tasks])
    return float(np.abs(disjunction(q, alpha, weights) - soft_policy_iteration(either, alpha)).max())


@pytest.mark.parametrize("cycles", [False, True])
def test_or_is_exact_for_deterministic_undiscounted_tasks_that_differ_at_the_ends_only(random_world, cycles: bool):
    rng = np.random.default_rng(0)
    for _ in range(100):
        assert error_of_or(rng, random_world(rng, cycles=cycles)) < EXACT


def test_or_is_wrong_with_a_discount(random_world):
    rng = np.random.default_rng(1)
    errors = [error_of_or(rng, random_world(rng, discount=0.95)) for _ in range(20)]
    assert np.median(errors) > 0.01


def test_or_is_wrong_with_stochastic_dynamics(random_world):
    rng = np.random.default_rng(2)
    errors = [error_of_or(rng, random_world(rng, outcomes=2)) for _ in range(20)]
    assert np.median(errors) > 0.1


def test_or_is_wrong_where_tasks_differ_on_the_way(random_world):
    rng = np.random.default_rng(3)
    errors = [error_of_or(rng, random_world(rng), step_rewards=rng.normal(size=(2, 6, 3))) for _ in range(20)]
    assert np.median(errors) > 0.1


def test_or_is_the_weighted_log_sum_without_overflow():
    q = np.random.default_rng(4).normal(scale=50.0, size=(3, 5, 2))
    weights = np.array([0.2, 0.0, 0.8])
    for alpha in (0.01, 1.0):
        truth = alpha * special.logsumexp(q / alpha, axis=0, b=weights[:, None, None])
        np.testing.assert_allclose(disjunction(q, alpha, weights), truth, rtol=0, atol=EXACT)


def test_or_leaves_out_a_skill_without_weight_however_large_its_values():
    np.testing.assert_array_equal(disjunction(np.array([[1.0], [1e6]]), 0.01, [1.0, 0.0]), [1.0])


def test_maximum_minimum_and_complement_of_goal_values_are_or_and_and_not(random_world):
    rng = np.random.default_rng(5)
    for _ in range(15):
        world = random_world(rng)

        def values(wanted: np.ndarray, world: GoalWorld = world) -> np.ndarray:
            return goal_values(world, np.where(wanted, HIGH, LOW), PENALTY)

        one, two = rng.random((2, 3)) < 0.5
        every, none = values(np.ones(3, bool)), values(np.zeros(3, bool))
        for wanted, composed in (
            (one | two, np.maximum(values(one), values(two))),
            (one & two, np.minimum(values(one), values(two))),
            (~one, complement(values(one), every, none)),
        ):
            np.testing.assert_allclose(composed, values(wanted), rtol=0, atol=EXACT)
            # And the task itself is solved: the best goal's value is the ordinary optimal Q.
            task = world.task(np.where(wanted, HIGH, LOW))
            np.testing.assert_allclose(composed.max(axis=0), hard_policy_iteration(task), rtol=0, atol=EXACT)


def test_the_best_goals_value_falls_short_with_stochastic_dynamics(random_world):
    # Aiming at one goal alone shies from an action that reaches either of two good goals.
    rng = np.random.default_rng(6)
    short = []
    for _ in range(10):
        world = random_world(rng, outcomes=2)
        reward = np.array([HIGH, HIGH, LOW])
        best, truth = goal_values(world, reward, PENALTY).max(axis=0), hard_policy_iteration(world.task(reward))
        assert (best <= truth + EXACT).all()
        short.append((truth - best).max())
    assert min(short) > 1.0


@pytest.mark.parametrize(
    ("transition", "ending", "message"),
    [
        (np.zeros((2, 2)), np.ones((2, 2, 1)), r"got \(2, 2\) and \(2, 2, 1\)"),
        (np.zeros((2, 2, 2)), np.ones((2, 1, 1)), r"got \(2, 2, 2\) and \(2, 1, 1\)"),
        (np.zeros((2, 2, 2)), np.full((2, 2, 2), 0.4), "together sum to 1"),
        (np.full((2, 2, 2), 1.0), np.full((2, 2, 1), -1.0), ">= 0"),
    ],
)
def test_what_is_no_world_is_refused(transition: np.ndarray, ending: np.ndarray, message: str):
    with pytest.raises(InvalidInput, match=message):
        GoalWorld(np.zeros((2, 2)), transition, ending, 1.0)


def test_a_task_with_too_few_goal_rewards_is_refused(random_world):
    world = random_world(np.random.default_rng(7))
    with pytest.raises(InvalidInput, match=r"3 goals need as many rewards, got shape \(2,\)"):
        world.task([1.0, 2.0])
