"""One training run from the first step to its policy file; shared by train and demo."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from policies.export import ExportReport
from policies.runtime import OnnxPolicy
from robot_rl.commands.configuration import TrainingConfig
from robot_rl.commands.evaluate import actor
from robot_rl.commands.exporting import export_run
from robot_rl.commands.output import relative, say
from robot_rl.commands.policy_files import POLICY
from robot_rl.commands.real_time import train_robot
from robot_rl.env import RobotEnv
from robot_rl.evaluation import Evaluation, evaluate
from robot_rl.make import make_env, make_vector_env
from robot_rl.settings import from_mapping
from robot_rl.task import Task
from robot_rl.training.evaluation import deterministic_evaluation
from robot_rl.training.files import replace_file, to_json
from robot_rl.training.metrics import plot_learning_curve
from robot_rl.training.run import Run, run_name
from robot_rl.training.trainer import TrainerSettings, TrainingResult, train
from robot_rl.training.worker_trainer import train_with_workers, workers_of

CURVE = Path("plots") / "learning_curve.png"
EVALUATION = "evaluation.json"


@dataclass(frozen=True)
class RunResult:
    """What a run came to."""

    folder: Path
    task: Task
    training: TrainingResult
    export: ExportReport | None
    """None for a run that was interrupted."""

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
        place = Path("runs") / f"{config.task}-{config.spec().name}"
        folder = place / run_name(config.algorithm, config.seed)
    Run.create(folder, config.to_dict(), ["robot-rl", *command])
    return folder


def train_run(folder: Path, config: TrainingConfig, yes: bool = False) -> RunResult:
    """Trains (or continues), draws the learning curve, exports the policy.

    Args:
        folder: of the run.
        config: what it was told; saved anew where it differs from what the folder says.
        yes: whether a robot may move without a person being asked.
    """
    run = Run.open(folder)
    settings = from_mapping(TrainerSettings, config.trainer, "trainer")
    if run.config != json.loads(to_json(config.to_dict())):
        replace_file(folder / "config.json", to_json(config.to_dict()))
    task, spec = config.make_task(), config.spec()
    place = " over ROS" if config.on == "ros" else ""
    say(
        f"training {task.name} on {spec.name}{place} with {config.algorithm}, {settings.total_steps:,} steps, "
        f"in {relative(folder)}"
    )
    training = train_only(run, config, settings, yes)
    if run.metrics.is_file():
        plot_learning_curve(run.metrics, folder / CURVE, f"{task.name} on {spec.name}, {config.algorithm}")
    if training.interrupted:
        say(f"interrupted at step {training.steps:,}; continue with: robot-rl train --resume {relative(folder)}")
        return RunResult(folder, task, training, None)
    return RunResult(folder, task, training, export_run(folder, folder / POLICY))


def train_only(run: Run, config: TrainingConfig, settings: TrainerSettings, yes: bool = False) -> TrainingResult:
    """Trains (or continues) and does nothing with what was learnt; see `train_run`."""
    task, spec = config.make_task(), config.spec()
    if config.real_time:
        return train_robot(run, config, settings, task, yes)
    learner = config.make_learner()
    # Over ROS too the learner is evaluated here: a second program may not command the robot that training commands.
    evaluation = deterministic_evaluation(lambda: make_env(spec, config.make_task()), settings.evaluation_episodes)
    if workers_of(learner):
        return train_with_workers(partial(_env_of, config), config.make_learner, settings, run, evaluation)
    env = config.make_env(task) if config.robots == 1 else make_vector_env(spec, task, config.robots)
    try:
        return train(env, learner, settings, run, evaluation)
    finally:
        env.close()


def _env_of(config: TrainingConfig) -> RobotEnv:
    """The environment of one worker; a function of a module, since other processes are given it."""
    return config.make_env(config.make_task())


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


def evaluate_run(result: RunResult) -> Evaluation:
    """Evaluates the run's policy file and keeps the figures in the run."""
    task = result.task
    policy = OnnxPolicy.load(result.folder / POLICY, robot=task.spec, layout=task.layout)
    evaluation = evaluate(make_env(task.spec, task), actor(policy))
    replace_file(result.folder / EVALUATION, to_json(evaluation.to_dict()))
    return evaluation
