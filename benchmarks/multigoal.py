"""Soft Q-learning on four goals that are equally good: does it take all of them?

    python benchmarks/multigoal.py --seed 0 1 2
    python benchmarks/multigoal.py --seed 0 --costs cheap --out multigoal_cheap
    python benchmarks/multigoal.py --algorithm sac --seed 0 1 2

Each seed trains from nothing, plays 400 rollouts from the origin, and prints the share of each goal and the return.
Beside the return stand two optima: that of the best deterministic policy, and that of the best policy of maximum
entropy at the same temperature, from soft value iteration on a grid. One line of JSON per seed goes to results.jsonl in
the output folder, and a picture as in the paper: the rollouts over the level sets of the cost, and the sampler's draws
in some states over exp(Q / alpha) / Z, whose integral is taken by quadrature.

With `--algorithm sac` the same budget goes to soft actor-critic with a temperature next to nothing, a deterministic
learner for all purposes.

Source: Haarnoja et al. 2017 (arXiv 1702.08165), section 5.1 and figure 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from robot_rl.algorithms.energy_policy import lowest_q
from robot_rl.algorithms.learner import Learner
from robot_rl.algorithms.sac import SAC, SACSettings
from robot_rl.algorithms.soft_q import SoftQ, SoftQSettings
from robot_rl.multigoal import CHEAP, PAPER, Multigoal, MultigoalCosts
from robot_rl.training.normalizer import Normalizer
from robot_rl.training.run import versions
from robot_rl.training.trainer import TrainerSettings, train

Array = NDArray[np.floating]

STATES = ((0.0, 0.0), (2.5, 2.5), (-2.5, 0.0), (0.0, 3.5))
"""Where the action distribution is looked at."""
ROLLOUTS = 400
LEAST_SHARE, GREATEST_SHARE = 0.15, 0.35
BINS = 10
"""Per axis, of the histogram that compares draws with the density."""


@dataclass(frozen=True)
class Problem:
    """A set of costs with the temperature that suits it."""

    costs: MultigoalCosts
    temperature: float
    best_return: float
    """Of the best deterministic policy from the origin: straight to a goal, with the best step sizes."""


PROBLEMS = {"paper": Problem(PAPER, 10.0, -110.01), "cheap": Problem(CHEAP, 0.3, -5.68)}


def square(count: int) -> tuple[Array, Array]:
    """Gauss-Legendre nodes (count^2, 2) on the action box and the logarithms of their weights."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    grid = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 2)
    return grid, np.log(np.outer(weights, weights)).ravel()


def log_integral(log_values: Array) -> Array:
    """log sum exp over the last axis."""
    top = log_values.max(axis=-1)
    return top + np.log(np.exp(log_values - top[..., None]).sum(axis=-1))


class SoftOptimum:
    """The policy of maximum entropy, by soft value iteration on a grid of positions and quadrature over actions."""

    def __init__(self, problem: Problem, discount: float, positions: int = 43, actions: int = 13) -> None:
        """Iterates until the values stand still."""
        self.env, self.alpha, self.discount = Multigoal(problem.costs), problem.temperature, discount
        self.axis = np.linspace(-self.env.bound, self.env.bound, positions)
        self.actions, self.log_weights = square(actions)
        grid = np.stack(np.meshgrid(self.axis, self.axis, indexing="ij"), axis=-1)  # (P, P, 2)
        self.value = np.zeros((positions, positions))
        change = np.inf
        while change > 1e-4 * self.alpha:
            # V(s) = alpha log integral exp(Q(s, a) / alpha) da,  Q = r + gamma (1 - terminated) V(s')
            after = np.stack([self.alpha * log_integral(self.logits(row)) for row in grid])
            change, self.value = np.abs(after - self.value).max(), after

    def logits(self, position: Array) -> Array:
        """Q / alpha plus the quadrature's log weight for every action, (..., K), at positions (..., 2)."""
        after, terms, reached = self.env.outcome(position[..., None, :], self.actions)
        q = sum(terms.values()) + self.discount * np.where(reached, 0.0, self._interpolated(after))
        return q / self.alpha + self.log_weights

    def act(self, position: Array, rng: np.random.Generator) -> Array:
        """A draw of the policy for each position (N, 2)."""
        logits = self.logits(position)
        return self.actions[(logits + rng.gumbel(size=logits.shape)).argmax(axis=-1)]

    def _interpolated(self, position: Array) -> Array:
        """V between the points of the grid, bilinear."""
        place = (position + self.env.bound) / (self.axis[1] - self.axis[0])
        low = np.clip(place.astype(int), 0, len(self.axis) - 2)
        x, y = np.moveaxis(place - low, -1, 0)
        i, j = np.moveaxis(low, -1, 0)
        v = self.value
        return (v[i, j] * (1 - x) + v[i + 1, j] * x) * (1 - y) + (v[i, j + 1] * (1 - x) + v[i + 1, j + 1] * x) * y


