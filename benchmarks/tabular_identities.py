"""Every equation of composition on random finite problems, to the last digits, and its bounds beside the truth.

    python benchmarks/tabular_identities.py [--count 200] [--seed 0] [--json]

Each problem has two to four skills in one world of up to seven states, with weights, temperature, discount and sparsity
of its own; a third of them have episodes that end. For OR there are as many worlds whose ends are worth different
things to different tasks. Three tables:

- identities: largest difference of the two sides over all problems, states and actions. They fail above 1e-9, and the
  exit code is then 1.
- inequalities: what the larger side has over the smaller one, least and greatest. None is below -1e-9.
- differences that remain: what averaging promises and loses beside its bounds, and statements whose conditions fail;
  the median over the problems, and the largest.

Values are in reward units; the rewards are standard normal. `composition_bounds.py` says how useful the bounds are.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_rl.algorithms.tabular.composition import (
    acting_bound,
    conjunction,
    conjunction_bound,
    disagreement,
    divergence_correction,
    gpi_policy,
)
from robot_rl.algorithms.tabular.goals import GoalWorld, disjunction
from robot_rl.algorithms.tabular.mdp import FiniteMDP
from robot_rl.algorithms.tabular.values import (
    boltzmann_policy,
    greedy_policy,
    hard_evaluation,
    hard_policy_iteration,
    hard_value_iteration,
    kl_divergence,
    log_boltzmann_policy,
    soft_evaluation,
    soft_evaluation_backup,
    soft_policy_iteration,
    soft_value,
    soft_value_iteration,
    value_of_policy,
)

Array = NDArray[np.floating]

EXACT = 1e-9
"""Reward units."""


class Statements(NamedTuple):
    """What was found, by the name of the statement; one array of differences or margins per problem."""

    equal: dict[str, list[Array]]
    at_least: dict[str, list[Array]]
    not_exact: dict[str, list[Array]]


def values(rng: np.random.Generator, mdp: FiniteMDP, q: Array, alpha: float, found: Statements) -> None:
    """Statements on soft values; q is the optimal one, (S, A)."""
    equal, at_least = found.equal, found.at_least
    policy = boltzmann_policy(q, alpha)
    other = rng.dirichlet(np.full(mdp.actions, 0.5), size=mdp.states)  # (S, A)
    q_other = soft_evaluation(mdp, other, alpha)
    equal["soft policy iteration = soft value iteration"].append(q - soft_value_iteration(mdp, alpha))
    equal["hard policy iteration = hard value iteration"].append(hard_policy_iteration(mdp) - hard_value_iteration(mdp))
    equal["Q of exp((Q - V) / alpha) = Q"].append(soft_evaluation(mdp, policy, alpha) - q)
    again = soft_evaluation_backup(mdp, q_other, other, alpha)
    equal["a linear solve is the fixed point of evaluation"].append(again - q_other)
    gap = kl_divergence(other, log_boltzmann_policy(q, alpha))
    mean = value_of_policy(q, other, alpha)
    equal["E[Q] + alpha H = V - alpha KL(pi || softmax Q)"].append(mean - (soft_value(q, alpha) - alpha * gap))
    if mdp.transition.sum(axis=2).min() > 1.0 - 1e-12:  # episodes do not end
        shifted = soft_policy_iteration(mdp.with_reward(mdp.reward + 0.7), alpha)
        equal["r + c shifts Q by c / (1 - gamma)"].append(shifted - q - 0.7 / (1.0 - mdp.discount))
    scaled = soft_policy_iteration(mdp.with_reward(3.0 * mdp.reward), 3.0 * alpha)
    equal["(k r, k alpha) scales Q by k"].append(scaled / 3.0 - q)
    improved = soft_evaluation(mdp, boltzmann_policy(q_other, alpha), alpha)
    at_least["Q of the improved policy >= Q"].append(improved - q_other)
    at_least["optimal Q >= Q of any policy"].append(q - q_other)
    hard = hard_policy_iteration(mdp)
    equal["alpha = 1e-9 gives the hard Q"].append(soft_policy_iteration(mdp, 1e-9) - hard)
    greedy = hard_evaluation(mdp, greedy_policy(hard))
    equal["Q of the greedy policy of the hard Q = the hard Q"].append(greedy - hard)


def compositions(rng: np.random.Generator, found: Statements) -> None:
    """One random problem and all statements on it."""
    equal, at_least, not_exact = found
    states, actions, count = (int(rng.integers(low, high)) for low, high in ((2, 8), (2, 5), (2, 5)))
    alpha, discount = float(np.exp(rng.uniform(np.log(0.03), np.log(3.0)))), rng.uniform(0.3, 0.9)
    ending = float(rng.choice([0.0, 0.0, 0.1]))
    world = FiniteMDP.random(rng, states, actions, discount, int(rng.integers(1, states + 1)), ending)
    rewards, weights = rng.standard_normal((count, states, actions)), rng.dirichlet(np.ones(count))
    task = world.with_reward(np.tensordot(weights, rewards, axes=1))

    q = np.stack([soft_policy_iteration(world.with_reward(reward), alpha) for reward in rewards])  # (N, S, A)
    task_q = soft_policy_iteration(task, alpha)  # (S, A)
    values(rng, task, task_q, alpha, found)

    given = q, alpha, weights
    average, correction = conjunction(q, weights), divergence_correction(task, *given)
    bound, acting = conjunction_bound(task, *given), acting_bound(task, *given)
    policies = boltzmann_policy(q, alpha)
    product = np.prod(policies ** weights[:, None, None], axis=0)  # (S, A)
    policy = boltzmann_policy(average, alpha)
    acting_q = soft_evaluation(task, policy, alpha)
    normalised = product / product.sum(axis=-1, keepdims=True)
    equal["exp(Qbar / alpha) = product of pi_i^w_i, normalised"].append(policy - normalised)
    equal["Qbar - C_w = Q_w"].append(average - correction - task_q)
    repaired = soft_evaluation(task, boltzmann_policy(average - correction, alpha), alpha)
    equal["Q of exp((Qbar - C_w) / alpha) = Q_w"].append(repaired - task_q)
    half, two = np.array([0.5, 0.5]), policies[:2]
    renyi = -2.0 * np.log(np.sqrt(two[0] * two[1]).sum(axis=-1))  # of order 1/2
    equal["disagreement of two = half of Renyi's divergence"].append(disagreement(q[:2], alpha, half) - renyi / 2.0)
    alone = np.eye(count)[0]
    equal["all weight on one skill: Qbar = Q_1"].append(conjunction(q, alone) - q[0])
    equal["all weight on one skill: C = 0"].append(conjunction_bound(task, q, alpha, alone))
    at_least["Qbar >= Q_w"].append(average - task_q)
    at_least["Q_w >= Qbar - C"].append(task_q - (average - bound))
    at_least["C >= C_w"].append(bound - correction)
    at_least["Q_w >= Q^pi, pi of Qbar"].append(task_q - acting_q)
    at_least["Q^pi >= Q_w - D"].append(acting_q - (task_q - acting))
    on_task = np.stack([soft_evaluation(task, one, alpha) for one in policies])
    improved = soft_evaluation(task, gpi_policy(on_task, alpha), alpha)
    at_least["Q of the max-ent GPI policy >= every Q^pi_i"].append(improved - on_task.max(axis=0))
    not_exact["true gap, Qbar - Q_w"].append(average - task_q)
    not_exact["its bound, C"].append(bound)
    not_exact["true loss of acting, Q_w - Q^pi"].append(task_q - acting_q)
    not_exact["its bound, D"].append(acting)
    summed = soft_evaluation(task, boltzmann_policy(average, alpha / count), alpha)
    not_exact["loss with the sum in place of the mean"].append(task_q - summed)


def disjunctions(rng: np.random.Generator, discount: float, outcomes: int) -> Array:
    """The error of OR for two tasks in a random world of ends, (S, A)."""
    states, actions, goals = 6, 3, 3
    reached = np.zeros((states, actions, states + goals))
    for s, a in np.ndindex(states, actions):
        first = s + 1 if a == 0 else 0  # the first action always leads on, so that the end is reached
        places = rng.choice(np.arange(first, states + goals), outcomes, replace=False)
        reached[s, a, places] = rng.dirichlet(np.ones(outcomes))
    step_reward = -3.0 - rng.random((states, actions))  # so much that no way round pays by its entropy
    world = GoalWorld(step_reward, reached[..., :states], reached[..., states:], discount)
    alpha, weights = rng.uniform(0.2, 1.0), rng.dirichlet(np.ones(2))
    goal_rewards = rng.normal(scale=4.0, size=(2, goals))
    q = np.stack([soft_policy_iteration(world.task(reward), alpha) for reward in goal_rewards])
    either = soft_policy_iteration(world.task(disjunction(goal_rewards, alpha, weights)), alpha)
    return disjunction(q, alpha, weights) - either


def main() -> None:
    """Solves, compares and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="problems")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    found = Statements(defaultdict(list), defaultdict(list), defaultdict(list))
    for _ in range(given.count):
        compositions(rng, found)
        found.equal["OR, deterministic and without discount"].append(disjunctions(rng, 1.0, 1))
        found.not_exact["error of OR, gamma = 0.95"].append(disjunctions(rng, 0.95, 1))
        found.not_exact["error of OR, stochastic dynamics"].append(disjunctions(rng, 1.0, 2))
    tables = {
        "identities": {name: {"largest error": _largest(each)} for name, each in found.equal.items()},
        "inequalities": {
            name: {"least": min(float(x.min()) for x in each), "greatest": max(float(x.max()) for x in each)}
            for name, each in found.at_least.items()
        },
        "differences that remain": {
            name: {"median": float(np.median([_largest([x]) for x in each])), "largest": _largest(each)}
            for name, each in found.not_exact.items()
        },
    }
    if given.json:
        print(json.dumps({"problems": given.count, "seed": given.seed, **tables}, indent=1))
    else:
        print(f"{given.count} random problems, seed {given.seed}")
        for title, rows in tables.items():
            _print(title, rows)
    broken = any(row["largest error"] > EXACT for row in tables["identities"].values())
    sys.exit(int(broken or any(row["least"] < -EXACT for row in tables["inequalities"].values())))


def _largest(each: list[Array]) -> float:
    return max(float(np.abs(x).max()) for x in each)


def _print(title: str, rows: Mapping[str, Mapping[str, float]]) -> None:
    columns = list(next(iter(rows.values())))
    print(f"\n{title:<54}" + "".join(f"{column:>15}" for column in columns))
    for name, row in rows.items():
        print(f"{name:<54}" + "".join(f"{value:15.3g}" for value in row.values()))


if __name__ == "__main__":
    main()
