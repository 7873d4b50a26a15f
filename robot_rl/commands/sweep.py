"""`robot-rl sweep`: trains once for every combination of settings and every seed, and says how each did."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from robot_rl.commands.config_files import KEYS, SECTIONS, advice, check_names, layered, read_file
from robot_rl.commands.configuration import resolve
from robot_rl.commands.flags import Parser, add_json, whole_number
from robot_rl.commands.output import duration, print_json, relative, say, table
from robot_rl.commands.policy_files import is_run
from robot_rl.commands.training_config import TrainingConfig
from robot_rl.errors import ConfigurationError, RunExists, UnknownName
from robot_rl.make import missing_package

RESULT = "sweep.json"
"""In the folder of the sweep: what every run came to."""


def run(arguments: Sequence[str]) -> int:
    """Trains what is not trained yet; the exit code is the greatest of the runs'."""
    parser = Parser("sweep", "Train once for every combination of settings and every seed; each is a run of its own.")
    parser.add_argument("config", metavar="CONFIG", help="YAML file as for train --config, or the config.json of a run")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE,...",
        help="values of a setting, as in sac.discount=0.98,0.99 or task.forward=[0.3,0.6],[0.3,0.9]; once per setting",
    )
    parser.add_argument("--seeds", nargs="+", type=whole_number(0), metavar="N", help="[the seed of CONFIG, or 0]")
    parser.add_argument("--at-once", type=whole_number(1), default=1, metavar="N", help="runs at a time, here [1]")
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="on the machines of a Ray cluster that runs, HOST:PORT or auto [here]"
    )
    parser.add_argument("--out", metavar="DIR", help="folder of the runs [runs/sweep-CONFIG]")
    add_json(parser)
    values = parser.parse(arguments)
    try:
        from robot_rl.commands.sweeping import INTERRUPTED, train_here, train_there
        from robot_rl.commands.training import EVALUATION, start
        from robot_rl.training.files import replace_file, to_json
        from robot_rl.training.run import Run
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    out = Path(values.out) if values.out else Path("runs") / f"sweep-{Path(values.config).stem}"
    plan = planned(values.config, [_setting(text) for text in values.set], values.seeds)
    for name, (_, config) in plan.items():
        if not (out / name).exists():
            start(config, ["sweep", *arguments], out / name)
        elif not is_run(out / name) or Run.open(out / name).config != json.loads(to_json(config.to_dict())):
            raise RunExists(f"{out / name} is there already, with other settings; choose another folder with --out")
    left = [out / name for name in plan if not (out / name / EVALUATION).is_file()]
    say(f"{len(plan)} runs in {relative(out)}, {len(left)} of them to train")
    codes = dict.fromkeys(plan, 0)
    codes |= {folder.name: INTERRUPTED for folder in left}

    def ended(folder: Path, code: int) -> None:
        codes[folder.name] = code
        say(f"{relative(folder)}: {'done' if code == 0 else f'ended with exit code {code}'}")

    if values.ray:
        threads = {config.trainer["threads"] or 1 for _, config in plan.values()}
        train_there(left, values.ray, max(threads), ended)
    else:
        train_here(left, values.at_once, ended)
    found = [_outcome(out / name, chosen, config.seed, codes[name]) for name, (chosen, config) in plan.items()]
    replace_file(out / RESULT, to_json({"command": ["robot-rl", "sweep", *arguments], "runs": found}))
    if values.json:
        print_json(found)
    else:
        print(_report(found))
    if INTERRUPTED in codes.values():
        say("not all are trained; the same command goes on with them")
    return max(codes.values())


