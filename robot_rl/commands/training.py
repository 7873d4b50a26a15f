"""One training run from the first step to its policy file; shared by train and demo."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from policies.composed_runtime import load_policy
from policies.export import ExportReport
from robot_rl.commands.beginning import first_learner
from robot_rl.commands.evaluate import actor, report
from robot_rl.commands.exporting import export_run
from robot_rl.commands.offline import check_offline
from robot_rl.commands.output import relative, say
from robot_rl.commands.policy_files import POLICY
from robot_rl.commands.real_time import train_robot
from robot_rl.commands.training_config import TrainingConfig
from robot_rl.evaluation import evaluate
from robot_rl.make import make_env
from robot_rl.settings import from_mapping
from robot_rl.training.checkpoint import latest_checkpoint
from robot_rl.training.collector import Environment
from robot_rl.training.evaluation import deterministic_evaluation
from robot_rl.training.files import replace_file, to_json
from robot_rl.training.metrics import plot_learning_curve
from robot_rl.training.pipeline import train_in_pipeline
from robot_rl.training.ray_workers import RaySettings, train_on_ray
from robot_rl.training.run import Run, run_name
from robot_rl.training.trainer import TrainerSettings, TrainingResult, train
from robot_rl.training.worker_trainer import train_with_workers, workers_of

CURVE = Path("plots") / "learning_curve.png"
EVALUATION = "evaluation.json"


@dataclass(frozen=True)
class RunResult:
    """What a run came to."""

    folder: Path
    config: TrainingConfig
    training: TrainingResult
    export: ExportReport | None
    """None for a run that was interrupted, or has no robot."""

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        training = self.training
        return {
            "run": relative(self.folder),
            "steps": training.steps,
            "updates": training.updates,
            "wall_time_s": training.wall_time,
            "interrupted": training.interrupted,
            "export": asdict(self.export) if self.export else None,
        }


def start(config: TrainingConfig, command: Sequence[str], folder: Path | None = None) -> Path:
    """Makes the folder of a new run; `command` is kept with it.

    Raises:
        RunExists: there is something at `folder`.
    """
    if folder is None:
        place = config.task.replace("/", "-") if config.robot is None else f"{config.task}-{config.spec().name}"
        folder = Path("runs") / place / run_name(config.algorithm, config.seed)
    Run.create(folder, config.to_dict(), ["robot-rl", *command])
    return folder


def train_run(folder: Path, config: TrainingConfig, yes: bool = False) -> RunResult:
    """Trains (or continues), draws the learning curve, exports the policy of a robot.

    Args:
        folder: of the run.
        config: what it was told; saved anew where it differs from what the folder says.
        yes: whether a robot may move without a person being asked.
    """
    run = Run.open(folder)
    settings = from_mapping(TrainerSettings, config.trainer, "trainer")
    if run.config != json.loads(to_json(config.to_dict())):
        replace_file(folder / "config.json", to_json(config.to_dict()))
    place = {"ros": " over ROS", "mujoco": ""}.get(config.on, f" in {config.on}")
    workers = f" and {config.ray['workers']} workers on Ray" if config.ray else ""
    say(
        f"training {config.title}{place} with {config.algorithm}{workers}, {settings.total_steps:,} steps, "
        f"in {relative(folder)}"
    )
    training = train_only(run, config, settings, yes)
    if run.metrics.is_file():
        plot_learning_curve(run.metrics, folder / CURVE, f"{config.title}, {config.algorithm}")
    if training.interrupted:
        say(f"interrupted at step {training.steps:,}; continue with: robot-rl train --resume {relative(folder)}")
    elif not training.updates:
        say(f"no update was made in {training.steps:,} steps, so the policy is as it was drawn: {_no_update(config)}")
    export = None if training.interrupted or config.robot is None else export_run(folder, folder / POLICY)
    return RunResult(folder, config, training, export)


def train_only(run: Run, config: TrainingConfig, settings: TrainerSettings, yes: bool = False) -> TrainingResult:
    """Trains (or continues) and does nothing with what was learnt; see `train_run`."""
    if settings.offline is not None and not run.checkpoints.exists():
        check_offline(config, settings.offline)
    if config.real_time:
        return train_robot(run, config, settings, config.make_task(), yes)
    make_learner = config.make_learner if latest_checkpoint(run.checkpoints) else partial(first_learner, config)
    # Over ROS too the learner is evaluated here: a second program may not command the robot that training commands.
    evaluation = deterministic_evaluation(partial(_evaluation_env, config), settings.evaluation_episodes)
    if config.ray:
        on_ray = from_mapping(RaySettings, config.ray, "ray")
        return train_on_ray(partial(_training_env, config), config.make_learner, settings, on_ray, run, evaluation)
    if settings.pipeline:
        return train_in_pipeline(partial(_training_env, config), make_learner, settings, run, evaluation)
    learner = make_learner()
    if workers_of(learner):
        return train_with_workers(partial(_training_env, config), config.make_learner, settings, run, evaluation)
    env = _training_env(config)
    try:
        return train(env, learner, settings, run, evaluation)
    finally:
        env.close()


def _training_env(config: TrainingConfig) -> Environment:
    """What is trained in; a function of a module, since the processes of workers are given it."""
    return config.make_suite_env() if config.robot is None else config.make_env(config.make_task())


def _evaluation_env(config: TrainingConfig) -> Any:
    if config.robot is None:
        return config.make_suite_env()
    return make_env(config.spec(), config.make_task(), backend=config.engine)


def _no_update(config: TrainingConfig) -> str:
    settings = config.algorithm_settings
    if "steps" in settings:
        return f"{config.algorithm} makes one after each {settings['steps']:,} steps ({config.algorithm}.steps)"
    return f"the first {config.trainer['start_steps']:,} are random ones (trainer.start_steps)"


def check_env(config: TrainingConfig) -> None:
    """Makes what a run is evaluated in, and closes it again; raises where the model or the task does not suit."""
    if not config.real_time:
        _evaluation_env(config).close()


def last_figures(result: RunResult) -> list[tuple[str, str]]:
    """How training went at its end, for a person; names and figures."""
    shown = {
        "training/return": ("return", "{:.1f}"),
        "training/length": ("steps per episode", "{:.0f}"),
        "real_time/falls": ("falls", "{:.0f}"),
        "real_time/robot_time": ("s with the robot", "{:.0f}"),
        "real_time/updates_per_step": ("updates per step", "{:.2f}"),
        "real_time/late_share": ("share of late ticks", "{:.4f}"),
    }
    found = result.training.metrics
    return [(label, form.format(found[name])) for name, (label, form) in shown.items() if name in found]


def evaluate_run(result: RunResult) -> tuple[dict[str, Any], str]:
    """Evaluates what was learnt, for a robot its policy file, and keeps the figures in the run.

    Returns:
        The summary as JSON values, and lines for a person.
    """
    if result.config.robot is None:
        from robot_rl.commands.suite import evaluate_checkpoint, report_suite

        found = evaluate_checkpoint(result.folder, result.config.trainer["evaluation_episodes"])
        replace_file(result.folder / EVALUATION, to_json(found))
        return {name: value for name, value in found.items() if name != "each_return"}, report_suite(found)
    task = result.config.make_task()
    policy = load_policy(result.folder / POLICY, robot=task.spec, layout=task.layout)
    env = make_env(task.spec, task, backend=result.config.engine)
    try:
        evaluation = evaluate(env, actor(policy))
    finally:
        env.close()
    replace_file(result.folder / EVALUATION, to_json(evaluation.to_dict()))
    return evaluation.summary(), report(evaluation, task)
