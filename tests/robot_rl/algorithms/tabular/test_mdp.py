"""Finite problems: what they refuse, and what their parts mean."""

import numpy as np
import pytest

from robot_rl.algorithms.tabular.mdp import FiniteMDP
from robot_rl.algorithms.tabular.values import hard_evaluation, soft_evaluation, soft_value_iteration
from robot_rl.errors import InvalidInput

LOOP = np.ones((1, 2, 1))
"""One state, two actions, both stay."""


@pytest.mark.parametrize(
    ("reward", "transition", "discount", "message"),
    [
        (np.zeros(2), LOOP, 0.9, r"reward must be \(S, A\).*got \(2,\) and \(1, 2, 1\)"),
        (np.zeros((1, 3)), LOOP, 0.9, r"got \(1, 3\) and \(1, 2, 1\)"),
        (np.zeros((0, 2)), np.zeros((0, 2, 0)), 0.9, r"got \(0, 2\)"),
        ([[0.0, np.nan]], LOOP, 0.9, "not finite"),
        (np.zeros((1, 2)), 1.1 * LOOP, 0.9, "sum to at most 1"),
        (np.zeros((1, 2)), -LOOP, 0.9, ">= 0"),
        (np.zeros((1, 2)), np.nan * LOOP, 0.9, "transition probabilities"),
        (np.zeros((1, 2)), LOOP, 1.1, r"discount must be in \[0, 1\], got 1.1"),
        (np.zeros((1, 2)), LOOP, float("nan"), "discount"),
    ],
)
def test_what_is_no_problem_is_refused(reward, transition, discount, message):
    with pytest.raises(InvalidInput, match=message):
        FiniteMDP(reward, transition, discount)


def test_without_a_discount_an_episode_that_cannot_end_is_refused():
    with pytest.raises(InvalidInput, match="from state 0 it never does under any policy"):
        FiniteMDP(np.zeros((1, 2)), LOOP, 1.0)
    # State 0 ends or goes to 1; state 1 stays for ever.
    transition = np.array([[[0.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    with pytest.raises(InvalidInput, match="from state 1"):
        FiniteMDP(np.zeros((2, 2)), transition, 1.0)


def test_without_a_discount_a_policy_that_never_ends_is_refused():
    # Action 0 ends, action 1 stays.
    mdp = FiniteMDP(np.ones((1, 2)), np.array([[[0.0], [1.0]]]), 1.0)
    assert hard_evaluation(mdp, np.array([[0.25, 0.75]])).tolist() == [[1.0, pytest.approx(5.0)]]
    with pytest.raises(InvalidInput, match="under the given policy"):
        hard_evaluation(mdp, np.array([[0.0, 1.0]]))


def test_arrays_are_copies_that_cannot_be_changed():
    reward = np.zeros((1, 2))
    mdp = FiniteMDP(reward, LOOP, 0.9)
    reward[:] = 7.0
    assert mdp.reward.max() == 0.0
    with pytest.raises(ValueError, match="read-only"):
        mdp.reward[0, 0] = 1.0


def test_after_the_end_neither_reward_nor_entropy_counts():
    # Each step earns 1 and is the last with probability 0.5: Q = 1 + gamma/2 (Q + alpha log 2).
    mdp = FiniteMDP(np.ones((1, 2)), 0.5 * LOOP, 0.8)
    truth = (1 + 0.4 * 2.0 * np.log(2)) / (1 - 0.4)
    np.testing.assert_allclose(soft_value_iteration(mdp, 2.0), truth, rtol=0, atol=1e-12)
    np.testing.assert_allclose(soft_evaluation(mdp, np.full((1, 2), 0.5), 2.0), truth, rtol=0, atol=1e-12)


def test_a_random_problem_has_the_successors_and_the_ending_asked_for():
    mdp = FiniteMDP.random(np.random.default_rng(0), states=5, actions=3, discount=0.9, successors=2, ending=0.25)
    assert ((mdp.transition > 0).sum(axis=2) == 2).all()
    np.testing.assert_allclose(mdp.transition.sum(axis=2), 0.75)


def test_the_horizon_is_the_mean_number_of_steps_where_nothing_is_discounted():
    assert FiniteMDP(np.zeros((1, 2)), LOOP, 0.9).horizon == pytest.approx(10.0)
    # One of the two actions stays, so that acting at random ends after two steps on average.
    assert FiniteMDP(np.zeros((1, 2)), np.array([[[0.0], [1.0]]]), 1.0).horizon == pytest.approx(2.0)
