"""Environments whose observations have several parts: a picture, and what only the simulation knows."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from robot_rl.errors import ConfigurationError, MissingSensor
from robot_rl.make import (
    load_randomization,
    make_batch,
    make_env,
    make_learner,
    make_privileged,
    make_robot,
    make_task,
    make_vector_env,
)
from robot_rl.observation_parts import ObservationParts
from robot_rl.training.collector import Collector

DELAYED = {"observation_delay": [0.1, 0.2], "sensor_bias": {"joint_position": [-0.1, 0.1]}, "friction": [0.5, 1.2]}


@pytest.fixture(scope="module")
def seeing():
    return make_task("turn_valve", "dclaw", observation={"camera": True})


def test_a_task_with_a_camera_hides_where_objects_are(seeing):
    names = {entry.name for entry in seeing.layout.entries}
    assert names == {"goal_heading", "joint_position", "joint_velocity", "previous_action"}
    assert seeing.hidden == ("object_third_turn", "angle_error")
    env = make_env("dclaw", seeing)
    first, _ = env.reset(seed=0, options={"goal": [0.5]})
    second, _ = env.reset(seed=1, options={"goal": [0.5]})
    # The valve begins elsewhere, and only the picture tells: the joints differ by their noise alone.
    assert np.abs(first["state"] - second["state"]).max() < 0.5
    assert np.array_equal(first["state"][:2], np.array([np.cos(0.5), np.sin(0.5)], dtype=np.float32))
    assert (first["camera"] != second["camera"]).mean() > 0.05
    env.close()


def test_other_peoples_tools_take_the_environment(seeing):
    env = make_env("dclaw", seeing, privileged=make_privileged(seeing))
    with warnings.catch_warnings():
        # The checker advises finite bounds; raw SI readings have none. And to build environments with gymnasium.make.
        warnings.filterwarnings("ignore", message=".*Box observation space (minimum|maximum) value is -?infinity.*")
        warnings.filterwarnings("ignore", message=".*not able to test alternative render modes.*")
        check_env(env)
    assert isinstance(env.observation_space, gymnasium.spaces.Dict)
    assert env.observation_space["camera"].dtype == np.uint8
    observation, _ = env.reset(seed=0)
    with pytest.raises(ValueError, match="read-only"):
        observation["camera"][:] = 0
    env.close()


def test_copies_that_see_have_their_own_pictures_and_last_ones(seeing):
    env = make_vector_env("dclaw", seeing, 2, time_limit=0.3)
    observation, _ = env.reset(seed=0)
    assert observation["camera"].shape == (2, 32, 32, 3)
    assert (observation["camera"][0] != observation["camera"][1]).any()
    for _ in range(3):
        before = observation
        observation, _, _, truncated, info = env.step(np.zeros((2, 9)))
    assert truncated.all()
    for copy in range(2):
        last = info["final_obs"][copy]["camera"]
        assert np.array_equal(last, before["camera"][copy])  # nothing moved
        assert (observation["camera"][copy] != last).any()  # another start
    env.close()


def test_a_collector_makes_rows_of_the_parts(seeing):
    privileged = make_privileged(seeing)
    env = make_env("dclaw", seeing, privileged=privileged)
    collector = Collector(env)
    collector.restart(0)
    parts = ObservationParts(seeing.layout.size, (32, 32, 3), privileged.size)
    assert collector.parts == parts
    assert collector.observation.shape == (1, parts.size)
    observation, _ = env.reset(seed=0)
    row = collector.observation[0]
    np.testing.assert_array_equal(row[: parts.state], observation["state"])
    np.testing.assert_array_equal(row[parts.state : parts.seen].reshape(32, 32, 3), observation["camera"])
    np.testing.assert_array_equal(row[parts.seen :], observation["privileged"])
    given = parts.observations(collector.observation)
    np.testing.assert_array_equal(given["camera"][0], observation["camera"])
    assert given["camera"].dtype == np.uint8
    env.close()


def named(privileged, numbers):
    return dict(zip((*privileged.layout.labels, *privileged.drawn), np.asarray(numbers).T.tolist(), strict=True))


@pytest.mark.parametrize("copies", [1, 2])
def test_critics_get_exact_readings_of_now_and_what_was_drawn(copies):
    task, varied = make_task("turn_valve", "dclaw"), load_randomization(DELAYED, "dclaw")
    privileged = make_privileged(task, varied)
    assert "friction" in " ".join(privileged.drawn)
    assert not any(name.startswith("seed") for name in privileged.drawn)
    assert not any("previous_action" in label for label in privileged.layout.labels)
    if copies == 1:
        env = make_env("dclaw", task, randomization=varied, privileged=privileged)
    else:
        env = make_vector_env("dclaw", task, copies, randomization=varied, privileged=privileged)
    _, info = env.reset(seed=0)
    for action in np.random.default_rng(0).uniform(-1, 1, (5, copies, 9)):
        observation, *_ = env.step(action if copies > 1 else action[0])
    known = named(privileged, observation["privileged"])
    datas = [env.robot.data] if copies == 1 else env.robot.datas
    for index, joint in enumerate(task.spec.joint_names):
        exact = np.array([data.joint(joint).qpos[0] for data in datas])
        assert np.ravel(known[f"joint_position[{joint}]"]) == pytest.approx(exact, abs=1e-6)
        seen = observation["state"][..., task.layout.labels.index(f"joint_position[{joint}]")]
        assert np.abs(np.ravel(seen) - exact).max() > 1e-3 or index
    yaw = np.array([data.joint("valve").qpos[0] for data in datas])
    assert np.ravel(known["object_third_turn[valve.cos_3_yaw]"]) == pytest.approx(np.cos(3 * yaw), abs=1e-2)
    assert np.ravel(known["object_angular_velocity[valve.wz]"]).shape == (copies,)
    for name in privileged.drawn:
        assert np.ravel(known[name]) == pytest.approx(np.ravel(info["randomization"][name]), rel=1e-6)
    env.close()


def test_what_is_drawn_is_normalised_by_its_own_spread():
    task = make_task("walk", "go2")
    varied = load_randomization({"friction": [0.5, 1.5], "payload": {"kg": [0.0, 2.0]}}, "go2")
    privileged = make_privileged(task, varied)
    found = {name.split(".")[0]: spread for name, spread in privileged.drawn.items()}
    assert found["friction"] == pytest.approx((1.0, 1.0 / np.sqrt(12)), abs=0.05)
    assert found["payload"] == pytest.approx((1.0, 2.0 / np.sqrt(12)), abs=0.1)
    assert any(label.startswith("base_linear_velocity") for label in privileged.layout.labels)
    learner = make_learner("sac", task, privileged=privileged)
    assert learner.normalizer.offset[-privileged.size :] == pytest.approx(privileged.offset)
    assert learner.act(np.zeros(task.layout.size)).shape == (12,)


def test_without_randomisation_there_is_nothing_drawn():
    privileged = make_privileged(make_task("stand", "go2"))
    assert privileged.drawn == {}
    assert privileged.size == privileged.layout.size


def test_a_robot_that_knows_no_more_than_its_sensors_is_refused():
    pytest.importorskip("pybullet", reason="PyBullet is not installed (extra 'pybullet')")
    task = make_task("push", "planar_arm")
    with pytest.raises(ConfigurationError, match=r"observation.privileged: this 'planar_arm' knows no more"):
        make_vector_env(make_batch("planar_arm", 2, "pybullet"), task, privileged=make_privileged(task))


def test_a_robot_without_pictures_is_refused(seeing):
    from robot_rl.env import RobotEnv

    with pytest.raises(MissingSensor, match="observes the camera, and this 'dclaw' gives no pictures"):
        RobotEnv(make_robot("dclaw"), seeing)


@pytest.mark.parametrize(
    ("task", "robot", "words"),
    [
        ("stand", "go2", "robot 'go2' has no camera; robots with one: dclaw"),
        ("push", "planar_arm", "robot 'planar_arm' has no camera; robots with one: dclaw"),
    ],
)
def test_a_camera_on_a_robot_without_one_names_those_that_have(task, robot, words):
    with pytest.raises(ConfigurationError, match=words):
        make_task(task, robot, observation={"camera": True})


def test_a_task_that_a_camera_tells_nothing_is_refused(robot_spec):
    view = {"size": [16, 16], "position": [1, 0, 1], "look_at": [0, 0, 0], "field_of_view": 40}
    with pytest.raises(ConfigurationError, match="task 'stand' has no objects to look at"):
        make_task("stand", robot_spec("go2", {"camera": view}), observation={"camera": True})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"camera.size": [32]}, r"camera.size: expected height and width, whole numbers from 8 to 256"),
        ({"camera.size": [32, 4000]}, r"camera.size"),
        ({"camera.look_at": [0, 0, 0.33]}, r"camera.look_at: expected another place"),
        ({"camera.field_of_view": 180}, r"less than 180 degrees"),
        ({"camera.zoom": 2}, r"unknown key 'zoom'"),
    ],
)
def test_a_camera_that_cannot_be_is_refused_by_its_key(changes, words, robot_spec):
    with pytest.raises(ConfigurationError, match=words):
        robot_spec("dclaw", changes)


def test_a_camera_leaves_the_robots_digest_alone(robot_spec, removed):
    plain = robot_spec("dclaw", {"camera": removed})
    assert plain.digest == robot_spec("dclaw", {"camera.size": [64, 64]}).digest
    assert plain.camera is None
