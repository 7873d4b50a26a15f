"""One robot and one task as a Gymnasium environment."""

import copy
import dataclasses
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from robot_rl.env import RobotEnv
from robot_rl.errors import ConfigurationError, InvalidInput, MissingSensor
from robot_rl.observation import Entry
from robot_rl.robot import RobotState
from robot_rl.tasks import TASKS
from robot_rl.tasks.walk import Walk
from sim.mujoco_robot import MujocoRobot

PAIRS = [("go2", "walk"), ("go2", "stand"), ("minitaur", "walk"), ("dclaw", "turn_valve"), ("leap_hand", "rotate_cube")]
EVERY_PAIR = pytest.mark.parametrize(("robot_name", "task_name"), PAIRS)


@pytest.fixture
def make(robot_spec):
    """`make("go2", "walk", noise=True, time_limit=None, changes=None)` builds an environment."""
    opened = []

    def build(robot_name="go2", task_name="walk", *, noise=True, time_limit=None, changes=None):
        spec = robot_spec(robot_name, changes)
        env = RobotEnv(MujocoRobot(spec, noise=noise), TASKS[task_name](spec), time_limit)
        opened.append(env)
        return env

    yield build
    for env in opened:
        env.close()


def actions_of(env, count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (count, env.action_space.shape[0])).astype(np.float32)


def play(env, actions):
    """Everything that the environment hands out, as it came; starts new episodes where one ends."""
    handed = []
    for action in actions:
        handed.append(env.step(action))
        if handed[-1][2] or handed[-1][3]:
            handed.append(env.reset())
    return handed


def assert_same(one, other):
    if isinstance(one, dict):
        assert set(one) == set(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, (tuple, list)):
        assert len(one) == len(other)
        for mine, yours in zip(one, other, strict=True):
            assert_same(mine, yours)
    else:
        assert np.array_equal(one, other)


def entry_of(env, name, age=0) -> Entry:
    [entry] = [e for e in env.observation_layout.entries if e.name == name and e.age == age]
    return entry


def part_of(env, observation, name, age=0):
    entry = entry_of(env, name, age)
    return observation[entry.start : entry.start + entry.size]


@EVERY_PAIR
def test_gymnasiums_own_check_passes(robot_name, task_name, make):
    with warnings.catch_warnings():
        # The checker advises finite bounds; raw SI readings have none.
        warnings.filterwarnings("ignore", message=".*Box observation space (minimum|maximum) value is -?infinity.*")
        # It also advises to build environments with gymnasium.make, which is how it would test rendering.
        warnings.filterwarnings("ignore", message=".*not able to test alternative render modes.*")
        env = make(robot_name, task_name)
        check_env(env)
    assert env.metadata["render_fps"] == env.task.spec.control_rate


@EVERY_PAIR
def test_types_and_shapes_are_gymnasiums(robot_name, task_name, make):
    env = make(robot_name, task_name)
    observation, info = env.reset(seed=0)
    assert observation in env.observation_space
    assert info == {}
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert observation in env.observation_space
    assert (type(reward), type(terminated), type(truncated)) == (float, bool, bool)
    assert all(type(value) is float for value in info["reward_terms"].values())
    assert sum(info["reward_terms"].values()) == pytest.approx(reward, abs=1e-12)
    assert info["applied"].shape == (env.robot.spec.joints,)


@EVERY_PAIR
def test_two_runs_with_one_seed_are_identical_noise_included(robot_name, task_name, make):
    runs = []
    for _ in range(2):
        env = make(robot_name, task_name, time_limit=1.0)
        runs.append([env.reset(seed=7), *play(env, actions_of(env, 120))])
    assert_same(*runs)


def test_another_seed_is_another_episode(make):
    env = make()
    first, _ = env.reset(seed=1)
    second, _ = env.reset(seed=2)
    third, _ = env.reset()
    assert not np.array_equal(first, second)
    assert not np.array_equal(second, third)