@dataclass(frozen=True)
class Rollouts:
    """Episodes from the origin."""

    paths: Array
    """(T + 1, N, 2), NaN after the end."""
    returns: Array
    """(N,), not discounted."""
    goal: NDArray[np.integer]
    """Which of the four was reached, (N,); -1 for none."""

    @property
    def shares(self) -> list[float]:
        """Of each goal."""
        return [float((self.goal == goal).mean()) for goal in range(4)]

    def text(self) -> str:
        """One line."""
        shares = " ".join(f"{100 * share:.1f}" for share in self.shares)
        none = 100 * np.mean(self.goal < 0)
        return f"shares of the goals {shares} %, none {none:.1f} %, return {self.returns.mean():.1f}"


def roll_out(env: Multigoal, act: Callable[[Array], Array], count: int, seed: int) -> Rollouts:
    """Plays `count` episodes at once; `act` maps positions (N, 2) to actions."""
    rng = np.random.default_rng(seed)
    position = rng.normal(0.0, env.start_std, (count, 2))
    paths = np.full((env.time_limit + 1, count, 2), np.nan)
    paths[0], returns, goal = position, np.zeros(count), np.full(count, -1)
    for step in range(env.time_limit):
        running = goal < 0
        if not running.any():
            break
        after, terms, reached = env.outcome(position[running], act(position[running]))
        position[running] = paths[step + 1, running] = after
        returns[running] += sum(terms.values())
        goal[np.flatnonzero(running)[reached]] = env.squared_distances(after[reached]).argmin(axis=-1)
    return Rollouts(paths, returns, goal)


def make_learner(algorithm: str, problem: Problem, seed: int) -> Learner:
    """A learner for the plane; positions are divided by the distance of a goal."""
    normalizer = Normalizer(np.zeros(2), np.full(2, 5.0))
    if algorithm == "sac":
        settings = SACSettings(
            hidden_sizes=(128, 128), actor_learning_rate=1e-3, critic_learning_rate=1e-3,
            initial_temperature=1e-3 * problem.temperature, temperature_learning_rate=0.0,
        )  # fmt: skip
        return SAC(2, 2, settings, seed, normalizer)
    return SoftQ(
        2, 2,
        SoftQSettings(
            temperature=problem.temperature, critic_learning_rate=1e-3, actor_learning_rate=1e-3, value_actions=16
        ),
        seed, normalizer,
    )  # fmt: skip


def density(learner: SoftQ, state: tuple[float, float], actions: Array) -> Array:
    """exp(Q / alpha) / Z of the learnt Q at actions (K, 2); Z by quadrature."""
    nodes, log_weights = square(40)
    observation = torch.from_numpy(learner.normalizer(np.array([state])))

    def energy(a: Array) -> Array:
        with torch.no_grad():
            q = lowest_q(learner.critics, observation, torch.from_numpy(a[None].astype(np.float32)))[0]
        return q.double().numpy() / learner.alpha

    return np.exp(energy(actions) - log_integral(energy(nodes) + log_weights))


def total_variation(draws: Array, learner: SoftQ, state: tuple[float, float]) -> float:
    """Half the sum of differences between the histogram of draws and the integral of the density over each bin."""
    edges = np.linspace(-1.0, 1.0, BINS + 1)
    found = np.histogram2d(draws[:, 0], draws[:, 1], bins=[edges, edges])[0] / len(draws)
    nodes, log_weights = square(4)
    centres = np.stack(np.meshgrid(*[0.5 * (edges[1:] + edges[:-1])] * 2, indexing="ij"), axis=-1)  # (BINS, BINS, 2)
    points = centres[..., None, :] + nodes / BINS  # (BINS, BINS, 16, 2)
    wanted = density(learner, state, points.reshape(-1, 2)).reshape(BINS, BINS, -1) @ np.exp(log_weights) / BINS**2
    return 0.5 * float(np.abs(found - wanted).sum())


