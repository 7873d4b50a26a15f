"""From names to robots, tasks, environments and learners."""

import numpy as np
import pytest

from robot_rl.errors import ConfigurationError, MissingSensor, UnknownName
from robot_rl.make import (
    ALGORITHMS,
    make_env,
    make_learner,
    make_robot,
    make_task,
    make_vector_env,
    task_settings_class,
)
from robot_rl.spec_file import BUILTIN, builtin_robots, load_robot
from robot_rl.tasks import TASKS


@pytest.mark.parametrize("name", builtin_robots())
def test_every_built_in_robot_can_be_made_by_name(name):
    robot = make_robot(name)
    assert robot.spec.name == name
    robot.close()


def test_a_robot_can_be_given_by_name_file_spec_or_as_itself():
    spec = load_robot("go2")
    robot = make_robot(spec)
    for given in ("go2", BUILTIN / "go2.yaml", str(BUILTIN / "go2.yaml"), spec, robot):
        env = make_env(given, "stand")
        assert env.task.spec.digest == spec.digest


def test_an_environment_takes_the_settings_of_its_task_and_a_time_limit():
    env = make_env("go2", "walk", {"forward": [0.3, 0.3]}, time_limit=0.1)
    env.reset(seed=0)
    assert env.goal[0] == 0.3
    truncated = [env.step(np.zeros(12))[3] for _ in range(5)]
    assert truncated == [False] * 4 + [True]


def test_copies_are_stepped_together():
    env = make_vector_env("go2", "stand", 3)
    observation, _ = env.reset(seed=0)
    assert observation.shape == (3, env.task.layout.size)
    env.close()


def test_an_environment_renders_frames_when_asked():
    env = make_env("go2", "stand", render_mode="rgb_array")
    env.reset(seed=0)
    frame = env.render()
    assert frame.dtype == np.uint8
    assert frame.ndim == 3
    assert frame.std() > 5  # not one colour
    env.close()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_learner_fits_its_task(name):
    task = make_task("stand", "go2")
    learner = make_learner(name, task, seed=1)
    assert learner.act(np.zeros(task.layout.size)).shape == (12,)
    np.testing.assert_array_equal(learner.normalizer.offset, task.layout.offset)
    np.testing.assert_array_equal(learner.normalizer.scale, task.layout.scale)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: make_robot("go3"), ["go3", "go2"]),
        (lambda: make_robot("go2", backend="bullet"), ["bullet", "mujoco"]),
        (lambda: make_task("jump", "go2"), ["jump", "walk"]),
        (lambda: make_task("walk", "go2", {"forwrd": 1}), ["forwrd", "forward"]),
        (lambda: make_learner("dreamer", make_task("stand", "go2")), ["dreamer", "sac"]),
        (lambda: make_learner("sac", make_task("stand", "go2"), {"gamma": 0.9}), ["gamma", "discount"]),
    ],
)
def test_an_unknown_name_lists_those_that_exist(make, words):
    with pytest.raises(UnknownName) as error:
        make()
    for word in words:
        assert word in str(error.value)


def test_a_task_without_settings_refuses_them():
    with pytest.raises(ConfigurationError, match=r"stand.*no settings.*height"):
        make_task("stand", "go2", {"height": 1})


def test_a_task_that_the_robot_cannot_observe_is_refused():
    with pytest.raises(MissingSensor, match=r"objects"):
        make_env("go2", "turn_valve")


def test_settings_classes_are_found_where_a_task_has_them():
    assert task_settings_class("walk").__name__ == "WalkSettings"
    for name in TASKS:
        task_settings_class(name)
