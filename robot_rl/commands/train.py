"""`robot-rl train`: trains a policy, exports it, evaluates the exported file."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robot_rl.commands.config_files import advice, layered, read_file
from robot_rl.commands.configuration import resolve, saved_config
from robot_rl.commands.flags import Parser, add_json, add_settings, given_settings, positive_number, whole_number
from robot_rl.commands.output import duration, print_json, relative, table
from robot_rl.commands.policy_files import POLICY, is_run
from robot_rl.commands.training_config import TrainingConfig
from robot_rl.errors import ConfigurationError
from robot_rl.make import (
    ALGORITHMS,
    BACKENDS,
    SIMULATORS,
    SUITE,
    algorithm_of,
    is_suite_task,
    missing_package,
    task_settings_class,
)
from robot_rl.observation_settings import ObservationSettings
from robot_rl.ros_spec import RosSettings
from robot_rl.settings import settings_of
from robot_rl.spec_file import builtin_robots
from robot_rl.tasks import TASKS
from robot_rl.training.run import runs_within

TRAINER_FLAGS_ELSEWHERE = ("total_steps", "seed")
"""Settings of the trainer that are set by --steps and --seed."""
OBSERVATION_FLAGS_ELSEWHERE = ("camera",)
ROS_FLAGS_ELSEWHERE = ("namespace", "lock_step")
REAL_TIME_FLAGS_ELSEWHERE = ("max_minutes", "max_falls")
RAY_FLAGS_ELSEWHERE = ("workers", "address")
ON_RESUMING = {"trainer": ("total_steps",), "real_time": REAL_TIME_FLAGS_ELSEWHERE, "ray": RAY_FLAGS_ELSEWHERE}
"""Limits, and where on Ray, the only settings that a run may change when it goes on."""


def run(arguments: Sequence[str]) -> int:
    """Trains; a run that was interrupted ends with exit code 130 and can be resumed."""
    first, _ = _parser(brief=True).parse_known_args(_without_settings(arguments))
    file = read_file(first.config) if first.config else {}
    saved = read_file(Path(first.resume) / "config.json") if first.resume and is_run(Path(first.resume)) else {}
    chosen = layered(file, saved, _given(first))
    names = {"task": chosen.get("task", {}).get("name"), "robot": chosen.get("robot")}
    advised = advice(chosen)
    algorithm = chosen.get("algorithm", advised.get("algorithm", "sac"))
    parser = _parser()
    _add_all_settings(parser, names["task"], algorithm, layered(advised, file))
    if first.help:
        parser.print_help()
        return 0
    values = parser.parse(arguments)
    flags = layered(
        _given(values),
        {
            section: given_settings(values, section)
            for section in ("task", "observation", "encoder", "trainer", "ros", "real_time", "ray", algorithm)
        },
    )
    from robot_rl.commands.beginning import first_learner
    from robot_rl.commands.training import CURVE, EVALUATION, check_env, evaluate_run, last_figures, start, train_run
    from robot_rl.training.ray_cluster import check_installed

    if values.resume:
        folder, config = _resumed(values, flags)
    else:
        if names["task"] is None:
            raise ConfigurationError(
                f"no task was given; use robot-rl train TASK with one of: {', '.join(TASKS)}, {SUITE}DOMAIN-TASK"
            )
        if names["robot"] is None and not is_suite_task(names["task"]):
            known = ", ".join(builtin_robots())
            raise ConfigurationError(f"no robot was given; use --robot with a YAML file or one of: {known}")
        config = resolve(layered(advised, file, flags), values.config or "configuration")
        if config.ray:
            check_installed()
        # What cannot be trained is refused before there is a folder.
        first_learner(config)
        check_env(config)
        folder = start(config, ["train", *arguments], Path(values.out) if values.out else None)
    result = train_run(folder, config, values.yes)
    # A robot is no simulation: what it learnt is measured on it, by the returns of its training.
    evaluation = None if result.training.interrupted or config.real_time else evaluate_run(result)
    if values.json:
        print_json({**result.to_dict(), "evaluation": evaluation[0] if evaluation else None})
    elif not result.training.interrupted:
        print(f"trained {result.training.steps:,} steps in {duration(result.training.wall_time)}")
        print(evaluation[1] if evaluation else table(last_figures(result)))
        files: dict[str | Path, bool] = {
            CURVE: True,
            EVALUATION: evaluation is not None,
            POLICY: result.export is not None,
        }
        print("\n".join(f"  {relative(folder / name)}" for name, written in files.items() if written))
    return result.training.exit_code


def _parser(brief: bool = False) -> Parser:
    parser = Parser(
        "train",
        "Train a policy. Settings: defaults, then the recipe for this task and robot, then --config, then flags.",
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this; with a task, the task's settings too")
    parser.add_argument(
        "task", nargs="?", help=f"what to learn: {', '.join(TASKS)}; or {SUITE}DOMAIN-TASK, which needs no robot"
    )
    parser.add_argument("--robot", help=f"{', '.join(builtin_robots())}, or the path of a robot's YAML file")
    parser.add_argument("--algorithm", help=f"{', '.join(ALGORITHMS)} [sac]")
    steps = "environment steps to train for [the recipe's, or 1,000,000]"
    parser.add_argument("--steps", type=_lenient(brief, whole_number(1)), help=steps)
    parser.add_argument("--seed", type=_lenient(brief, whole_number(0)), help="of everything random [0]")
    parser.add_argument("--robots", type=_lenient(brief, whole_number(1)), help="copies simulated in step [1]")
    parser.add_argument("--on", choices=BACKENDS, help="where the robot lives: simulated here, or over ROS 2 [mujoco]")
    parser.add_argument(
        "--randomize",
        metavar="WHAT",
        help="mild, outdoors, strong, or a YAML file: a robot that differs in every episode [none]",
    )
    parser.add_argument(
        "--begin-with", metavar="RUN", help="go on from what another run has learnt, in a run of its own [nothing]"
    )
    parser.add_argument(
        "--camera", action="store_true", help="observe the robot's camera, and nothing that says where objects are"
    )
    parser.add_argument("--sim", choices=SIMULATORS, help="the same for a simulated robot: the engine [mujoco]")
    parser.add_argument("--namespace", metavar="NAME", help="over ROS: before all relative topic names")
    parser.add_argument(
        "--lock-step", action="store_true", help="over ROS: the other side is `robot-rl twin --lock-step`, time waits"
    )
    parser.add_argument(
        "--max-minutes",
        type=_lenient(brief, positive_number),
        metavar="MIN",
        help="over ROS in real time: end after so many minutes with the robot, over all resumptions",
    )
    parser.add_argument(
        "--max-falls", type=_lenient(brief, whole_number(1)), metavar="N", help="the same: end after so many falls"
    )
    parser.add_argument(
        "--workers",
        type=_lenient(brief, whole_number(0)),
        metavar="N",
        help="workers on Ray that act for this learner [0]",
    )
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="where they are: a running cluster, HOST:PORT or auto [this machine alone]"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask before a robot moves")
    config = "YAML file with settings, a run's config.json, few_steps, or a recipe by name, such as walk-go2"
    parser.add_argument("--config", metavar="FILE", help=config)
    parser.add_argument("--resume", metavar="RUN", help="continue a run from its newest checkpoint")
    parser.add_argument("--out", metavar="DIR", help="folder of the run [runs/TASK-ROBOT/TIME_ALGORITHM_sSEED]")
    add_json(parser)
    return parser


def _without_settings(arguments: Sequence[str]) -> list[str]:
    """The arguments without flags such as `--sac.discount 0.9`, whose value would pass for the task."""
    observed = settings_of(ObservationSettings).values()
    lists_of_words = {f"--observation.{one.name}" for one in observed if one.kind is str and one.length}
    kept: list[str] = []
    setting, first, words = False, False, False
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, _ = argument.partition("=")
            setting, first = "." in name, not equals
            words = "--" + name[2:].replace("-", "_") in lists_of_words
        elif setting and (first or words or _is_value(argument)):
            first = False  # the first value may be any word; further ones are numbers, but for lists of words
            continue
        if not setting or not argument.startswith("--"):
            kept.append(argument)
    return kept


def _is_value(text: str) -> bool:
    if text in ("true", "false", "none", "null"):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def _lenient(brief: bool, reader: Any) -> Any:
    """The first look at the flags finds names only; wrong numbers are for the second."""
    return str if brief else reader


def _given(values: Any) -> dict[str, Any]:
    """The general flags in the form of a configuration file."""
    given: dict[str, Any] = {key: getattr(values, key) for key in ("robot", "algorithm", "robots", "seed")}
    if None not in (values.on, values.sim) and values.on != values.sim:
        raise ConfigurationError(f"--on {values.on} and --sim {values.sim} contradict each other; give one of them")
    given |= {
        "randomize": values.randomize,
        "begin_with": values.begin_with,
        "on": values.on or values.sim,
        "task": {"name": values.task},
        "observation": {"camera": values.camera or None},
        "trainer": {"total_steps": values.steps},
        "ros": {"namespace": values.namespace, "lock_step": values.lock_step or None},
        "ray": {"workers": values.workers, "address": values.ray},
        "real_time": {"max_minutes": values.max_minutes, "max_falls": values.max_falls},
    }
    return _without_none(given)


def _without_none(given: dict[str, Any]) -> dict[str, Any]:
    """What was given, and no empty sections."""
    found = {key: _without_none(value) if isinstance(value, dict) else value for key, value in given.items()}
    return {key: value for key, value in found.items() if value is not None and value != {}}


def _add_all_settings(parser: Parser, task: str | None, algorithm: str, values: dict[str, Any]) -> None:
    try:
        from robot_rl.algorithms.encoder import EncoderSettings
        from robot_rl.training.ray_workers import RaySettings
        from robot_rl.training.real_time import RealTimeSettings
        from robot_rl.training.trainer import TrainerSettings
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    settings = task_settings_class(task) if task is not None else None
    if settings is not None:
        add_settings(parser, "task", settings, f"task {task}", values.get("task", {}))
    if task is None or not is_suite_task(task):
        observed, title = values.get("observation", {}), "what is observed"
        add_settings(parser, "observation", ObservationSettings, title, observed, OBSERVATION_FLAGS_ELSEWHERE)
        add_settings(parser, "encoder", EncoderSettings, "with --camera", values.get("encoder", {}))
    known = algorithm_of(algorithm)
    add_settings(parser, algorithm, known.load(known.settings), f"algorithm {algorithm}", values.get(algorithm, {}))
    add_settings(parser, "trainer", TrainerSettings, "trainer", values.get("trainer", {}), TRAINER_FLAGS_ELSEWHERE)
    add_settings(parser, "ros", RosSettings, "with --on ros", values.get("ros", {}), ROS_FLAGS_ELSEWHERE)
    add_settings(parser, "ray", RaySettings, "with --workers", values.get("ray", {}), RAY_FLAGS_ELSEWHERE)
    real_time, title = values.get("real_time", {}), "with --on ros, in real time"
    add_settings(parser, "real_time", RealTimeSettings, title, real_time, REAL_TIME_FLAGS_ELSEWHERE)


def _resumed(values: Any, flags: dict[str, Any]) -> tuple[Path, TrainingConfig]:
    folder = Path(values.resume)
    if not is_run(folder):
        raise ConfigurationError(f"--resume {values.resume}: not a run, it has no config.json{runs_within(folder)}")
    flags = {section: dict(values) if isinstance(values, dict) else values for section, values in flags.items()}
    changed = {
        section: {name: flags[section].pop(name) for name in names if name in flags.get(section, {})}
        for section, names in ON_RESUMING.items()
    }
    others = [key for key, value in flags.items() if value] + [key for key in ("config", "out") if getattr(values, key)]
    if others:
        raise ConfigurationError(
            "with --resume only --steps, --max-minutes and --max-falls (on Ray also --workers and --ray) may be "
            f"given, the rest is read from {folder / 'config.json'}; "
            f"got settings of: {', '.join(others)}"
        )
    config = saved_config(folder)
    if changed["real_time"] and not config.real_time:
        raise ConfigurationError("--max-minutes and --max-falls are for runs in real time; this one is not")
    if changed["ray"] and (not config.ray or changed["ray"].get("workers") == 0):
        raise ConfigurationError("--workers and --ray are for runs with workers on Ray, which stay there")
    sections: dict[str, Any] = {name: {**getattr(config, name), **changed[name]} for name in ON_RESUMING}
    return folder, dataclasses.replace(config, **sections)
