"""Two skills put together without new data, beside training on their mean reward.

    python benchmarks/composed_vs_trained.py --seed 0 1 2 --out composed
    python benchmarks/composed_vs_trained.py --table --out composed

For each seed the two skills of a problem are trained with the recipe of its task and robot, `--steps` steps each, and
composed at equal weights, as they are, after each has learnt from the experience of both, and with what both are
worth together learnt from that experience. Beside that stands one
training on the mean of the two rewards, with the same recipe, judged after a quarter, half and all of the steps that
both skills took together. Everything is evaluated on the mean reward, in the same episodes, by the deterministic action
of each policy; `idle`, which always takes action zero, tells what nothing is worth.

Runs are kept in the output folder and every evaluation is a line of results.jsonl there. What is there already is not
done again, and a training that was cut short goes on from its last checkpoint: the same command can be given at any
time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tables import read_lines

from policies.composed_q import ComposedQ
from policies.correction import CorrectionSettings
from policies.joint import JointSettings
from policies.samplers import CrossEntropySampler, ImportanceSampler, ProductSampler, Sampler
from policies.skills import Skill
from robot_rl.commands.composing import learn, learn_together, load_skill, share_experience, skill_sources
from robot_rl.commands.config_files import layered, recipe
from robot_rl.commands.configuration import resolve
from robot_rl.commands.training import start, train_only
from robot_rl.commands.training_config import TrainingConfig
from robot_rl.evaluation import Act, evaluate
from robot_rl.make import make_env
from robot_rl.settings import from_mapping
from robot_rl.spec_file import load_robot
from robot_rl.training.checkpoint import latest_checkpoint, load_checkpoint
from robot_rl.training.replay import Replay
from robot_rl.training.run import Run, versions
from robot_rl.training.trainer import TrainerSettings

Array = NDArray[np.floating]

RESULTS = "results.jsonl"
TOGETHER = "together"
"""Name of the training on the mean reward, and the folder of its run."""
COMPOSED = "composed"
"""The policy that `robot-rl compose` exports; what follows in a row's name says how it differs."""
SHARED_UPDATES = 2500
"""Of every skill, from the experience of both."""
JOINT_UPDATES = 20_000
"""Of correction and joint policy, from the experience of both."""
SHARES = (0.25, 0.5, 1.0)
"""Of the skills' steps, after which that training is judged."""


