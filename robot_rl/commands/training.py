"""One training run from the first step to the evaluated policy file; shared by train and demo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from policies.runtime import OnnxPolicy
from robot_rl.commands.configuration import TrainingConfig
from robot_rl.commands.evaluate import actor, report
from robot_rl.commands.exporting import export_run
from robot_rl.commands.output import duration, relative, say
from robot_rl.commands.policy_files import POLICY
from robot_rl.evaluation import evaluate
from robot_rl.make import make_env, make_learner, make_vector_env
from robot_rl.settings import from_mapping
from robot_rl.training.evaluation import deterministic_evaluation
from robot_rl.training.files import replace_file, to_json
from robot_rl.training.metrics import plot_learning_curve
from robot_rl.training.run import Run, run_name
from robot_rl.training.trainer import TrainerSettings, TrainingResult, train

CURVE = Path("plots") / "learning_curve.png"
EVALUATION = "evaluation.json"


@dataclass(frozen=True)
class RunResult:
    """What a run came to."""

    folder: Path
    training: TrainingResult
    evaluation: Mapping[str, Any] | None = None
    """Of the policy file; None for a run that was interrupted."""
    export: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """130 if interrupted, otherwise 0."""
        return self.training.exit_code

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        training = self.training
        return {
            "run": relative(self.folder),
            "steps": training.steps,
            "updates": training.updates,
            "wall_time_s": training.wall_time,
            "interrupted": training.interrupted,
            "export": dict(self.export),
            "evaluation": self.evaluation,
        }


def start(config: TrainingConfig, folder: Path | None = None) -> Path:
    """Makes the folder of a new run.

    Raises:
        RunExists: there is something at `folder`.
    """
    if folder is None:
        place = Path("runs") / f"{config.task}-{config.spec().name}"
        folder = place / run_name(config.algorithm, config.seed)
    Run.create(folder, config.to_dict())
    return folder


def train_run(folder: Path, config: TrainingConfig, print_report: bool = True) -> RunResult:
    """Trains (or continues), plots, exports, and evaluates the exported file.

    Args:
        folder: of the run.
        config: what it was told; saved anew where it differs from what the folder says.
        print_report: whether to print the result for a person.
    """
    run = Run.open(folder)
    settings = from_mapping(TrainerSettings, config.trainer, "trainer")
    if run.config != config.to_dict():
        replace_file(folder / "config.json", to_json(config.to_dict()))
    task, spec = config.make_task(), config.spec()
    learner = make_learner(config.algorithm, task, config.algorithm_settings, config.seed)
    env = make_env(spec, task) if config.robots == 1 else make_vector_env(spec, task, config.robots)
    say(f"training {task.name} on {spec.name} with {config.algorithm}, {settings.total_steps:,} steps, in {relative(folder)}")
    try:
        training = train(
            env,
            learner,
            settings,
            run,
            deterministic_evaluation(lambda: make_env(spec, config.make_task()), settings.evaluation_episodes),
        )
    finally:
        env.close()
    if run.metrics.is_file():
        plot_learning_curve(run.metrics, folder / CURVE, f"{task.name} on {spec.name}, {config.algorithm}")
    if training.interrupted:
        say(f"interrupted at step {training.steps:,}; continue with: robot-rl train --resume {relative(folder)}")
        return RunResult(folder, training)
    export = export_run(folder, folder / POLICY)
    policy = OnnxPolicy.load(folder / POLICY, robot=spec, layout=task.layout)
    evaluation = evaluate(make_env(spec, task), actor(policy))
    replace_file(folder / EVALUATION, to_json(evaluation.to_dict()))
    if print_report:
        print(f"trained {training.steps:,} steps in {duration(training.wall_time)}")
        print(report(evaluation, task))
        for name in (CURVE, EVALUATION, POLICY):
            print(f"  {relative(folder / name)}")
    return RunResult(
        folder,
        training,
        evaluation.summary(),
        {"file": relative(folder / POLICY), "bytes": export.size, "max_error": export.max_error},
    )
