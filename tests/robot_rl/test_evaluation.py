"""Evaluation of a policy in a real simulation, one episode of which is made to diverge."""

import numpy as np
import pytest

from robot_rl.errors import RobotFault
from robot_rl.evaluation import evaluate
from robot_rl.make import make_env

SEED = 40


@pytest.fixture
def env(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its own log where it runs
    env = make_env("go2", "walk", time_limit=0.4)
    yield env
    env.close()


def at_rest(_observation):
    return np.zeros(12)


def breaking(env, tick):
    """Acts likewise, and at one tick throws the robot faster than MuJoCo can follow."""
    ticks = iter(range(10**6))

    def act(observation):
        if next(ticks) == tick:
            env.robot.data.qvel[:] = 1e12
        return at_rest(observation)

    return act


def test_a_diverging_simulation_ends_an_evaluation_unless_it_is_to_count_as_a_failure(env):
    with pytest.raises(RobotFault, match="diverged"):
        evaluate(env, breaking(env, 25), 3, SEED)


def test_a_diverged_episode_counts_as_failed_and_the_others_as_if_it_had_not_been(env):
    whole = evaluate(env, at_rest, 3, SEED)
    first, broken, last = evaluate(env, breaking(env, 25), 3, SEED, faults_fail=True).episodes
    assert (first, last) == (whole.episodes[0], whole.episodes[2])
    assert whole.episodes[1].reward > 0.0
    assert broken.reward == 0.0  # what it had earned until then does not count
    assert broken.seconds == pytest.approx(5 * env.task.spec.control_dt)
    assert broken.ended_early
    assert not broken.success
    assert "diverged 0.100 s after its reset" in broken.fault


def test_figures_are_those_of_the_episodes_that_did_not_diverge(env):
    whole = evaluate(env, at_rest, 2, SEED)
    found = evaluate(env, breaking(env, 25), 2, SEED, faults_fail=True)
    assert found.faults == 1
    assert found.completed == 1
    assert found.mean("forward_velocity") == whole.episodes[0].figures["forward_velocity"]
    assert evaluate(env, breaking(env, 1), 1, SEED, faults_fail=True).summary()["figures"] == {}