@dataclass(frozen=True)
class Problem:
    """Two settings of a task whose rewards' mean is that of a third."""

    robot: str
    task: str
    skills: Mapping[str, Mapping[str, Any]]
    mean: Mapping[str, Any]
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the recipe of the task and robot: skills share a fixed temperature."""


STEPPING = {"forward": [0.4, 0.4], "lateral": [0.4, 0.4], "step_height": 0.04}
"""Velocities in m/s of the skills of `walk`, and m by which the feet lift themselves."""
PROBLEMS = {
    "pusher": Problem("planar_arm", "push", {"x": {"axes": "x"}, "y": {"axes": "y"}}, {"axes": "both"}),
    "reach": Problem(
        "planar_arm", "reach", {side: {"prefer": side} for side in ("left", "right")}, {"prefer": "both"}
    ),
    "dclaw": Problem(
        "dclaw",
        "turn_valve",
        {aim: {"aim": aim, "goal": [0.0, 0.0]} for aim in ("turn", "calm")},
        {"aim": "both", "goal": [0.0, 0.0]},
        {
            "sac": {
                "temperature_learning_rate": 0.0,
                "initial_temperature": 0.1,
                "tau": 0.01,
                "layer_norm_critic": False,
            },
            # Half of an episode: the valve is at its goal by then, or was not understood. One update a step is what the
            # skills were measured with.
            "trainer": {"episode_seconds": 4.0, "batch_size": 128, "updates_per_step": 1},
        },
    ),
    "walk": Problem(
        "go2",
        "walk",
        {"forward": {"pursue": "forward", **STEPPING}, "left": {"pursue": "left", **STEPPING}},
        {"pursue": "mean", **STEPPING},
        {
            "sac": {
                "temperature_learning_rate": 0.0,
                "initial_temperature": 0.05,
                "tau": 0.01,
                "layer_norm_critic": False,
            },
            # Skills of the recipe, which walk sooner, fell when they were put together.
            "trainer": {"updates_per_step": 1, "batch_size": 256},
        },
    ),
}


def configuration(problem: Problem, task_settings: Mapping[str, Any], seed: int, steps: int) -> TrainingConfig:
    """The recipe with these settings of the task."""
    chosen = {
        "robot": problem.robot,
        "task": {"name": problem.task, **task_settings},
        "seed": seed,
        # The last steps of training on the mean reward need the first ones too.
        "trainer": {"total_steps": steps, "replay_capacity": steps, "keep_terms": True},
    }
    return resolve(layered(recipe(problem.task, problem.robot), problem.recipe, chosen), "benchmark")


def trained(folder: Path, config: TrainingConfig, steps: int) -> Act:
    """The mode of a run's policy after some of its steps; trains where the run has not come so far.

    Args:
        folder: of the run; made where it is missing.
        config: of the run.
        steps: to train for.
    """
    run = Run.open(folder if folder.exists() else start(config, ["benchmark"], folder))
    settings = from_mapping(TrainerSettings, config.trainer, "trainer")
    result = train_only(run, config, replace(settings, total_steps=steps))
    if result.interrupted:
        sys.exit(result.exit_code)
    place = latest_checkpoint(run.checkpoints)
    assert place is not None
    saved = load_checkpoint(place)
    if (now := saved.part("trainer").values["step"]) > steps:
        sys.exit(f"{folder} has come to step {now:,}, what it was at step {steps:,} is gone; move it to train anew")
    learner = config.make_learner()
    learner.load_state(saved.part("learner"))
    return partial(learner.act, deterministic=True)


class Judge:
    """Evaluates policies of one seed on the mean reward and keeps the results."""

    def __init__(self, problem: Problem, seed: int, steps: int, episodes: int, results: Path) -> None:
        """Args: problem; seed; steps: of a skill; episodes: of an evaluation; results: the file of all lines."""
        self._env = make_env(problem.robot, problem.task, problem.mean)
        self._results = results
        self._about: dict[str, Any] = {"robot": problem.robot, "task": problem.task, "seed": seed, "skill_steps": steps}
        self._about["episodes"] = episodes

    def judge(self, policy: str, make: Callable[[], Act], new_steps: int = 0) -> None:
        """Plays the episodes and adds a line, unless there is one already.

        Args:
            policy: its name.
            make: makes it, where it is needed.
            new_steps: what it costs beyond the skills.
        """
        about = {**self._about, "policy": policy}
        if any(all(line[key] == value for key, value in about.items()) for line in read_lines(self._results)):
            return
        found = evaluate(self._env, make(), self._about["episodes"]).summary()
        line = {**about, "new_steps": new_steps, **found, "versions": versions()}
        with open(self._results, "a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps({key: line[key] for key in ("seed", "policy", "return", "successes")}), flush=True)


def run_seed(problem: Problem, seed: int, steps: int, episodes: int, out: Path) -> None:
    """Everything of one seed that is not there yet."""
    judge = Judge(problem, seed, steps, episodes, out / RESULTS)
    folder = out / f"{problem.task}-{problem.robot}_s{seed}_{steps}"
    resting = np.zeros(load_robot(problem.robot).action.size)
    judge.judge("idle", lambda: lambda observation: resting)
    for name, settings in problem.skills.items():
        config = configuration(problem, settings, seed, steps)
        judge.judge(f"skill {name}", partial(trained, folder / name, config, steps))
    for policy, make in composed(folder, tuple(problem.skills)).items():
        judge.judge(policy, make)
    in_all = steps * len(problem.skills)
    together = configuration(problem, problem.mean, seed, in_all)
    for share in SHARES:
        so_far = round(share * in_all)
        judge.judge(_after(share), partial(trained, folder / TOGETHER, together, so_far), so_far)


def _after(share: float) -> str:
    return f"trained, {100 * share:.0f} %"


def composed(folder: Path, names: Sequence[str]) -> dict[str, Callable[[], Act]]:
    """The skills together at equal weights, by the ways to act on them that need no new data; each is made when asked.

    Args:
        folder: of the runs of the skills.
        names: of the skills, and of their runs.
    """
    sources = skill_sources([str(folder / name) for name in names], names)

    @cache
    def skills(shared: bool) -> tuple[list[Skill], list[Replay | None]]:
        loaded = [load_skill(source) for source in sources]
        if shared:
            share_experience(loaded, SHARED_UPDATES, lambda line: print(line, flush=True))
        return [one.skill() for one in loaded], [one.replay for one in loaded]

    @cache
    def together() -> ComposedQ:
        loaded = [load_skill(source) for source in sources]
        own = [one.skill() for one in loaded]
        settings = JointSettings(updates=JOINT_UPDATES)
        return ComposedQ(own, joint=learn_together(loaded, settings, lambda line: print(line, flush=True)))

    def act_jointly() -> Act:
        whole = together()
        weights, chosen = whole.weights(), ImportanceSampler(whole)
        return lambda observation: chosen(observation[None], weights, whole.alpha).action[0].numpy()

    def act(sampler: Callable[[ComposedQ], Sampler], shared: bool = False, corrected: bool = False) -> Act:
        own, replays = skills(shared)
        correction = learn(own, replays, CorrectionSettings(), lambda step, loss: None) if corrected else None
        whole = ComposedQ(own, correction=correction)
        weights, chosen = whole.weights(), sampler(whole)
        return lambda observation: chosen(observation[None], weights, whole.alpha).action[0].numpy()

    return {
        COMPOSED: lambda: act(ImportanceSampler),
        f"{COMPOSED}, joint": act_jointly,
        f"{COMPOSED}, corrected": lambda: act(ImportanceSampler, corrected=True),
        f"{COMPOSED}, product": lambda: act(ProductSampler),
        f"{COMPOSED}, cem": lambda: act(CrossEntropySampler),
        f"{COMPOSED}, shared": lambda: act(ImportanceSampler, shared=True),
        f"{COMPOSED}, shared, product": lambda: act(ProductSampler, shared=True),
        f"{COMPOSED}, shared, cem": lambda: act(CrossEntropySampler, shared=True),
        f"{COMPOSED}, shared, corrected": lambda: act(ImportanceSampler, shared=True, corrected=True),
        f"{COMPOSED}, shared, corrected, cem": lambda: act(CrossEntropySampler, shared=True, corrected=True),
    }


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table over the seeds; shares of the full training's return, seed by seed, and above that of idling."""
    returns = {(line["seed"], line["policy"]): line["return"] for line in results}
    seeds = sorted({line["seed"] for line in results})
    returned = f"return, seeds {', '.join(map(str, seeds))}"
    lines = [
        f"| policy | new steps | {returned} | successes | of the full training | above idle |",
        "|---|---|---|---|---|---|",
    ]
    for policy in dict.fromkeys(line["policy"] for line in results):
        mine = [line for line in sorted(results, key=lambda line: line["seed"]) if line["policy"] == policy]
        each = [line["return"] for line in mine]
        full = [returns.get((line["seed"], _after(1.0)), np.nan) for line in mine]
        idle = [returns.get((line["seed"], "idle"), np.nan) for line in mine]
        shares = 100 * np.array(each) / full
        above = 100 * (np.array(each) - idle) / (np.array(full) - idle)
        successes, episodes = (sum(line[key] for line in mine) for key in ("successes", "episodes"))
        lines.append(
            f"| {policy} | {mine[0]['new_steps']:,} | {np.mean(each):.1f} ({', '.join(f'{r:.1f}' for r in each)}) "
            f"| {successes} of {episodes} | {_percent(shares)} | {_percent(above)} |"
        )
    return "\n".join(lines)


def _percent(shares: Array) -> str:
    return f"{shares.mean():.0f} % ({', '.join(f'{share:.0f}' for share in shares)})"


def main() -> int:
    """Reads the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--problem", choices=PROBLEMS, default="pusher", help="what to compose")
    parser.add_argument("--seed", nargs="+", type=int, default=[0, 1, 2], help="of everything")
    parser.add_argument("--steps", type=int, default=10_000, help="of each skill")
    parser.add_argument("--episodes", type=int, default=50, help="of each evaluation")
    parser.add_argument("--out", type=Path, default=Path("composed_vs_trained"), help="folder of runs and results")
    parser.add_argument("--table", action="store_true", help="print what the output folder holds, run nothing")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    problem = PROBLEMS[arguments.problem]
    if not arguments.table:
        for seed in arguments.seed:
            run_seed(problem, seed, arguments.steps, arguments.episodes, arguments.out)
    wanted = {"task": problem.task, "robot": problem.robot, "skill_steps": arguments.steps}
    wanted["episodes"] = arguments.episodes
    lines = read_lines(arguments.out / RESULTS)
    print(table([line for line in lines if all(line[key] == value for key, value in wanted.items())]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
