"""Many copies of one robot as a Gymnasium vector environment."""

import copy
import dataclasses

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import NormalizeReward, RecordEpisodeStatistics

from robot_rl.env import RobotEnv, RobotVectorEnv
from robot_rl.errors import ConfigurationError, InvalidInput, MissingSensor
from robot_rl.robot import Start
from robot_rl.tasks import TASKS
from robot_rl.tasks.stand import Stand
from robot_rl.tasks.walk import Walk
from sim.mujoco_batch import MujocoBatch
from sim.mujoco_robot import MujocoRobot

PAIRS = [("go2", "walk"), ("minitaur", "stand"), ("dclaw", "turn_valve"), ("leap_hand", "rotate_cube")]
PAIRS += [("planar_arm", "push")]
EVERY_PAIR = pytest.mark.parametrize(("robot_name", "task_name"), PAIRS)


@pytest.fixture
def make(robot_spec):
    """`make("go2", "walk", count=3, noise=True, time_limit=None, changes=None)` builds a vector environment."""
    opened = []

    def build(robot_name="go2", task_name="walk", *, count=3, noise=True, time_limit=None, changes=None):
        spec = robot_spec(robot_name, changes)
        env = RobotVectorEnv(MujocoBatch(spec, count, threads=2, noise=noise), TASKS[task_name](spec), time_limit)
        opened.append(env)
        return env

    yield build
    for env in opened:
        env.close()


def single(robot_spec, robot_name, task_name, **settings):
    spec = robot_spec(robot_name)
    return RobotEnv(MujocoRobot(spec, noise=False), TASKS[task_name](spec), **settings)


def actions_of(env, count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (count, *env.action_space.shape)).astype(np.float32)


def assert_same(one, other):
    if isinstance(one, dict):
        assert set(one) == set(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, (tuple, list)) or (isinstance(one, np.ndarray) and one.dtype == object):
        assert len(one) == len(other)
        for mine, yours in zip(one, other, strict=True):
            assert_same(mine, yours)
    else:
        assert np.array_equal(one, other)


@EVERY_PAIR
def test_spaces_types_and_final_observations_are_those_of_gymnasiums_own_vector_environment(
    robot_name, task_name, make, robot_spec
):
    env = make(robot_name, task_name, time_limit=0.3)
    theirs = SyncVectorEnv(
        [lambda: single(robot_spec, robot_name, task_name, time_limit=0.3)] * 3, autoreset_mode=AutoresetMode.SAME_STEP
    )
    assert env.num_envs == theirs.num_envs
    for space in ("observation_space", "action_space", "single_observation_space", "single_action_space"):
        assert getattr(env, space) == getattr(theirs, space)
    assert env.metadata["autoreset_mode"] == theirs.metadata["autoreset_mode"]
    mine, yours = env.reset(seed=0), theirs.reset(seed=0)
    assert mine[0] in env.observation_space
    for actions in actions_of(env, 20):
        mine, yours = env.step(actions), theirs.step(actions)
        assert mine[0] in env.observation_space
        for ours, reference in zip(mine[:4], yours[:4], strict=True):
            assert (ours.shape, ours.dtype) == (reference.shape, reference.dtype)
        assert ("final_obs" in mine[4]) == ("final_info" in mine[4]) == bool((mine[2] | mine[3]).any())
        if "final_obs" in mine[4]:
            assert mine[4]["_final_obs"].dtype == bool
            assert mine[4]["final_obs"].dtype == object
            assert np.array_equal(mine[4]["_final_info"], mine[4]["_final_obs"])
            assert set(mine[4]["final_info"]) == {"reward_terms", "reward_values", "safety", "applied"}
            for observation, ended in zip(mine[4]["final_obs"], mine[4]["_final_obs"], strict=True):
                assert (observation in env.single_observation_space) if ended else observation is None
    theirs.close()


@EVERY_PAIR
def test_a_batch_of_one_without_noise_is_the_single_environment(robot_name, task_name, make, robot_spec):
    env = make(robot_name, task_name, count=1, noise=False, time_limit=0.7)
    one = single(robot_spec, robot_name, task_name, time_limit=0.7)
    observations, _ = env.reset(seed=5)
    observation, _ = one.reset(seed=5)
    assert np.array_equal(observations[0], observation)
    for actions in actions_of(env, 60):
        observations, rewards, terminated, truncated, info = env.step(actions)
        observation, reward, ended, cut, info_one = one.step(actions[0])
        assert rewards[0] == pytest.approx(reward, rel=1e-12, abs=1e-12)
        assert (bool(terminated[0]), bool(truncated[0])) == (ended, cut)
        assert np.array_equal(info["applied"][0], info_one["applied"])
        assert {name for name, rows in info["safety"].items() if rows[0]} == set(info_one["safety"])
        for name, value in info_one["reward_terms"].items():
            assert info["reward_terms"][name][0] == pytest.approx(value, rel=1e-12, abs=1e-12)
        if ended or cut:
            assert np.array_equal(info["final_obs"][0], observation)
            observation, _ = one.reset()
        assert np.array_equal(observations[0], observation)


