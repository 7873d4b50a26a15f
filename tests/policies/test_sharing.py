"""What skills learn from each other's experience, against rewards that are known."""

import numpy as np
import pytest
import torch

from policies.sharing import check_sharing, share
from robot_rl.algorithms.sac import SAC, SACSettings
from robot_rl.errors import ConfigurationError
from robot_rl.make import make_env, make_task
from robot_rl.training.collector import Collector
from robot_rl.training.replay import Replay


class Weighted:
    """What sharing needs of a task: named terms with weights."""

    class Term:
        def __init__(self, weight):
            self.weight = weight

    def __init__(self, name="bandit", **weights):
        self.name = name
        self.terms = {term: self.Term(weight) for term, weight in weights.items()}


def bandit(seed, low, high):
    """Episodes of one step whose actions lie in a part of the box; the terms are a and a^2."""
    rng = np.random.default_rng(seed)
    replay = Replay(2000, 1, 1, seed=seed, terms=("linear", "square"))
    a = rng.uniform(low, high, (2000, 1))
    nothing = np.zeros((2000, 1))
    values = np.concatenate([a, a**2], axis=1)
    replay.add(nothing, a, np.zeros(2000), nothing, np.ones(2000, dtype=bool), values)
    return replay


def q_of(learner, actions):
    observation = torch.zeros(len(actions), 1)
    with torch.no_grad():
        return learner.critics(observation, torch.from_numpy(actions.astype(np.float32))[:, None]).amin(dim=0).numpy()


def test_a_skill_learns_from_another_ones_actions_what_they_are_worth_to_itself():
    tasks = [Weighted(linear=1.0, square=0.0), Weighted(linear=0.0, square=-1.0)]
    replays = [bandit(0, -1.0, 0.0), bandit(1, 0.0, 1.0)]
    settings = SACSettings(hidden_sizes=(32, 32), critic_learning_rate=3e-3)
    learners = [SAC(1, 1, settings, seed) for seed in (0, 1)]
    share(learners, tasks, replays, updates=400, batch_size=128)
    a = np.linspace(-0.9, 0.9, 19)
    for learner, truth in zip(learners, (a, -(a**2)), strict=True):
        assert np.sqrt(np.mean((q_of(learner, a) - truth) ** 2)) < 0.08


def test_a_replay_pays_by_another_skills_weights_what_that_skill_would_have_been_paid():
    actions = np.random.default_rng(0).uniform(-1, 1, (40, 1, 3)).astype(np.float32)
    rewards, replays = {}, {}
    for axes in ("x", "y"):
        collector = Collector(make_env("planar_arm", "push", {"axes": axes}))
        collector.keep_terms()
        collector.restart(3)
        steps = [collector.step(action) for action in actions]
        rewards[axes] = np.concatenate([step.reward for step in steps])
        replays[axes] = Replay(40, collector.observation_size, 3, terms=collector.terms)
        for step in steps:
            row = (step.observation, step.action, step.reward, step.next_observation, step.terminated, step.values)
            replays[axes].add(*row)
    assert not np.allclose(rewards["x"], rewards["y"], atol=1e-3)
    task = make_task("push", "planar_arm", {"axes": "y"})
    weights = np.array([task.terms[name].weight for name in replays["x"].terms])
    # The same seed draws the same transitions from both replays.
    np.testing.assert_allclose(replays["x"].sample(200, weights).reward, replays["y"].sample(200).reward, atol=1e-5)


def test_skills_that_cannot_share_are_refused_by_name():
    tasks = [Weighted(linear=1.0, square=0.0), Weighted(linear=0.0, square=1.0)]
    good, bare = bandit(0, -1, 1), Replay(10, 1, 1)
    with pytest.raises(ConfigurationError, match="'b' has none"):
        check_sharing(["a", "b"], tasks, [good, None])
    with pytest.raises(ConfigurationError, match=r"replay of 'b' does not hold; train it with trainer\.keep_terms"):
        check_sharing(["a", "b"], tasks, [good, bare])
    with pytest.raises(ConfigurationError, match="'a' has bandit: linear, cube; 'b' has bandit: linear, square"):
        check_sharing(["a", "b"], [Weighted(linear=1.0, cube=1.0), tasks[1]], [good, good])
    with pytest.raises(ConfigurationError, match="'a' has other: linear, square; 'b' has bandit"):
        check_sharing(["a", "b"], [Weighted("other", linear=1.0, square=0.0), tasks[1]], [good, good])
