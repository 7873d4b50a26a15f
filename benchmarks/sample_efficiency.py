"""What SAC learns from few steps, with settings of the papers that made it learn from fewer.

    python benchmarks/sample_efficiency.py --task walk-go2 walk-minitaur --variant sac layer_norm --seeds 0 1 2 3 4
    python benchmarks/sample_efficiency.py --task Hopper-v5 --variant sac droq redq crossq simba --steps 100000
    python benchmarks/sample_efficiency.py --table

Tasks `walk-ROBOT`: steps of training until the policy's mode walks, which is tried every 1,000 steps: 9 of 10 episodes
of 10 s at 0.6 m/s without a fall and within 20 % of the speed. Variants stand on the recipe of the task; a training
ends when it walks, or after --steps. `--set task.step_height=0.04` changes a setting of all variants.

Other tasks are environments of Gymnasium, or of the dm_control suite (`dm_control/walker-walk`): returns of the
policy's mode over 10 episodes after so many steps, with the settings of the papers; their figures, Gymnasium's on the
-v4 forerunners, stand beside.

One line of JSON for every finished training goes to --out; what is in there is not trained again, and a training in
such an environment that was cut short goes on from its checkpoint. On one core a million updates of the smaller
variants take hours: REDQ and DroQ make 20 a step.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import math
import platform
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import yaml
from tables import markdown, over_seeds, read_lines
from walking import EPISODES, Verdict, Walks, judge

from robot_rl.algorithms.learner import Learner
from robot_rl.algorithms.sac import SAC, SACSettings
from robot_rl.commands.config_files import layered, read_file, recipe
from robot_rl.commands.configuration import resolve
from robot_rl.make import SUITE, is_suite_task, make_env, make_suite_env
from robot_rl.settings import from_mapping
from robot_rl.training.evaluation import deterministic_evaluation
from robot_rl.training.metrics import read_metrics
from robot_rl.training.run import Run, versions
from robot_rl.training.trainer import TrainerSettings, train

DROQ = {"layer_norm_critic": True, "critic_dropout": 0.01, "actor_q": "mean", "actor_delay": 20}
REDQ = {"critics": 10, "target_critics": 2, "actor_q": "mean", "actor_delay": 20}
FEW_STEPS = read_file("few_steps")
"""The preset: CrossQ with small critics and more updates."""
CROSSQ = {**FEW_STEPS["sac"], "critic_hidden_sizes": [1024, 1024]}
SIMBA = {
    "residual": True, "hidden_sizes": [128], "critic_hidden_sizes": [512, 512], "running_normalizer": True,
    "weight_decay": 0.01, "actor_learning_rate": 1e-4, "critic_learning_rate": 1e-4,
    "temperature_learning_rate": 1e-4, "initial_temperature": 0.01,
}  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "sac": {},
    "layer_norm": {"sac": {"layer_norm_critic": True}},
    "layer_norm_2": {"sac": {"layer_norm_critic": True}, "trainer": {"updates_per_step": 2}},
    "droq": {"sac": DROQ, "trainer": {"updates_per_step": 20}},
    "redq": {"sac": REDQ, "trainer": {"updates_per_step": 20}},
    "crossq": {"sac": CROSSQ},
    "few_steps": FEW_STEPS,
    "simba": {"sac": SIMBA, "trainer": {"updates_per_step": 2}},
    "resets": {"sac": {"reset_interval": 200_000}, "trainer": {"updates_per_step": 10}},
}
"""Settings by section, on top of the paper's SAC or of a task's recipe."""
AT_100_000 = {
    "sac": {"Hopper": 1103, "Walker2d": 690, "HalfCheetah": 6156, "Ant": 747, "Humanoid": 632},
    "redq": {"Hopper": 2750, "Walker2d": 3459, "HalfCheetah": 7823, "Ant": 3287, "Humanoid": 1319},
    "droq": {"Hopper": 1813, "Walker2d": 2277, "HalfCheetah": 7744, "Ant": 1365, "Humanoid": 1278},
    "crossq": {"Hopper": 2764, "Walker2d": 3914, "HalfCheetah": 8112, "Ant": 2299, "Humanoid": 2603},
    "simba": {"Hopper": 2206, "Walker2d": 2756, "HalfCheetah": 5462, "Ant": 4176, "Humanoid": 3725},
}
"""Published mean returns after 100,000 steps on -v4, by variant."""
TITLES = {"sac": "SAC", "redq": "REDQ", "droq": "DroQ", "crossq": "CrossQ", "simba": "SimBa"}
"""How the papers call the variants."""
OF_THE_SUITE = {
    "walker-walk": {100_000: (449, 962), 250_000: (732, 965), 500_000: (942, 972), 1_000_000: (958, None)},
    "cheetah-run": {100_000: (178, 642), 250_000: (362, 831), 500_000: (586, 890), 1_000_000: (805, None)},
    "quadruped-walk": {100_000: (114, 804), 250_000: (146, 945), 500_000: (148, 955), 1_000_000: (320, None)},
}
"""Published mean returns on dm_control by task and steps: of SAC, and of SimbaV2 for the variant `simba`. Probably with
each action held for two steps."""
MARKS = (10_000, 20_000, 30_000, 50_000, 100_000, 125_000, 250_000, 300_000, 500_000, 1_000_000)
TRIED_EVERY = 1_000
"""Steps between two trials of a policy that learns to walk."""


def walk(robot: str, settings: Mapping[str, Any], seed: int, steps: int) -> dict[str, Any]:
    """Trains a robot until it walks.

    Args:
        robot: name.
        settings: by section, on top of the recipe.
        seed: of everything.
        steps: at most.

    Returns:
        Steps until it walked, None if it did not, and every trial: steps, good episodes, speed, its error, return.
    """
    own = {"robot": robot, "task": {"name": "walk"}, "seed": seed}
    config = resolve(layered(recipe("walk", robot), settings, own), "benchmark")
    changed = {"total_steps": steps, "evaluation_interval": TRIED_EVERY, "log_interval": steps}
    trials: list[list[float]] = []
    env = make_env(config.spec(), config.make_task())
    found: Verdict | None = None

    def trial(learner: Learner) -> dict[str, float]:
        nonlocal found
        found = judge(env, lambda observation: learner.act(observation, deterministic=True))
        count = (len(trials) + 1) * TRIED_EVERY
        trials.append([count, found.good, found.speed, found.speed_error, found.reward])
        print(f"{count} steps: {found.good}/{EPISODES}, {found.speed:.2f} m/s", file=sys.stderr, flush=True)
        if found.walks:
            raise Walks
        return {}

    training = from_mapping(TrainerSettings, {**config.trainer, **changed}, "trainer")
    with contextlib.suppress(Walks):
        train(config.make_env(config.make_task()), config.make_learner(), training, evaluate=trial)
    assert found is not None
    return {"walked": int(trials[-1][0]) if found.walks else None, "trials": trials}


def returns(
    name: str, repeat: int, settings: Mapping[str, Any], seed: int, steps: int, threads: int, folder: Path
) -> Any:
    """Trains in an environment of Gymnasium or the suite; returns by steps.

    Args:
        name: of the environment.
        repeat: steps of the suite for which an action is held.
        settings: by section, on top of the paper's.
        seed: of everything.
        steps: of training.
        threads: of torch.
        folder: of the run; continued if it is there.
    """
    make: Any = partial(gymnasium.make, name)
    if is_suite_task(name):
        make = partial(make_suite_env, name, repeat=repeat)
    env = make()
    assert env.observation_space.shape is not None
    assert env.action_space.shape is not None
    actions = env.action_space.shape[0]
    given = dict(settings.get("sac", {}))
    if given.get("residual"):
        given.setdefault("target_entropy", -0.5 * actions)
    learner = SAC(env.observation_space.shape[0], actions, from_mapping(SACSettings, given, "sac"), seed)
    trainer = {
        "start_steps": 5_000, "evaluation_interval": 10_000 // repeat,
        "checkpoint_interval": 5_000, "log_interval": 5_000,
        **settings.get("trainer", {}), "total_steps": steps, "seed": seed, "threads": threads,
    }  # fmt: skip
    run = Run.open(folder) if folder.exists() else Run.create(folder, {"env": name, "seed": seed})
    evaluate = deterministic_evaluation(make, EPISODES, seed=10_000 + seed)
    result = train(env, learner, from_mapping(TrainerSettings, trainer, "trainer"), run, evaluate)
    if result.interrupted:
        sys.exit(result.exit_code)
    lines = read_metrics(run.metrics)
    curve = {str(line["step"]): line["evaluation/return"] for line in lines if "evaluation/return" in line}
    shutil.rmtree(folder)
    return {"curve": curve, "wall_time_s": result.wall_time}


def published(task: str, variant: str, steps: int) -> str:
    """What the literature has of a variant; beside `few_steps`, which is ours, what it has of the others."""
    found: dict[str, float | None] = {}
    if is_suite_task(task):
        theirs = OF_THE_SUITE.get(task.removeprefix(SUITE), {}).get(steps, (None, None))
        found = dict(zip(("sac", "simba"), theirs, strict=True))
    elif steps == 100_000:
        found = {name: returns.get(task.split("-")[0]) for name, returns in AT_100_000.items()}
    known = {name: value for name, value in found.items() if value is not None}
    if variant.split()[0] == "few_steps" and known:
        titles = {**TITLES, **({"simba": "SimbaV2"} if is_suite_task(task) else {})}
        return ", ".join(f"{titles[name]} {value}" for name, value in known.items())
    return str(known.get(variant, "-"))


def walking_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Steps until a robot walked, in Markdown; empty if no robot learnt to walk here."""
    by_kind: dict[tuple[str, str], dict[int, float]] = {}
    for line in results:
        if "walked" in line:
            by_kind.setdefault((line["task"], line["variant"]), {})[line["seed"]] = line["walked"] or math.inf
    heads = ("task", "settings", "steps until it walks (seeds 0, 1, ...)", "median")
    rows = []
    for (task, variant), steps in sorted(by_kind.items()):
        each = ", ".join(_thousands(steps[seed]) for seed in sorted(steps))
        rows.append((task, variant, each, _thousands(statistics.median(steps.values()))))
    return markdown(heads, rows) if rows else ""


