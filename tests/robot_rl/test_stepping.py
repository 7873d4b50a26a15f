"""Stepping in place, against the kinematics of the legs and in an environment."""

import numpy as np
import pytest

from robot_rl.errors import ConfigurationError
from robot_rl.make import make_env, make_vector_env
from robot_rl.stepping import CLOCK, stepping
from robot_rl.tasks.walk import Walk, WalkSettings

QUADRUPEDS = ("go2", "minitaur")
FIRST, SECOND = [0, 3], [1, 2]  # feet of the diagonals


def heights(spec, displacement):
    """Of the feet above where they are at home, and how far they are moved along the ground, m."""
    legs = spec.legs
    moved = legs.kinematics(spec.home + displacement).position - legs.kinematics(spec.home).position
    return moved[:, 2], np.abs(moved[:, :2]).max()


@pytest.mark.parametrize("name", QUADRUPEDS)
def test_each_diagonal_is_lifted_straight_up_in_its_half_of_the_stride(name, robot_spec):
    spec = robot_spec(name)
    motion = stepping(spec, 0.03)
    for sine, swings, stands in ((1.0, SECOND, FIRST), (-1.0, FIRST, SECOND)):
        up, aside = heights(spec, motion.displacement(np.array(sine)))
        assert up[swings] == pytest.approx(0.03, abs=1e-5)
        assert up[stands] == pytest.approx(0.0, abs=1e-12)
        assert aside < 1e-5
    assert np.array_equal(motion.displacement(np.array(0.0)), np.zeros(spec.joints))


def test_the_feet_that_are_lifted_are_those_the_reward_wants_up(robot_spec):
    """Stepping with a foot in the air is what the reward of the gait pays; standing earns half of it."""
    trot = {}
    for height in (0.0, 0.06):
        env = make_env("go2", "walk", {"step_height": height})
        env.reset(seed=0)
        trot[height] = np.mean([env.step(np.zeros(12))[4]["reward_values"]["trot"] for _ in range(100)])
        env.close()
    assert trot[0.0] == pytest.approx(0.52, abs=0.04)
    assert trot[0.06] > 0.65


def test_the_command_is_home_and_the_step_by_the_clock_that_the_policy_saw(robot_spec):
    spec = robot_spec("go2")
    env = make_env("go2", "walk", {"step_height": 0.04})
    clock = env.observation_layout.labels.index(CLOCK)
    observation, _ = env.reset(seed=1)
    motion = stepping(spec, 0.04)
    for _ in range(40):
        wanted = spec.home + motion.displacement(observation[clock])
        observation, _, _, _, info = env.step(np.zeros(12))
        if not info["safety"]:
            assert info["applied"] == pytest.approx(wanted, abs=1e-12)
    env.close()


def test_many_robots_step_like_one():
    settings = {"step_height": 0.04}
    single, many = make_env("go2", "walk", settings), make_vector_env("go2", "walk", 3, settings)
    single.reset(seed=0)
    many.reset(seed=0)
    for _ in range(10):
        alone, together = single.step(np.zeros(12))[4]["applied"], many.step(np.zeros((3, 12)))[4]["applied"]
    # They start displaced by noise, which the command does not know.
    assert together == pytest.approx(np.tile(alone, (3, 1)), abs=1e-12)
    single.close()
    many.close()


def test_a_step_higher_than_the_legs_reach_is_refused(robot_spec):
    with pytest.raises(ConfigurationError, match=r"step_height 0\.5 m"):
        stepping(robot_spec("go2"), 0.5)


def test_a_robot_that_does_not_say_where_its_feet_are_cannot_step(robot_spec, removed):
    with pytest.raises(ConfigurationError, match=r"'legs'.*step_height 0"):
        Walk(robot_spec("go2", {"legs": removed}), WalkSettings(step_height=0.03))


@pytest.mark.parametrize("height", [-0.01, np.nan, np.inf])
def test_a_height_that_is_none_is_refused(height):
    with pytest.raises(ConfigurationError, match="step_height"):
        WalkSettings(step_height=height)
