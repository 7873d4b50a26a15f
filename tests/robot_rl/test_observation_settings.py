"""The observation that a person asks for instead of the task's own."""

import numpy as np
import pytest

from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.make import load_randomization, make_env, make_task, make_vector_env
from robot_rl.observation_settings import ObservationSettings
from robot_rl.spec_file import builtin_robots

TASK_OF = {"planar_arm": "push", "dclaw": "turn_valve", "leap_hand": "rotate_cube"}
STACK = {"history": 4, "history_of": ["joint_position", "joint_velocity", "previous_action"]}


def frames(task, observation):
    """The stack, (..., 4, numbers a tick), newest tick first."""
    entries = [entry for entry in task.layout.entries if entry.name in STACK["history_of"]]
    parts = [observation[..., e.start : e.start + e.size] for e in sorted(entries, key=lambda e: e.age)]
    ages = np.split(np.concatenate(parts, axis=-1), 4, axis=-1)
    return np.stack(ages, axis=-2)


@pytest.mark.parametrize("robot", builtin_robots())
def test_a_stack_holds_what_was_newest_on_the_last_ticks_of_this_episode(robot):
    env = make_env(robot, make_task(TASK_OF.get(robot, "stand"), robot, observation=STACK))
    for seed in range(2):
        observation, _ = env.reset(seed=seed)
        seen = [frames(env.task, observation)[0]] * 4
        for action in np.random.default_rng(seed).uniform(-1, 1, (6, env.action_space.shape[0])):
            assert np.array_equal(frames(env.task, observation), seen[:4])
            observation, _, terminated, _, _ = env.step(action)
            seen.insert(0, frames(env.task, observation)[0])
            if terminated:
                break
    env.close()


def test_every_copy_has_the_stack_of_its_own_episode():
    task = make_task("turn_valve", "dclaw", observation=STACK)
    varied = load_randomization({"observation_delay": [0.0, 0.2]}, "dclaw")
    env = make_vector_env("dclaw", task, 3, time_limit=0.6, randomization=varied)
    observation, _ = env.reset(seed=0)
    env._ticks[:] = [0, 2, 4]  # so that episodes end one by one
    seen = [[frames(task, row)[0]] * 4 for row in observation]
    ends = 0
    for action in np.random.default_rng(0).uniform(-1, 1, (14, 3, 9)):
        observation, _, _, truncated, info = env.step(action)
        for copy, ended in enumerate(truncated):
            last = frames(task, info["final_obs"][copy] if ended else observation[copy])
            seen[copy].insert(0, last[0])
            assert np.array_equal(last, seen[copy][:4])
            if ended:
                seen[copy] = [frames(task, observation[copy])[0]] * 4
                assert np.array_equal(frames(task, observation[copy]), seen[copy])
                ends += 1
    assert ends >= 6
    env.close()


def test_what_is_not_stacked_is_given_once():
    task = make_task("walk", "go2", observation={"history_of": ["joint_position"], "history": 3})
    counts = {entry.name: 0 for entry in task.layout.entries}
    for entry in task.layout.entries:
        counts[entry.name] += 1
    assert counts.pop("joint_position") == 3
    assert set(counts.values()) == {1}
    assert set(counts) == {"goal", "gait_clock", "gravity", "angular_velocity", "joint_velocity", "previous_action"}


def test_the_tasks_own_choice_is_the_default_and_stays_untouched():
    own = make_task("walk", "go2")
    assert make_task("walk", "go2", observation=ObservationSettings()).layout == own.layout
    assert make_task("walk", "go2", observation={"history": 5}).layout.length == 5
    assert own.layout.length == 2
    assert make_task("walk", "go2").layout == own.layout


@pytest.mark.parametrize("history", [0, -1, 101, 10**9])
def test_a_history_that_cannot_be_is_refused_with_its_bounds(history):
    with pytest.raises(ConfigurationError, match=f"history must be from 1 to 100 control ticks, got {history}"):
        ObservationSettings(history=history)


def test_what_the_task_does_not_observe_cannot_be_stacked():
    words = "unknown quantity 'gravity' in observation.history_of of task 'turn_valve'; allowed: object_third_turn"
    with pytest.raises(UnknownName, match=words):
        make_task("turn_valve", "dclaw", observation={"history_of": ["gravity"]})