def _thousands(steps: float) -> str:
    return f"{steps:,.0f}" if steps < math.inf else "more"


def returns_table(results: Sequence[Mapping[str, Any]], marks: Sequence[int] = MARKS) -> str:
    """Returns after `marks` steps beside the published ones, in Markdown; empty if there are none."""
    by_kind: dict[tuple[str, int, str], list[Mapping[str, Any]]] = {}
    for line in results:
        if "curve" in line:
            by_kind.setdefault((line["task"], line["repeat"], line["variant"]), []).append(line)
    heads = ("environment", "settings", "steps", "return: mean ± deviation (seeds 0, 1, ...)", "published")
    rows = []
    for (task, repeat, variant), mine in sorted(by_kind.items()):
        for mark in marks:
            found = {line["seed"]: line["curve"][str(mark)] for line in mine if str(mark) in line["curve"]}
            if found:
                what = task if repeat == 1 else f"{task}, actions held for {repeat}"
                theirs = published(task, variant, mark * repeat)
                rows.append((what, variant, f"{mark:,}", over_seeds(found), theirs))
    return markdown(heads, rows) if rows else ""


def read_results(path: Path) -> list[dict[str, Any]]:
    """The finished trainings of a results file; none if there is no file."""
    return [{"repeat": 1, **line} for line in read_lines(path)]


