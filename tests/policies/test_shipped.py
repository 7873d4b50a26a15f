"""The policies that come with the project do what their names say."""

from pathlib import Path

import numpy as np
import pytest

import policies
from policies.runtime import OnnxPolicy
from robot_rl.commands.evaluate import actor, policy_task
from robot_rl.evaluation import evaluate
from robot_rl.make import make_env
from robot_rl.spec_file import load_robot

TRAINED = Path(policies.__file__).parent / "trained"
SHIPPED = sorted(TRAINED.glob("*.onnx"))


def _env_and_policy(path):
    contract = OnnxPolicy.load(path).contract
    spec = load_robot(contract.robot.name)
    env = make_env(spec, policy_task(contract, spec))
    return env, OnnxPolicy.load(path, robot=spec, layout=env.observation_layout)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_policy_fits_its_robot_and_task_as_they_are_now(path):
    _env_and_policy(path)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_policy_is_small_and_says_how_it_was_made(path):
    assert path.stat().st_size < 600_000
    assert path.name in (TRAINED / "README.md").read_text()


@pytest.mark.parametrize("name", [path.stem for path in SHIPPED])
def test_a_shipped_policy_does_its_task_in_most_episodes(name):
    env, policy = _env_and_policy(TRAINED / f"{name}.onnx")
    evaluation = evaluate(env, actor(policy), episodes=3, seed=77)
    assert evaluation.successes >= 2


def test_minitaurs_legs_stay_closed_while_it_walks():
    env, policy = _env_and_policy(TRAINED / "minitaur-walk.onnx")
    act, data = actor(policy), env.robot.data
    observation, _ = env.reset(seed=5)
    open_by = []
    for _ in range(250):
        observation, *_ = env.step(act(observation))
        for leg in ("FL", "FR", "BL", "BR"):
            ends = data.site(f"{leg}_loop_L").xpos - data.site(f"{leg}_loop_R").xpos
            open_by.append(np.linalg.norm(ends))
    assert np.hypot(*env.state.base_position[:2]) > 1.0, "it has to walk for this to mean anything"
    assert max(open_by) < 0.002
