"""Two hundred random problems, solved once, and random worlds with goals."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from robot_rl.algorithms.tabular.composition import acting_bound, conjunction_bound, divergence_correction
from robot_rl.algorithms.tabular.goals import GoalWorld
from robot_rl.algorithms.tabular.mdp import FiniteMDP
from robot_rl.algorithms.tabular.values import soft_policy_iteration


@dataclass(frozen=True)
class Problem:
    """Skills in one world, and the task of their mean reward."""

    skills: list[FiniteMDP]
    task: FiniteMDP
    alpha: float
    weights: np.ndarray
    ending: float
    skill_q: np.ndarray
    """Optimal soft Q of every skill, (N, S, A)."""
    task_q: np.ndarray
    """Optimal soft Q of the task, (S, A), solved without the skills."""


@dataclass(frozen=True)
class Composed:
    """What the composition functions say of a problem, each (S, A)."""

    average: np.ndarray
    bound: np.ndarray
    acting_bound: np.ndarray
    correction: np.ndarray


def random_problem(rng: np.random.Generator) -> Problem:
    """Any size, discount, temperature, sparsity; a third of them with episodes that end."""
    states, actions, count = (int(rng.integers(low, high)) for low, high in ((2, 8), (2, 5), (2, 5)))
    alpha = float(np.exp(rng.uniform(np.log(0.03), np.log(3.0))))
    ending = float(rng.choice([0.0, 0.0, 0.1]))
    world = FiniteMDP.random(
        rng, states, actions, rng.uniform(0.3, 0.9), successors=int(rng.integers(1, states + 1)), ending=ending
    )
    weights = rng.dirichlet(np.ones(count))
    skills = [world.with_reward(rng.standard_normal((states, actions))) for _ in range(count)]
    task = world.with_reward(sum(w * skill.reward for w, skill in zip(weights, skills, strict=True)))
    skill_q = np.stack([soft_policy_iteration(skill, alpha) for skill in skills])
    return Problem(skills, task, alpha, weights, ending, skill_q, soft_policy_iteration(task, alpha))


@pytest.fixture(scope="session")
def problems() -> list[Problem]:
    rng = np.random.default_rng(0)
    return [random_problem(rng) for _ in range(200)]


@pytest.fixture(scope="session")
def composed(problems: list[Problem]) -> list[tuple[Problem, Composed]]:
    """The same problems with their bounds and corrections."""
    found = []
    for problem in problems:
        given = problem.task, problem.skill_q, problem.alpha, problem.weights
        average = sum(w * q for w, q in zip(problem.weights, problem.skill_q, strict=True))
        results = (function(*given) for function in (conjunction_bound, acting_bound, divergence_correction))
        found.append((problem, Composed(average, *results)))
    return found


@pytest.fixture
def random_policy() -> Callable[[np.random.Generator, FiniteMDP], np.ndarray]:
    """Draws pi(a|s), (S, A), often near-deterministic."""

    def draw(rng: np.random.Generator, mdp: FiniteMDP) -> np.ndarray:
        return rng.dirichlet(np.full(mdp.actions, rng.choice([0.3, 1.0])), size=mdp.states)

    return draw


@pytest.fixture
def random_world() -> Callable[..., GoalWorld]:
    """Draws a world of 3 actions whose ends are reached from everywhere, and where every step costs 3 or more.

    At temperatures up to 1 that cost is more than the entropy of three actions pays for, so no way round pays.
    """

    def draw(
        rng: np.random.Generator, discount: float = 1.0, outcomes: int = 1, cycles: bool = True, goals: int = 3
    ) -> GoalWorld:
        states, actions = 6, 3
        reached = np.zeros((states, actions, states + goals))  # next states, then goals
        for s, a in np.ndindex(states, actions):
            # The first action always leads on, so that the end is reached.
            first = 0 if cycles and a > 0 else s + 1
            places = rng.choice(np.arange(first, states + goals), outcomes, replace=False)
            reached[s, a, places] = rng.dirichlet(np.ones(outcomes))
        step_reward = -3.0 - rng.random((states, actions))
        return GoalWorld(step_reward, reached[..., :states], reached[..., states:], discount)

    return draw