class FixedStart(Stand):
    """Stand whose copies differ in nothing but their actions."""

    def sample_start(self, rng):
        return Start(self.spec.home)


def test_every_copy_does_what_a_single_robot_does_with_its_actions(robot_spec):
    spec = robot_spec("go2")
    env = RobotVectorEnv(MujocoBatch(spec, 3, threads=2, noise=False), FixedStart(spec))
    singles = [RobotEnv(MujocoRobot(spec, noise=False), FixedStart(spec)) for _ in range(3)]
    env.reset(seed=0)
    for one in singles:
        one.reset(seed=0)
    for actions in actions_of(env, 30):
        observations, rewards, terminated, _, info = env.step(actions)
        for row, one in enumerate(singles):
            observation, reward, ended, _, _ = one.step(actions[row])
            if ended:
                assert np.array_equal(info["final_obs"][row], observation)
                observation, _ = one.reset()
            assert np.array_equal(observations[row], observation)
            assert rewards[row] == pytest.approx(reward, rel=1e-12)
            assert bool(terminated[row]) == ended
    env.close()


def test_copies_begin_and_go_on_differently(make):
    env = make(count=4)
    observations, _ = env.reset(seed=0)
    assert len(np.unique(observations, axis=0)) == 4
    observations, *_ = env.step(np.zeros((4, 12), np.float32))
    assert len(np.unique(observations, axis=0)) == 4


@EVERY_PAIR
def test_two_runs_with_one_seed_are_identical_noise_included(robot_name, task_name, make):
    runs = []
    for _ in range(2):
        env = make(robot_name, task_name, time_limit=0.5)
        runs.append([env.reset(seed=7), *(env.step(actions) for actions in actions_of(env, 40))])
    assert_same(*runs)
    assert not np.array_equal(make(robot_name, task_name).reset(seed=8)[0], runs[0][0][0])


def test_copies_end_by_themselves_and_begin_again_in_the_same_step(make, monkeypatch):
    env = make("go2", "stand", time_limit=0.5)
    env.reset(seed=0)
    step = env.robot.step

    def second_copy_rolls_over(command):
        state = step(command)
        attitude = np.array(state.orientation_xyzw)
        attitude[1] = [1.0, 0.0, 0.0, 0.0]
        return dataclasses.replace(state, orientation_xyzw=attitude)

    for _ in range(10):
        env.step(np.zeros((3, 12)))
    monkeypatch.setattr(env.robot, "step", second_copy_rolls_over)
    observations, _, terminated, truncated, info = env.step(np.zeros((3, 12)))
    assert terminated.tolist() == [False, True, False]
    assert not truncated.any()
    assert info["_final_obs"].tolist() == [False, True, False]
    assert info["safety"]["tilt"].tolist() == [False, True, False]
    up = slice(2, 3)  # gravity comes first in this task
    assert env.observation_layout.labels[up] == ("gravity[z]",)
    assert info["final_obs"][1][up] == pytest.approx(1.0)
    assert observations[1][up] == pytest.approx(-1.0, abs=0.05)
    monkeypatch.undo()
    # The other two reach their time limit fourteen steps on, the second copy eleven later.
    ends = np.array([env.step(np.zeros((3, 12)))[3] for _ in range(25)])
    assert [np.flatnonzero(column).tolist() for column in ends.T] == [[13], [24], [13]]


def test_the_time_limit_is_a_truncation_and_counts_again_from_the_new_episode(make):
    env = make("go2", "stand", time_limit=0.1)
    env.reset(seed=0)
    for tick in range(1, 21):
        _, _, terminated, truncated, info = env.step(np.zeros((3, 12)))
        assert not terminated.any()
        assert truncated.tolist() == [tick % 5 == 0] * 3
        assert ("final_obs" in info) == (tick % 5 == 0)


@EVERY_PAIR
@pytest.mark.parametrize("delay", [0.0, 0.03])
def test_a_snapshot_continues_bit_for_bit_with_noise_and_delay(robot_name, task_name, delay, make):
    settings = {"changes": {"simulation.actuator_delay": delay}, "time_limit": 0.4}
    env = make(robot_name, task_name, **settings)
    env.reset(seed=3)
    for actions in actions_of(env, 11):
        env.step(actions)
    snapshot = env.snapshot()
    kept = copy.deepcopy(snapshot)
    commands = actions_of(env, 25, seed=1)
    expected = [env.step(actions) for actions in commands]
    fresh, busy = make(robot_name, task_name, **settings), make(robot_name, task_name, **settings)
    busy.reset(seed=99)
    busy.step(commands[0])
    for other in (fresh, busy, env):
        other.restore(snapshot)
        assert_same([other.step(actions) for actions in commands], expected)
    assert_same(snapshot, kept)