@EVERY_PAIR
@pytest.mark.parametrize("delay", [0.0, 0.03])
def test_a_snapshot_continues_bit_for_bit_with_noise_and_delay(robot_name, task_name, delay, make):
    changes = {"simulation.actuator_delay": delay}
    env = make(robot_name, task_name, changes=changes, time_limit=0.6)
    env.reset(seed=3)
    play(env, actions_of(env, 13))
    snapshot = env.snapshot()
    kept = copy.deepcopy(snapshot)
    actions = actions_of(env, 40, seed=1)
    expected = play(env, actions)

    fresh = make(robot_name, task_name, changes=changes, time_limit=0.6)
    busy = make(robot_name, task_name, changes=changes, time_limit=0.6)
    busy.reset(seed=99)
    play(busy, actions_of(busy, 5))
    for other in (fresh, busy, env):
        other.restore(snapshot)
        assert_same(play(other, actions), expected)
    assert_same(snapshot, kept)


def test_a_snapshot_remembers_that_an_episode_has_ended(make):
    env, other = make(time_limit=0.02), make(time_limit=0.02)
    env.reset(seed=0)
    env.step(np.zeros(12))
    other.restore(env.snapshot())
    with pytest.raises(gymnasium.error.ResetNeeded):
        other.step(np.zeros(12))


def test_an_episode_is_truncated_by_counting_steps_and_not_terminated(make):
    env = make("go2", "stand", time_limit=0.5)
    for _ in range(2):
        env.reset(seed=0)
        ends = [env.step(np.zeros(12))[2:4] for _ in range(25)]
        assert ends == [(False, False)] * 24 + [(False, True)]


def test_without_a_time_limit_the_tasks_own_holds(make):
    env = make("dclaw", "turn_valve")
    env.reset(seed=0)
    steps = 1
    while not env.step(np.zeros(9))[3]:
        steps += 1
    assert steps == round(env.task.time_limit * env.robot.spec.control_rate)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.004, np.nan, np.inf])
def test_a_time_limit_that_is_no_number_of_ticks_is_refused(seconds, make):
    with pytest.raises(ConfigurationError, match="time limit"):
        make(time_limit=seconds)


def test_a_fall_terminates_and_is_named(make):
    # Legs that are let go drop the base below its lowest height.
    env = make("go2", "stand", changes={"action.scale": 2.0, "safety.command_step_limit": 5.0})
    env.reset(seed=0)
    fold = np.tile([0.0, 0.9, -0.4], 4)
    for _ in range(100):
        _, _, terminated, truncated, info = env.step(fold)
        if terminated:
            break
    assert terminated
    assert not truncated
    assert set(info["safety"]) & {"height", "tilt"}


def test_starting_upside_down_terminates_at_once(make, monkeypatch):
    env = make("go2", "stand")
    env.reset(seed=0)
    monkeypatch.setattr(
        env.robot,
        "step",
        lambda command: dataclasses.replace(env.state, orientation_xyzw=np.array([1.0, 0.0, 0.0, 0.0])),
    )
    _, _, terminated, truncated, info = env.step(np.zeros(12))
    assert (terminated, truncated) == (True, False)
    assert info["safety"] == {"tilt": 1}


def test_a_fall_in_the_last_step_is_a_termination_and_no_truncation(make, monkeypatch):
    env = make("go2", "stand", time_limit=0.02)
    env.reset(seed=0)
    monkeypatch.setattr(
        env.robot,
        "step",
        lambda command: dataclasses.replace(env.state, orientation_xyzw=np.array([1.0, 0.0, 0.0, 0.0])),
    )
    assert env.step(np.zeros(12))[2:4] == (True, False)


def test_stepping_before_a_reset_or_after_the_end_is_refused(make):
    env = make(time_limit=0.02)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(12))
    env.reset(seed=0)
    env.step(np.zeros(12))
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(12))


def test_the_supervisor_clamps_and_counts_commands_far_outside(make):
    env = make("go2", "stand", changes={"action.scale": 10.0})
    env.reset(seed=0)
    spec, previous = env.robot.spec, env.state.applied
    for _ in range(3):
        *_, info = env.step(np.ones(12))
        assert np.all((info["applied"] >= spec.lower) & (info["applied"] <= spec.upper))
        assert np.all(np.abs(info["applied"] - previous) <= spec.safety.command_step_limit + 1e-12)
        assert info["safety"].items() >= {"joint_position": 1, "command_step": 1}.items()
        assert np.array_equal(env.state.applied, info["applied"])
        previous = info["applied"]


