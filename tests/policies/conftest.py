"""Small exported policies, shared: real learners with random weights on Go2's walking task, alone and composed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from policies.candidates import CandidatePolicy
from policies.composed_export import export_composed
from policies.composed_q import ComposedQ
from policies.export import export_policy
from policies.skills import Skill
from robot_rl.algorithms.sac import SAC, SACSettings
from robot_rl.algorithms.soft_q import SoftQ, SoftQSettings
from robot_rl.spec import RobotSpec
from robot_rl.spec_file import load_robot
from robot_rl.task import RewardTerm, Task
from robot_rl.training.normalizer import Normalizer


class Stroll(Task):
    """A small task of this folder's own, so that no change of a shipped task changes what is tested here."""

    name = "walk"
    goal_labels = ("forward m/s", "left m/s", "turn rad/s")
    current = ("goal",)
    history = ("gravity", "angular_velocity", "joint_position", "joint_velocity", "previous_action")
    history_length = 2

    def reward_terms(self):
        return {"alive": RewardTerm(1.0, lambda step: np.ones(step.action.shape[:-1]))}

    def sample_goal(self, rng):
        return rng.uniform(-1.0, 1.0, 3)


def make_learner(task: Task, hidden: tuple[int, ...] = (32, 24), seed: int = 0) -> SAC:
    """A learner whose weights are large enough for its actions to fill [-1, 1]."""
    normalizer = Normalizer(task.layout.offset, task.layout.scale, clip=10.0)
    settings = SACSettings(hidden_sizes=hidden, log_std_min=-5.0)
    learner = SAC(task.layout.size, task.spec.action.size, settings, seed, normalizer)
    with torch.no_grad():
        for parameter in learner.actor.parameters():
            parameter.mul_(2.0)
    return learner


@pytest.fixture(scope="session")
def go2() -> RobotSpec:
    return load_robot("go2")


@pytest.fixture(scope="session")
def walk(go2: RobotSpec) -> Task:
    return Stroll(go2)


@pytest.fixture(scope="session")
def learner(walk: Task) -> SAC:
    return make_learner(walk)


@pytest.fixture(scope="session")
def policy_file(learner: SAC, walk: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policies") / "go2-walk.onnx"
    export_policy(learner, walk, path, training={"steps": 12_345, "final_return": 0.1 + 0.2})
    return path


@pytest.fixture(scope="session")
def new_learner():
    return make_learner


@pytest.fixture(scope="session")
def stroll():
    return Stroll


class Hold(Task):
    """One action, and an observation that is nothing but the goal: small enough to integrate over."""

    name = "hold"
    goal_labels = ("first", "second", "third")
    current = ("goal",)

    def reward_terms(self):
        return {"alive": RewardTerm(1.0, lambda step: np.ones(step.action.shape[:-1]))}

    def sample_goal(self, rng):
        return rng.uniform(-1.0, 1.0, 3)


@pytest.fixture(scope="session")
def hold(robot_spec) -> Task:
    coordinates = {"squat": {"FL_calf_joint": -2.0, "FL_thigh_joint": 1.0}}
    return Hold(robot_spec("go2", {"action.coordinates": coordinates, "action.scale": {"squat": 0.1}}))


@pytest.fixture(scope="session")
def new_skill():
    """Makes a skill of a learner with random weights, loud enough for its critics to matter."""

    def make(task: Task, seed: int, name: str | None = None, loud: float = 3.0, **settings) -> Skill:
        given = {"hidden_sizes": (32, 24), "log_std_min": -3.0, "initial_temperature": 0.2, **settings}
        spread = 1.0 + 0.1 * seed  # every skill its own normaliser
        normalizer = Normalizer(task.layout.offset, task.layout.scale * spread, clip=10.0)
        learner = SAC(task.layout.size, task.spec.action.size, SACSettings(**given), seed, normalizer)
        with torch.no_grad():
            for parameter in learner.critics.parameters():
                parameter.mul_(loud ** (1.0 / 3.0))
            learner.actor.head.weight.mul_(2.0)
            learner.actor.head.bias[task.spec.action.size :] = -1.0
        return Skill.of_learner(learner, task, name or f"skill {seed}")

    return make


@pytest.fixture(scope="session")
def three_skills(walk: Task, new_skill) -> list[Skill]:
    return [new_skill(walk, seed) for seed in range(3)]


@pytest.fixture(scope="session")
def composed_file(three_skills, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("composed") / "go2-composed.onnx"
    export_composed(CandidatePolicy(ComposedQ(three_skills)), path, weights=[0.2, 0.5, 0.3])
    return path


@pytest.fixture(scope="session")
def new_energy_skill():
    """Makes a skill of soft Q-learning with random weights, whose critics matter and whose sampler spreads."""

    def make(task: Task, seed: int, loud: float = 3.0, **settings) -> Skill:
        given = {"hidden_sizes": (32, 24), "temperature": 0.2, **settings}
        spread = 1.0 + 0.1 * seed  # every skill its own normaliser
        normalizer = Normalizer(task.layout.offset, task.layout.scale * spread, clip=10.0)
        learner = SoftQ(task.layout.size, task.spec.action.size, SoftQSettings(**given), seed, normalizer)
        with torch.no_grad():
            for parameter in learner.critics.parameters():
                parameter.mul_(loud ** (1.0 / 3.0))
        return Skill.of_learner(learner, task, f"skill {seed}")

    return make