def settings_of(given: list[str]) -> dict[str, Any]:
    """`sac.tau=0.05` and the like as settings by section."""
    found: dict[str, Any] = {}
    for one in given:
        place, _, value = one.partition("=")
        section, _, name = place.partition(".")
        found.setdefault(section, {})[name] = yaml.safe_load(value)
    return found


def main() -> None:
    """Runs what is not in the results file yet and prints all of it as tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", nargs="+", default=["walk-go2"], help="walk-ROBOT, or an environment's name")
    parser.add_argument("--variant", nargs="+", default=["sac"], choices=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=100_000, help="of a training, at most")
    parser.add_argument("--repeat", type=int, default=1, help="steps of the suite for which an action is held")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--set", nargs="+", default=[], metavar="SECTION.NAME=VALUE", help="for all variants")
    parser.add_argument("--out", type=Path, default=Path("sample_efficiency.jsonl"), help="results, appended to")
    parser.add_argument("--table", action="store_true", help="print the tables only")
    arguments = parser.parse_args()
    for seed in [] if arguments.table else arguments.seeds:
        for task in arguments.task:
            for variant in arguments.variant:
                name = " ".join([variant, *arguments.set])
                key = {"task": task, "variant": name, "seed": seed, "steps": arguments.steps}
                key["repeat"] = arguments.repeat
                if any(key.items() <= line.items() for line in read_results(arguments.out)):
                    continue
                print(f"{task}, {name}, seed {seed}", file=sys.stderr, flush=True)
                settings = layered(VARIANTS[variant], settings_of(arguments.set))
                if task.startswith("walk-"):
                    found = walk(task.removeprefix("walk-"), settings, seed, arguments.steps)
                else:
                    parts = (task, name, f"s{seed}", arguments.steps, arguments.repeat)
                    folder = arguments.out.with_suffix("") / "_".join(map(str, parts))
                    found = returns(task, arguments.repeat, settings, seed, arguments.steps, arguments.threads, folder)
                arguments.out.parent.mkdir(parents=True, exist_ok=True)
                with open(arguments.out, "a") as file:
                    file.write(json.dumps({**key, **found, "versions": versions()}) + "\n")
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "mujoco", "gymnasium"))
    print(f"{platform.machine()}, {arguments.threads} threads, Python {platform.python_version()}, {packages}")
    results = read_results(arguments.out)
    print("\n\n".join(table for table in (walking_table(results), returns_table(results)) if table))


if __name__ == "__main__":
    main()
