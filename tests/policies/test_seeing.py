"""A policy that looks at a camera: its file, and the robot's side, against torch and the environment."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from policies.composed_runtime import load_policy, new_runner
from policies.contract import SEEING_FORMAT, Contract, read_contract, read_policy, seal
from policies.description import describe
from policies.export import export_policy
from policies.runtime import OnnxPolicy
from policies.seeing_runtime import SeeingPolicy, SeeingRunner
from robot_rl.commands.evaluate import policy_task
from robot_rl.errors import ConfigurationError, InvalidInput, PolicyError
from robot_rl.make import make_env, make_learner, make_privileged, make_task


@pytest.fixture(scope="module")
def task():
    return make_task("turn_valve", "dclaw", observation={"camera": True, "history": 2})


@pytest.fixture(scope="module")
def seeing_learner(task):
    learner = make_learner("sac", task, {"hidden_sizes": [24, 16], "log_std_min": -5}, 0, make_privileged(task))
    with torch.no_grad():
        for parameter in learner.actor.parameters():
            parameter.mul_(2.0)
    return learner


@pytest.fixture(scope="module")
def report(seeing_learner, task, tmp_path_factory):
    return export_policy(seeing_learner, task, tmp_path_factory.mktemp("seeing") / "valve.onnx")


@pytest.fixture(scope="module")
def path(report):
    return report.path


@pytest.fixture(scope="module")
def policy(path, task):
    return load_policy(path, robot=task.spec, layout=task.layout)


@pytest.fixture
def observation(task):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return {"state": rng.standard_normal(task.layout.size).astype(np.float32), "camera": picture}


def test_the_file_answers_as_the_learner_does(report, seeing_learner, policy, task):
    assert report.max_error < 1e-5
    assert report.observations == 1000
    env = make_env("dclaw", task)
    observation, _ = env.reset(seed=0)
    for action in np.random.default_rng(0).uniform(-1, 1, (10, 9)):
        row = env.parts.rows(observation, 1)[0]
        np.testing.assert_allclose(
            policy.act(observation).action, seeing_learner.act(row, deterministic=True), rtol=0, atol=1e-5
        )
        observation, *_ = env.step(action)
    env.close()


def test_the_robots_side_sees_what_the_environment_gives_the_learner(policy, task):
    runner = new_runner(policy)
    assert isinstance(runner, SeeingRunner)
    env = make_env("dclaw", task)
    for seed in range(2):
        observation, _ = env.reset(seed=seed)
        runner.reset(env.goal)
        for _ in range(8):
            runner.step(env.state)
            np.testing.assert_allclose(runner.observation, observation["state"], rtol=0, atol=1e-6)
            np.testing.assert_allclose(runner.action, policy.act(observation).action, rtol=0, atol=1e-6)
            observation, *_ = env.step(runner.action)
    env.close()


def test_what_is_seen_decides(policy, observation):
    darker = {**observation, "camera": observation["camera"] // 2}
    assert np.abs(policy.act(observation).action - policy.act(darker).action).max() > 1e-3


def test_a_batch_and_a_sample_are_answered_too(policy, observation):
    batch = {name: np.stack([part, part]) for name, part in observation.items()}
    np.testing.assert_allclose(policy.act(batch).action[1], policy.act(observation).action, atol=1e-6)
    quiet = policy.act(observation, np.zeros(9))
    np.testing.assert_allclose(quiet.action, policy.act(observation).action, atol=1e-6)
    assert np.abs(policy.act(observation, np.ones(9)).action - quiet.action).max() > 1e-3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"camera": np.zeros((32, 31, 3), np.uint8)}, r"camera: expected uint8 \(32, 32, 3\).*got uint8 \(32, 31, 3\)"),
        ({"camera": np.zeros((32, 32, 3))}, r"got float64 \(32, 32, 3\)"),
        ({"camera": None}, "got NoneType"),
        ({"state": np.zeros(3)}, r"observation: expected shape"),
    ],
)
def test_what_is_no_picture_is_refused(policy, observation, change, words):
    with pytest.raises(InvalidInput, match=words):
        policy.act(observation | change)


def test_numbers_alone_are_refused(policy, task, observation):
    with pytest.raises(InvalidInput, match="expected a mapping of 'state' and 'camera', got ndarray"):
        policy.act(np.zeros(task.layout.size))
    with pytest.raises(InvalidInput, match="got state"):
        policy.act({"state": observation["state"]})


def test_a_robot_whose_state_has_no_picture_is_told_so(policy, task):
    runner, env = SeeingRunner(policy), make_env("dclaw", make_task("turn_valve", "dclaw"))
    env.reset(seed=0)
    runner.reset(env.goal)
    with pytest.raises(InvalidInput, match="this state has no picture"):
        runner.step(env.state)
    env.close()


def test_readers_of_other_files_refuse_it_and_say_what_to_use(path, policy_file):
    with pytest.raises(PolicyError, match=r"looks at a camera.*SeeingPolicy"):
        OnnxPolicy.load(path)
    with pytest.raises(PolicyError, match=r"takes no pictures.*OnnxPolicy"):
        SeeingPolicy.load(policy_file)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"camera.position": [0.0, 0.1, 0.33]}, r"the camera's position is \(0.0, 0.0, 0.33\) in the policy"),
        ({"camera.size": [64, 64]}, "the camera's height is 32 in the policy, 64 on robot 'dclaw'"),
    ],
)
def test_another_camera_is_refused(path, robot_spec, changes, words):
    with pytest.raises(PolicyError, match=words):
        load_policy(path, robot=robot_spec("dclaw", changes))


def test_a_robot_without_a_camera_is_refused(path, robot_spec, removed):
    with pytest.raises(PolicyError, match="looks at a camera, and robot 'dclaw' has none"):
        load_policy(path, robot=robot_spec("dclaw", {"camera": removed}))


def test_the_contract_says_what_camera_and_survives_json(path, task):
    contract = read_contract(path)
    assert contract.format == SEEING_FORMAT
    assert contract.camera.shape == task.camera.shape
    assert contract.camera.position == task.camera.position
    assert len(contract.camera.golden) == len(contract.golden.observation)
    assert Contract.from_json(contract.to_json()) == contract
    assert policy_task(contract, task.spec).parts == task.parts
    assert "32 x 32 pixels" in describe(contract)
    assert len(json.dumps(contract.to_dict())) < 150_000


@pytest.mark.parametrize(
    ("golden", "words"),
    [
        (lambda pictures: (pictures[1], *pictures[1:]), "does not reproduce its golden vectors: action of row 0"),
        (lambda pictures: pictures[1:], "its camera has not 16 golden pictures"),
        (lambda pictures: ("?", *pictures[1:]), "a picture of its camera"),
        (lambda pictures: ("AAAA", *pictures[1:]), "a picture of its camera"),
    ],
)
def test_a_file_with_other_pictures_is_refused(path, golden, words):
    model, contract = read_policy(path)
    spoilt = replace(contract, camera=replace(contract.camera, golden=golden(contract.camera.golden)))
    with pytest.raises(PolicyError, match=words):
        SeeingPolicy.from_bytes(seal(model, spoilt))


def test_over_ros_it_is_refused_since_no_pictures_come_that_way(path, task):
    pytest.importorskip("rclpy", reason="ROS 2 is not installed (extra 'ros')")
    from hardware.policy_parameters import _load

    with pytest.raises(ConfigurationError, match="looks at a camera, and over ROS no pictures are read"):
        _load(path, task.spec)


RUN = """
import sys
import numpy as np
from policies.seeing_runtime import SeeingPolicy, SeeingRunner
policy = SeeingPolicy.load(sys.argv[1])
SeeingRunner(policy).reset([0.0])
state = np.zeros(policy.contract.observation.size, dtype=np.float32)
policy.act({"state": state, "camera": np.zeros(policy.camera.shape, dtype=np.uint8)})
print(sorted({"torch", "mujoco", "gymnasium", "onnx", "pybullet", "rclpy"} & set(sys.modules)))
"""


def test_looking_needs_no_learner_and_no_simulator(path):
    run = subprocess.run([sys.executable, "-c", RUN, str(path)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_learner_with_privileged_critics_and_no_camera_leaves_a_plain_file(tmp_path):
    task = make_task("turn_valve", "dclaw")
    learner = make_learner("sac", task, {"hidden_sizes": [16]}, privileged=make_privileged(task))
    export_policy(learner, task, tmp_path / "plain.onnx")
    policy = OnnxPolicy.load(tmp_path / "plain.onnx", robot=task.spec, layout=task.layout)
    row = np.random.default_rng(0).standard_normal(task.layout.size).astype(np.float32)
    np.testing.assert_allclose(policy.act(row).action, learner.act(row, deterministic=True), atol=1e-5)