def test_arrays_that_were_handed_out_are_never_changed_later(make):
    env = make(time_limit=0.2)
    handed = [env.reset(seed=0)]
    kept = [copy.deepcopy(handed[0])]
    for actions in actions_of(env, 25):
        handed.append(env.step(actions))
        kept.append(copy.deepcopy(handed[-1]))
    assert_same(handed, kept)


def test_nothing_that_a_caller_does_to_an_array_reaches_the_environment(make):
    env, other = make(time_limit=0.2), make(time_limit=0.2)
    env.reset(seed=0)
    other.reset(seed=0)
    for actions in actions_of(env, 25):
        mine = actions.copy()
        handed = env.step(mine)
        assert_same(handed, other.step(actions))
        for array in (mine, *handed[:4], handed[4]["applied"], *handed[4]["reward_terms"].values()):
            if array.flags.writeable:
                array[...] = 1


def test_the_supervisor_clamps_and_counts_the_copies_that_need_it(make):
    env = make("go2", "stand", changes={"action.scale": 10.0})
    env.reset(seed=0)
    actions = np.zeros((3, 12))
    actions[2] = 1.0
    info = env.step(actions)[4]
    spec = env.robot.spec
    assert np.all((info["applied"] >= spec.lower) & (info["applied"] <= spec.upper))
    assert info["safety"]["joint_position"].tolist() == [False, False, True]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_action_that_is_not_finite_is_refused_by_name(bad, make):
    env = make("minitaur", "stand")
    env.reset(seed=0)
    actions = np.zeros((3, 8))
    actions[1, 5] = bad
    with pytest.raises(InvalidInput, match=f"not finite in: {env.robot.spec.action.coordinates[5]}$"):
        env.step(actions)


@pytest.mark.parametrize("shape", [(12,), (2, 12), (3, 11), (3, 12, 1)])
def test_actions_of_the_wrong_shape_are_refused_with_both_shapes(shape, make):
    env = make()
    env.reset(seed=0)
    with pytest.raises(InvalidInput, match=r"expected shape \(3, 12\), got \("):
        env.step(np.zeros(shape))


def test_stepping_before_a_reset_is_refused(make):
    with pytest.raises(gymnasium.error.ResetNeeded):
        make().step(np.zeros((3, 12)))


def test_an_observation_that_is_not_finite_is_refused_by_name(make, monkeypatch):
    env = make("go2", "stand")
    env.reset(seed=0)
    step = env.robot.step

    def broken(command):
        state = step(command)
        velocity = np.array(state.joint_velocity)
        velocity[2, 4] = np.nan
        return dataclasses.replace(state, joint_velocity=velocity)

    monkeypatch.setattr(env.robot, "step", broken)
    with pytest.raises(InvalidInput, match=r"joint_velocity\[FR_thigh_joint\]"):
        env.step(np.zeros((3, 12)))


def test_a_given_goal_holds_for_all_copies(make):
    env = make("dclaw", "turn_valve")
    observations, _ = env.reset(seed=0, options={"goal": [0.3]})
    labels = env.observation_layout.labels
    third = [observations[:, labels.index(f"object_third_turn[valve.{part}_3_yaw]")] for part in ("sin", "cos")]
    error = np.arctan2(*(observations[:, labels.index(f"angle_error[valve.{part}_error]")] for part in ("sin", "cos")))
    assert np.exp(1j * (np.arctan2(*third) + 3 * error)) == pytest.approx(np.full(3, np.exp(0.9j)), abs=1e-5)


def test_what_does_not_fit_together_is_refused(robot_spec):
    spec = robot_spec("go2")
    with pytest.raises(ConfigurationError, match="'minitaur', not for 'go2'"):
        RobotVectorEnv(MujocoBatch(spec, 2), Walk(robot_spec("minitaur")))
    with pytest.raises(ConfigurationError, match="time limit"):
        RobotVectorEnv(MujocoBatch(spec, 2), Walk(spec), 0.0)
    blind = robot_spec("go2", {"simulation.truth": ["base_position"]})
    with pytest.raises(MissingSensor, match="'base_linear_velocity'"):
        RobotVectorEnv(MujocoBatch(blind, 2), Walk(blind))


def test_gymnasiums_vector_wrappers_work(make):
    env = NormalizeReward(RecordEpisodeStatistics(make(time_limit=0.2)))
    env.reset(seed=0)
    for tick in range(1, 11):
        *_, info = env.step(env.action_space.sample())
        if tick == 10:
            assert info["episode"]["l"].tolist() == [10, 10, 10]