def test_the_supervisor_can_stop_on_a_wild_command(make):
    env = make("go2", "stand", changes={"action.scale": 10.0, "safety.joint_position": "stop"})
    env.reset(seed=0)
    _, _, terminated, _, info = env.step(np.ones(12))
    assert terminated
    assert "joint_position" in info["safety"]


def test_actions_beyond_one_count_as_one(make):
    env, other = make(), make()
    env.reset(seed=0)
    other.reset(seed=0)
    action = actions_of(env, 1)[0] * 100
    assert_same(env.step(action), other.step(np.clip(action, -1, 1)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_action_that_is_not_finite_is_refused_by_name_and_changes_nothing(bad, make):
    env, other = make("minitaur", "walk"), make("minitaur", "walk")
    for one in (env, other):
        one.reset(seed=0)
    action = np.zeros(8)
    action[3] = bad
    with pytest.raises(InvalidInput) as caught:
        env.step(action)
    assert env.robot.spec.action.coordinates[3] in str(caught.value)
    assert env.robot.spec.action.coordinates[2] not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert_same(env.step(np.zeros(8)), other.step(np.zeros(8)))


@pytest.mark.parametrize("action", [np.zeros(11), np.zeros((1, 12)), np.zeros(()), 0.0, []])
def test_an_action_of_the_wrong_shape_is_refused_with_both_shapes(action, make):
    env = make()
    env.reset(seed=0)
    with pytest.raises(InvalidInput, match=r"expected shape \(12,\), got \("):
        env.step(action)


@pytest.mark.parametrize("action", ["forward", [None] * 12, [[1.0], [1.0, 2.0]], {"a": 1}])
def test_an_action_that_is_no_array_of_numbers_is_refused(action, make):
    env = make()
    env.reset(seed=0)
    with pytest.raises(InvalidInput, match="action"):
        env.step(action)


def test_an_observation_that_is_not_finite_is_refused_by_name(make, monkeypatch):
    env = make("go2", "stand")
    env.reset(seed=0)
    velocity = np.array(env.state.joint_velocity)
    velocity[4] = np.nan
    monkeypatch.setattr(env.robot, "step", lambda command: dataclasses.replace(env.state, joint_velocity=velocity))
    with pytest.raises(InvalidInput, match=r"joint_velocity\[FR_thigh_joint\]"):
        env.step(np.zeros(12))


def test_arrays_that_were_handed_out_are_never_changed_later(make):
    env = make(time_limit=0.3)
    handed = [env.reset(seed=0)]
    states, goals = [env.state], [env.goal]
    kept = [copy.deepcopy(handed[0])]
    kept_states, kept_goals = [copy.deepcopy(env.state)], [env.goal.copy()]
    for action in actions_of(env, 40):
        handed.append(env.step(action))
        kept.append(copy.deepcopy(handed[-1]))
        if handed[-1][2] or handed[-1][3]:
            handed.append(env.reset())
            kept.append(copy.deepcopy(handed[-1]))
        states.append(env.state)
        kept_states.append(copy.deepcopy(env.state))
        goals.append(env.goal)
        kept_goals.append(env.goal.copy())
    assert_same(handed, kept)
    assert_same(goals, kept_goals)
    for state, copied in zip(states, kept_states, strict=True):
        for field in dataclasses.fields(RobotState):
            if field.name != "objects":
                assert np.array_equal(getattr(state, field.name), getattr(copied, field.name)), field.name


def test_nothing_that_a_caller_does_to_an_array_reaches_the_environment(make):
    env, other = make(), make()
    observation, _ = env.reset(seed=0)
    other.reset(seed=0)
    for action in actions_of(env, 5):
        mine = action.copy()
        handed = env.step(mine)
        expected = other.step(action)
        assert_same(handed, expected)
        arrays = [mine, observation, handed[0], handed[4]["applied"], env.goal]
        arrays += [getattr(env.state, name) for name in ("joint_position", "orientation_xyzw", "contacts", "applied")]
        arrays += [env.state.base_linear_velocity, env.state.base_position, env.state.gravity]
        for array in arrays:
            if array.flags.writeable:
                array[...] = 0.5
        observation = handed[0]


def test_observations_list_the_newest_tick_first_and_a_reset_fills_the_history(make):
    env = make("go2", "walk", noise=False)
    observation, _ = env.reset(seed=0)
    readings = [env.state.joint_position]
    sent = [np.zeros(12)]
    assert part_of(env, observation, "joint_position", 1) == pytest.approx(readings[0], rel=1e-6)
    for action in actions_of(env, 6):
        observation, *_ = env.step(action)
        readings.append(env.state.joint_position)
        sent.append(action)
        for age in range(env.task.history_length):
            assert np.array_equal(
                part_of(env, observation, "joint_position", age), readings[-1 - age].astype(np.float32)
            )
            assert np.array_equal(part_of(env, observation, "previous_action", age), sent[-1 - age])


def test_the_goal_can_be_given_and_the_rest_of_the_episode_stays_the_same(make):
    env, other = make("dclaw", "turn_valve", noise=False), make("dclaw", "turn_valve", noise=False)
    observation, _ = env.reset(seed=0, options={"goal": [0.3]})
    sampled, _ = other.reset(seed=0)
    assert env.goal.tolist() == [0.3]
    assert other.goal != 0.3
    assert np.array_equal(part_of(env, observation, "object_third_turn"), part_of(other, sampled, "object_third_turn"))
    x, y, z, w = env.state.objects["valve"].orientation_xyzw
    angle = np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
    assert part_of(env, observation, "angle_error") == pytest.approx(
        [np.cos(0.3 - angle), np.sin(0.3 - angle)], abs=1e-6
    )


@pytest.mark.parametrize("goal", [[], [0.1, 0.2], [np.nan], [[0.1]], 0.1, "north", None])
def test_a_goal_that_does_not_fit_the_task_is_refused_with_what_it_should_be(goal, make):
    env = make("dclaw", "turn_valve")
    with pytest.raises(InvalidInput, match=r"expected 1 finite numbers \(valve angle rad\)"):
        env.reset(seed=0, options={"goal": goal})


def test_a_task_made_for_another_robot_is_refused(robot_spec):
    with pytest.raises(ConfigurationError, match="'minitaur', not for 'go2'"):
        RobotEnv(MujocoRobot(robot_spec("go2")), Walk(robot_spec("minitaur")))
    changed = robot_spec("go2", {"joints.FL_hip_joint.kp": 41})
    with pytest.raises(ConfigurationError, match="go2"):
        RobotEnv(MujocoRobot(changed), Walk(robot_spec("go2")))


def test_a_reward_that_needs_what_the_robot_does_not_provide_is_refused(robot_spec):
    spec = robot_spec("go2", {"simulation.truth": ["base_position"]})
    with pytest.raises(MissingSensor, match="'base_linear_velocity'"):
        RobotEnv(MujocoRobot(spec), Walk(spec))


def test_rendering_needs_a_camera_and_a_known_mode(robot_spec):
    spec = robot_spec("go2")
    robot, task = MujocoRobot(spec), Walk(spec)
    with pytest.raises(ConfigurationError, match="camera"):
        RobotEnv(robot, task, render_mode="rgb_array")
    with pytest.raises(ConfigurationError, match="'human'; allowed: rgb_array"):
        RobotEnv(robot, task, render_mode="human", camera=lambda robot: lambda: np.zeros((2, 2, 3), np.uint8))
    assert RobotEnv(robot, task).render() is None
    frame = np.full((2, 3, 3), 7, np.uint8)
    env = RobotEnv(robot, task, render_mode="rgb_array", camera=lambda robot: lambda: frame)
    env.reset(seed=0)
    assert np.array_equal(env.render(), frame)


def test_a_robot_that_takes_no_snapshots_says_so(make, monkeypatch):
    env = make()
    env.reset(seed=0)
    monkeypatch.setattr(env, "robot", dataclasses.make_dataclass("Real", ["spec"])(env.robot.spec))
    with pytest.raises(ConfigurationError, match="'go2' cannot be saved"):
        env.snapshot()
    monkeypatch.undo()
