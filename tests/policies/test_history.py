"""A policy that observes a history: the file, and the robot's side, against the environment."""

import json

import numpy as np
import pytest

from policies.contract import read_contract, read_policy
from policies.export import export_policy
from policies.runtime import OnnxPolicy, PolicyRunner
from robot_rl.commands.evaluate import policy_task
from robot_rl.commands.policy_files import shipped_policies
from robot_rl.errors import PolicyError
from robot_rl.make import load_randomization, make_env, make_task
from robot_rl.spec_file import load_robot

STACK = {"history": 5, "history_of": ["joint_position", "joint_velocity", "previous_action"]}


@pytest.fixture(scope="module")
def task():
    return make_task("turn_valve", "dclaw", observation=STACK)


@pytest.fixture(scope="module")
def path(task, new_learner, tmp_path_factory):
    path = tmp_path_factory.mktemp("history") / "stacked.onnx"
    export_policy(new_learner(task), task, path)
    return path


def test_the_robots_side_stacks_what_the_environment_stacks(path, task):
    runner = PolicyRunner(OnnxPolicy.load(path, robot=task.spec, layout=task.layout))
    env = make_env("dclaw", task, randomization=load_randomization("mild", "dclaw"))
    for seed in range(3):
        observation, _ = env.reset(seed=seed)
        runner.reset(env.goal)
        for _ in range(12):
            runner.step(env.state)
            np.testing.assert_allclose(runner.observation, observation, rtol=0, atol=1e-6)
            observation, *_ = env.step(runner.action)
    env.close()


def test_the_task_is_made_anew_from_the_file_alone(path, task):
    again = policy_task(read_contract(path), load_robot("dclaw"))
    assert again.layout == task.layout
    assert make_task("turn_valve", "dclaw").layout != task.layout


def test_a_history_of_another_length_is_refused(path):
    other = make_task("turn_valve", "dclaw", observation={**STACK, "history": 4})
    with pytest.raises(PolicyError, match=r"takes 139 numbers, here are 112; .*joint_position\[finger1_joint1\]@-4"):
        OnnxPolicy.load(path, robot=other.spec, layout=other.layout)


@pytest.mark.parametrize("name", shipped_policies())
def test_files_from_before_this_choice_load_and_make_their_tasks(name):
    model, contract = read_policy(shipped_policies()[name])
    assert "history_of" not in json.dumps(contract.to_dict())
    task = policy_task(contract, load_robot(contract.robot.name))
    assert task.layout.labels == contract.observation.labels
    assert OnnxPolicy.fitting(model, contract, task.spec, task.layout).act(np.zeros(task.layout.size)).action.any()