def planned(
    config: str, settings: Sequence[tuple[str, list[Any]]], seeds: Sequence[int] | None = None
) -> dict[str, tuple[dict[str, Any], TrainingConfig]]:
    """Every run by the name of its folder: what was chosen for it, and its whole configuration.

    Args:
        config: the file, as `read_file` takes it.
        settings: each with its values.
        seeds: of every combination; that of the file where there are none.

    Raises:
        ConfigurationError: a setting that does not exist, a value that cannot be, or two combinations that would be in
            one folder; before anything is trained.
    """
    base = read_file(config)
    own_seed = base.get("seed", 0)
    if base.get("trainer", {}).get("seed") == own_seed:
        del base["trainer"]["seed"]  # a run saves it there too; `seed` is set here
    names = [name for name, _ in settings]
    if len(set(names)) < len(names):
        raise ConfigurationError(f"--set: a setting is given twice: {', '.join(names)}")
    for name in ("seed", "trainer.seed"):
        if name in names:
            raise ConfigurationError(f"--set {name}: seeds are given with --seeds, as in --seeds 0 1 2")
    plan: dict[str, tuple[dict[str, Any], TrainingConfig]] = {}
    for chosen in itertools.product(*(values for _, values in settings)):
        for seed in dict.fromkeys(seeds) if seeds else [own_seed]:
            own = dict(zip(names, chosen, strict=True))
            given = layered(base, *(_nested(name, value) for name, value in own.items()), {"seed": seed})
            check_names(given, config)
            resolved = resolve(layered(advice(given), given), config)
            if resolved.on == "ros" or resolved.ray:
                raise ConfigurationError(f"{config}: a sweep trains in simulation, each run in a process of its own")
            folder = "_".join([*(_named(name, value) for name, value in own.items()), f"s{seed}"])
            if folder in plan:
                both = f"{_listed(plan[folder][0])} and {_listed(own)}"
                raise ConfigurationError(f"--set: {both} would both be trained in {folder}; each needs its own folder")
            plan[folder] = (own, resolved)
    return plan


def _setting(text: str) -> tuple[str, list[Any]]:
    """`NAME=VALUE,...` as the name and its values."""
    name, equals, values = text.partition("=")
    section, _, rest = name.partition(".")
    if not equals or not values:
        raise ConfigurationError(f"--set {text}: expected NAME=VALUE,VALUE..., as in sac.discount=0.98,0.99")
    if section not in KEYS or (section in SECTIONS) is not bool(rest):
        raise UnknownName.of("setting", name, [f"{key}.NAME" if key in SECTIONS else key for key in KEYS], "in --set")
    try:
        return name.replace("-", "_"), yaml.safe_load(f"[{values}]")
    except yaml.YAMLError as error:
        raise ConfigurationError(f"--set {text}: not values with commas between them") from error


def _nested(name: str, value: Any) -> dict[str, Any]:
    section, dot, rest = name.partition(".")
    return {section: {rest: value}} if dot else {section: value}


def _named(name: str, value: Any) -> str:
    """A setting with its value as a part of a folder's name; signs of numbers are kept."""
    items = value if isinstance(value, (list, tuple)) else [value]
    texts = [re.sub(r"[^A-Za-z0-9.+-]+", "-", str(item)) for item in items]
    return f"{name.rpartition('.')[2]}={'-'.join(texts)}"


def _listed(chosen: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in chosen.items())


def _outcome(folder: Path, chosen: Mapping[str, Any], seed: int, code: int) -> dict[str, Any]:
    """What a run came to, as JSON values."""
    from robot_rl.commands.training import EVALUATION
    from robot_rl.training.metrics import read_metrics

    lines = read_metrics(folder / "metrics.jsonl") if (folder / "metrics.jsonl").is_file() else []
    found: dict[str, Any] = {"run": relative(folder), "settings": dict(chosen), "seed": seed, "exit_code": code}
    found["steps"] = lines[-1]["step"] if lines else 0
    found["wall_time_s"] = next((line["wall_time"] for line in reversed(lines) if "wall_time" in line), 0.0)
    if (folder / EVALUATION).is_file():
        evaluation = json.loads((folder / EVALUATION).read_bytes())
        found |= {name: evaluation[name] for name in ("return", "completed", "episodes") if name in evaluation}
    return found


def _report(found: Sequence[Mapping[str, Any]]) -> str:
    """A line for every combination of settings, over its seeds."""
    names = list(found[0]["settings"])
    rows = [(*names, "seeds", "return", "whole episodes", "time each")]
    for _, group in itertools.groupby(found, key=lambda one: one["settings"]):
        runs = list(group)
        trained = [one for one in runs if "return" in one]
        returns = [one["return"] for one in trained]
        spread = f"{np.mean(returns):.1f} +- {np.std(returns):.1f}" if returns else "-"
        whole = f"{sum(one['completed'] for one in trained)} of {sum(one['episodes'] for one in trained)}"
        time = duration(float(np.mean([one["wall_time_s"] for one in trained]))) if trained else "-"
        settings = [str(value) for value in runs[0]["settings"].values()]
        rows.append((*settings, f"{len(trained)} of {len(runs)}", spread, whole, time))
    return table(rows)