def picture(learner: SoftQ, rollouts: Rollouts, costs: MultigoalCosts, title: str, path: Path) -> None:
    """Rollouts over the level sets of the cost, and draws over the density in some states."""
    from matplotlib.figure import Figure

    env = Multigoal(costs)
    figure = Figure(figsize=(15, 7.8), layout="constrained")
    figure.suptitle(f"{title}; on the right 400 draws of the sampler over exp(Q / alpha) / Z")
    grid = figure.add_gridspec(2, 4)
    plane = figure.add_subplot(grid[:, :2])
    axis = np.linspace(-env.bound, env.bound, 141)
    positions = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
    cost = env.squared_distances(positions).min(axis=-1)
    plane.contour(axis, axis, cost.T, levels=15, cmap="Greys_r", linewidths=0.8)
    plane.plot(*rollouts.paths[:, :120].transpose(2, 0, 1), color="tab:blue", linewidth=0.7, alpha=0.6)
    for goal, share in zip(env.goals, rollouts.shares, strict=True):
        plane.add_patch(_circle(goal, env.radius))
        plane.annotate(f"{100 * share:.0f} %", goal * 1.27, ha="center", va="center", fontsize=12)
    plane.set(xlim=(-7, 7), ylim=(-7, 7), aspect="equal", xlabel="x", ylabel="y")

    actions = np.stack(np.meshgrid(*[np.linspace(-1, 1, 81)] * 2, indexing="ij"), axis=-1)
    for index, state in enumerate(STATES):
        axes = figure.add_subplot(grid[index // 2, 2 + index % 2])
        values = density(learner, state, actions.reshape(-1, 2)).reshape(81, 81)
        axes.contourf(actions[:, 0, 0], actions[0, :, 1], values.T, levels=12, cmap="Oranges")
        draws = learner.act(np.tile(state, (400, 1)))
        axes.plot(*draws.T, ".", color="tab:blue", markersize=3)
        axes.set(aspect="equal", xlim=(-1, 1), ylim=(-1, 1), title=f"actions at {state}")
    figure.savefig(path, dpi=80)


def _circle(centre: Array, radius: float) -> Any:
    from matplotlib.patches import Circle

    return Circle((float(centre[0]), float(centre[1])), radius, color="tab:red", alpha=0.35)


def run_one(arguments: argparse.Namespace, problem: Problem, seed: int) -> dict[str, Any]:
    """Trains once, prints and draws; returns the line for the output file."""
    env = Multigoal(problem.costs)
    learner = make_learner(arguments.algorithm, problem, seed)
    settings = TrainerSettings(
        total_steps=arguments.steps, start_steps=1000, updates_per_step=arguments.updates_per_step, batch_size=64,
        evaluation_interval=0, log_interval=1000, seed=seed, threads=1,
    )  # fmt: skip
    started, cpu = time.monotonic(), time.process_time()
    result = train(env, learner, settings)
    if result.interrupted:
        sys.exit(result.exit_code)
    cpu = time.process_time() - cpu
    rollouts = roll_out(env, learner.act, ROLLOUTS, seed)
    best = roll_out(env, lambda s: learner.act(s, deterministic=True), ROLLOUTS, seed)
    name = f"{arguments.algorithm}, {arguments.costs}, seed {seed}"
    print(f"{name}: {rollouts.text()}; {result.updates} updates, {cpu:.0f} s of CPU")
    print(f"{name}, deterministic actions: {best.text()}")
    line = {
        "algorithm": arguments.algorithm,
        "costs": arguments.costs,
        "seed": seed,
        "steps": result.steps,
        "updates": result.updates,
        "shares": rollouts.shares,
        "return": float(rollouts.returns.mean()),
        "deterministic_shares": best.shares,
        "deterministic_return": float(best.returns.mean()),
        "wall_time_s": time.monotonic() - started,
        "cpu_time_s": cpu,
        "versions": versions(),
    }
    if isinstance(learner, SoftQ):
        variation = {str(s): total_variation(learner.act(np.tile(s, (4000, 1))), learner, s) for s in STATES}
        print(f"{name}, draws against exp(Q / alpha) / Z, total variation:", _rounded(variation))
        line["total_variation"] = variation
        path = arguments.out / f"{arguments.costs}_s{seed}.png"
        picture(learner, rollouts, problem.costs, f"{name}: 120 of {ROLLOUTS} rollouts", path)
        print(f"  {path}")
    return line


def _rounded(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in values.items())


def main() -> int:
    """Reads the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--algorithm", choices=("soft_q", "sac"), default="soft_q", help="what learns")
    parser.add_argument("--costs", choices=tuple(PROBLEMS), default="paper", help="which of the two sets")
    parser.add_argument("--seed", nargs="+", type=int, default=[0], help="one training each")
    parser.add_argument("--steps", type=int, default=11_000, help="environment steps, the first 1000 at random")
    parser.add_argument("--updates-per-step", type=float, default=0.5, help="updates per environment step")
    parser.add_argument("--out", type=Path, default=Path("multigoal"), help="folder for results and pictures")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    problem = PROBLEMS[arguments.costs]
    optimum = SoftOptimum(problem, discount=0.99)
    rng = np.random.default_rng(0)
    reference = roll_out(Multigoal(problem.costs), lambda s: optimum.act(s, rng), ROLLOUTS, 0)
    print(f"best deterministic policy: return {problem.best_return}")
    print(f"best policy at temperature {problem.temperature}: {reference.text()}", flush=True)
    reached = []
    for seed in arguments.seed:
        line = run_one(arguments, problem, seed)
        line["soft_optimal_return"] = float(reference.returns.mean())
        with open(arguments.out / "results.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")
        reached.append(all(LEAST_SHARE <= share <= GREATEST_SHARE for share in line["shares"]))
    wanted = f"{100 * LEAST_SHARE:.0f} to {100 * GREATEST_SHARE:.0f} %"
    print(f"every goal by {wanted} of the rollouts: {sum(reached)} of {len(reached)} seeds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
