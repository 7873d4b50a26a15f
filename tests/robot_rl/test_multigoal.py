"""The plane with four goals: its rules, and the best return that each set of costs allows."""

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from scipy.optimize import minimize

from robot_rl.errors import InvalidInput
from robot_rl.multigoal import CHEAP, PAPER, Multigoal


def best_return(costs):
    """Straight to a goal in n steps that end exactly at its rim, for the best n, by quadratic programming."""

    def cost(steps):
        return costs.action * np.sum(steps**2) + costs.distance * np.sum((5.0 - np.cumsum(steps)) ** 2)

    found = []
    for n in range(4, 16):
        solved = minimize(
            cost, np.full(n, 4.0 / n), bounds=[(0, 1)] * n, method="SLSQP",
            constraints={"type": "eq", "fun": lambda steps: np.sum(steps) - 4.0},
        )  # fmt: skip
        found.append((costs.goal - solved.fun, solved.x))
    return max(found, key=lambda pair: pair[0])


@pytest.mark.parametrize(("costs", "published"), [(PAPER, -110.0), (CHEAP, -5.68)], ids=["paper", "cheap"])
def test_the_best_way_to_a_goal_has_the_known_return(costs, published):
    expected, steps = best_return(costs)
    assert expected == pytest.approx(published, abs=0.02)
    for direction in np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]):
        env = Multigoal(costs)
        env.reset(seed=0, options={"position": (0.0, 0.0)})
        total = 0.0
        for index, size in enumerate(steps):
            # A hair beyond the rim, which float arithmetic might otherwise just miss.
            _, reward, terminated, _, _ = env.step(direction * (size + 1e-7))
            total += reward
            assert terminated is (index == len(steps) - 1)
        assert total == pytest.approx(expected, abs=1e-3)


def test_the_reward_is_counted_after_the_move_and_names_its_terms():
    env = Multigoal()
    env.reset(seed=0, options={"position": (1.0, 2.0)})
    observation, reward, terminated, truncated, info = env.step(np.array([0.5, -1.0]))
    assert observation.tolist() == [1.5, 1.0]
    assert info["reward_terms"] == {"action": -30 * 1.25, "distance": -(3.5**2 + 1.0), "goal": 0.0}
    assert reward == pytest.approx(-37.5 - 13.25)
    assert not terminated
    assert not truncated


def test_an_episode_ends_at_a_goal_and_is_cut_after_thirty_steps():
    env = Multigoal()
    env.reset(seed=0, options={"position": (-3.5, 0.0)})
    _, reward, terminated, truncated, _ = env.step(np.array([-1.0, 0.0]))
    assert reward == pytest.approx(-30 - 0.25 + 10)
    assert terminated
    assert not truncated
    env.reset(seed=0)
    ends = [env.step(np.zeros(2))[2:4] for _ in range(30)]
    assert ends == [(False, False)] * 29 + [(False, True)]


def test_the_plane_ends_at_seven_and_actions_at_one():
    env = Multigoal()
    env.reset(seed=0, options={"position": (6.5, -6.5)})
    observation, _, _, _, info = env.step(np.array([9.0, -0.9]))
    assert observation.tolist() == [7.0, -7.0]
    assert info["reward_terms"]["action"] == pytest.approx(-30 * 1.81)


def test_episodes_start_near_the_origin_and_differ_by_seed():
    env = Multigoal()
    starts = np.array([env.reset(seed=seed)[0] for seed in range(2000)])
    assert np.abs(starts.mean(axis=0)).max() < 0.01
    assert starts.std(axis=0) == pytest.approx([0.1, 0.1], rel=0.05)
    np.testing.assert_array_equal(starts[3], env.reset(seed=3)[0])


def test_many_positions_at_once_are_as_one_by_one():
    env = Multigoal(CHEAP)
    rng = np.random.default_rng(0)
    position, action = rng.uniform(-7, 7, (50, 2)), rng.uniform(-1, 1, (50, 2))
    after, terms, reached = env.outcome(position, action)
    for index in range(50):
        env.reset(options={"position": position[index]})
        observation, reward, terminated, _, _ = env.step(action[index])
        np.testing.assert_allclose(observation, after[index], rtol=1e-6)
        assert reward == pytest.approx(sum(term[index] for term in terms.values()))
        assert terminated == reached[index]


def test_a_start_off_the_plane_is_refused():
    for position in ((7.5, 0.0), (0.0, 0.0, 0.0), (np.nan, 0.0)):
        with pytest.raises(InvalidInput, match="within"):
            Multigoal().reset(options={"position": position})


def test_gymnasium_finds_no_fault():
    check_env(Multigoal(), skip_render_check=True)
