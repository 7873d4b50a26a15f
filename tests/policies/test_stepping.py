"""A policy whose joints step by themselves: the file gives the command that training gave."""

from dataclasses import replace

import numpy as np
import pytest

from policies.composed_q import ComposedQ
from policies.contract import Contract, read_contract, seal, unseal
from policies.export import build_model, export_policy
from policies.runtime import OnnxPolicy, PolicyRunner
from policies.skills import Skill
from robot_rl.errors import ConfigurationError, PolicyError
from robot_rl.make import make_env
from robot_rl.spec_file import load_robot
from robot_rl.stepping import CLOCK
from robot_rl.tasks.walk import Walk, WalkSettings


@pytest.mark.parametrize("name", ["go2", "minitaur"])
def test_the_file_commands_what_the_environment_applied(name, tmp_path, new_learner):
    env = make_env(name, "walk", {"step_height": 0.03})
    learner = new_learner(env.task)
    export_policy(learner, env.task, tmp_path / "a.onnx")
    policy = OnnxPolicy.load(tmp_path / "a.onnx", env.task.spec)
    observation, _ = env.reset(seed=0)
    compared = 0
    for _ in range(50):
        action, command = policy.act(observation)
        observation, _, terminated, _, info = env.step(action)
        if not info["safety"]:
            assert command == pytest.approx(info["applied"], abs=1e-5)
            compared += 1
        if terminated:
            observation, _ = env.reset()
    assert compared > 5
    env.close()


@pytest.fixture
def stepping_file(tmp_path, new_learner):
    task = Walk(load_robot("go2"), WalkSettings(step_height=0.03))
    export_policy(new_learner(task), task, tmp_path / "a.onnx")
    return tmp_path / "a.onnx"


@pytest.mark.parametrize("successor", [False, True], ids=["same policy", "another takes over"])
def test_another_cadence_goes_on_from_where_the_legs_are(successor, stepping_file):
    policy = OnnxPolicy.load(stepping_file)
    clock = policy.contract.observation.labels.index(CLOCK)
    env = make_env("go2", "walk")
    env.reset(seed=0)
    runner, phase, cadence = PolicyRunner(policy), 2.0 * np.pi * 2.0 * 10.0, 2.0
    runner.reset([0.6, 0.0, 0.0, 2.0])
    for tick in range(100):
        if successor and tick == 6:
            runner, other = PolicyRunner(policy), runner
            runner.take_over(other)
        cadence = {6: 2.05, 50: 1.6}.get(tick, cadence)
        runner.goal = np.array([0.6, 0.0, 0.0, cadence])
        runner.step(replace(env.state, stamp=10.0 + 0.02 * tick))
        assert runner.observation[clock] == pytest.approx(np.sin(phase), abs=1e-4)
        phase += 2.0 * np.pi * cadence * 0.02
    env.close()


def test_a_contract_without_the_steps_that_the_graph_takes_is_refused(stepping_file, tmp_path):
    model, contract = unseal(stepping_file.read_bytes())
    (tmp_path / "b.onnx").write_bytes(seal(model, replace(contract, action=replace(contract.action, stepping=()))))
    with pytest.raises(PolicyError, match="action map of the contract is not the one of the graph"):
        OnnxPolicy.load(tmp_path / "b.onnx")


def test_steps_by_a_clock_that_is_not_observed_are_refused(stepping_file, new_learner, walk, tmp_path):
    export_policy(new_learner(walk), walk, tmp_path / "plain.onnx")
    stepping = read_contract(stepping_file).action.stepping
    model, contract = unseal((tmp_path / "plain.onnx").read_bytes())
    changed = replace(contract, action=replace(contract.action, stepping=stepping))
    (tmp_path / "b.onnx").write_bytes(seal(model, changed))
    with pytest.raises(PolicyError, match="does not observe"):
        OnnxPolicy.load(tmp_path / "b.onnx")


def test_a_contract_of_before_there_were_steps_still_reads(policy_file):
    values = read_contract(policy_file).to_dict()
    del values["action"]["stepping"]
    assert Contract.from_dict(values).action.stepping == ()


def test_skills_that_step_differently_are_not_composed(new_learner):
    spec = load_robot("go2")
    tasks = [Walk(spec, WalkSettings(step_height=height)) for height in (0.03, 0.04)]
    skills = [Skill.of_learner(new_learner(task), task, name) for task, name in zip(tasks, "ab", strict=True)]
    with pytest.raises(ConfigurationError, match=r"action map\.stepping"):
        ComposedQ(skills)


def test_a_graph_without_steps_has_no_clock(new_learner, walk):
    assert b"clock_sine" not in build_model(new_learner(walk), walk)
