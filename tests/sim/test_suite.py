"""Tasks of the dm_control suite as environments, beside the suite itself."""

import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from robot_rl.errors import ConfigurationError, InvalidInput, UnknownName
from robot_rl.make import make_suite_env, suite_tasks

suite = pytest.importorskip("dm_control.suite", reason="dm_control is not installed (extra 'suite')")


@pytest.fixture
def make():
    """Makes environments and closes them afterwards."""
    opened = []

    def build(name, **settings):
        opened.append(make_suite_env(f"dm_control/{name}", **settings))
        return opened[-1]

    yield build
    for env in opened:
        env.close()


def flat(observation):
    """The suite's parts, one after the other."""
    return np.concatenate([np.atleast_1d(part).ravel() for part in observation.values()])


def test_every_task_of_the_suite_has_a_name():
    assert set(suite_tasks()) == {f"dm_control/{domain}-{task}" for domain, task in suite.ALL_TASKS}


@pytest.mark.filterwarnings("ignore:.*A Box observation space", "ignore:.*For Box action spaces")
@pytest.mark.parametrize("name", ["quadruped-walk", "cartpole-swingup", "lqr-lqr_2_1"])
def test_it_is_a_gymnasium_environment(name, make):
    env = make(name)
    check_env(env, skip_render_check=True)
    assert env.metadata["render_fps"] == round(1 / env.suite_env.control_timestep())


def test_a_repeated_action_is_the_suites_own_steps_summed(make):
    once, twice = make("cartpole-swingup"), make("cartpole-swingup", repeat=2)
    assert twice.control_dt == pytest.approx(2 * once.control_dt)
    for env in (once, twice):
        env.reset(seed=3)
    rng, steps, truncated = np.random.default_rng(0), 0, False
    while not truncated:
        action = rng.uniform(-1, 1, 1).astype(np.float32)
        first, second = (once.step(action) for _ in range(2))
        observation, reward, _, truncated, _ = twice.step(action)
        np.testing.assert_array_equal(observation, second[0])
        assert reward == pytest.approx(first[1] + second[1])
        steps += 1
    assert second[3]
    assert steps == 500
    with pytest.raises(ConfigurationError, match="at least 1, got 0"):
        make_suite_env("dm_control/cartpole-swingup", repeat=0)


def test_it_does_what_the_suite_does(make):
    env = make("quadruped-walk")
    observation, _ = env.reset(seed=7)
    bare = suite.load("quadruped", "walk", task_kwargs={"random": 0})
    bare.reset()
    with bare.physics.reset_context():
        bare.physics.set_state(env.suite_env.physics.get_state())
    # The first step of the two computes the same from the same state.
    rng = np.random.default_rng(0)
    for tick in range(20):
        action = rng.uniform(env.action_space.low, env.action_space.high).astype(np.float32)
        observation, reward, terminated, truncated, info = env.step(action)
        moment = bare.step(action)
        assert observation.dtype == np.float32
        if tick:
            assert observation == pytest.approx(flat(moment.observation), rel=1e-3, abs=1e-3)
            assert reward == pytest.approx(moment.reward, abs=1e-3)
        assert (terminated, truncated, info) == (False, False, {})


def test_all_that_is_random_follows_the_seed(make):
    one, other = make("reacher-hard"), make("reacher-hard")
    other.reset(seed=99)
    starts = []
    for env in (one, other):
        first = env.reset(seed=3)[0]
        starts.append([first, env.reset()[0], env.reset()[0]])
    assert np.array_equal(starts[0], starts[1])
    assert not np.array_equal(starts[0][0], starts[0][1])
    assert not np.array_equal(one.reset(seed=4)[0], starts[0][0])


def test_the_end_of_time_truncates_and_never_terminates(make):
    env = make("cartpole-balance")
    env.reset(seed=0)
    ends = [env.step(np.zeros(1, np.float32))[2:4] for _ in range(1000)]
    assert ends[:-1] == [(False, False)] * 999
    assert ends[-1] == (False, True)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(1, np.float32))


def test_an_end_without_future_terminates(make):
    env = make("lqr-lqr_2_1")  # ends with discount 0 where the state is at rest in the origin
    env.reset(seed=0)
    with env.suite_env.physics.reset_context():
        env.suite_env.physics.set_state(np.zeros_like(env.suite_env.physics.get_state()))
    _, _, terminated, truncated, _ = env.step(np.zeros(1, np.float32))
    assert (terminated, truncated) == (True, False)


def test_bounds_of_actions_are_the_suites_where_it_has_any(make):
    assert np.allclose(make("quadruped-walk").action_space.high[:3], [1.0, 1.1, 0.8])
    assert np.all(make("lqr-lqr_6_2").action_space.high == 1.0)


def test_pictures_can_be_observed_and_rendered(make):
    env = make("cartpole-balance", pixels=(48, 64), render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    assert observation in env.observation_space
    assert observation.shape == (48, 64, 3)
    assert observation.std() > 5  # not one colour
    assert env.render().shape == (240, 320, 3)
    assert make("cartpole-balance").render() is None


def test_what_cannot_be_is_refused(make):
    with pytest.raises(UnknownName, match=r"quadruped-wlk.*quadruped-walk"):
        make("quadruped-wlk")
    with pytest.raises(ValueError, match="pixels"):
        make("cartpole-balance", pixels=(0, 64))
    with pytest.raises(ValueError, match="human"):
        make("cartpole-balance", render_mode="human")
    env = make("cartpole-balance")
    env.reset(seed=0)
    for action in (np.zeros(2), np.array([np.nan])):
        with pytest.raises(InvalidInput, match="cartpole-balance"):
            env.step(action)


def test_a_suite_that_is_not_installed_names_its_extra():
    script = (
        "import sys; sys.modules['dm_control'] = None\n"
        "from robot_rl.make import make_suite_env\n"
        "try:\n    make_suite_env('dm_control/walker-walk')\n"
        "except ValueError as error:\n    print(error)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert "'.[suite]'" in done.stdout
