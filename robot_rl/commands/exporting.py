"""From a run to its policy file; shared by train and export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robot_rl.commands.configuration import saved_config
from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.make import missing_package

if TYPE_CHECKING:
    from policies.export import ExportReport


def export_run(run: Path, out: Path, checkpoint: str | None = None) -> ExportReport:
    """Writes the policy of one of a run's checkpoints.

    Args:
        run: folder of the run.
        out: of the ONNX file.
        checkpoint: step or folder name; the newest by default.

    Raises:
        ConfigurationError: no checkpoint, or none of that name.
        CheckFailed: torch and the file differ.
        StorageError: the checkpoint is damaged, or the file cannot be written.
    """
    config = saved_config(run)
    try:
        from policies.export import export_policy
        from robot_rl.training.checkpoint import load_checkpoint
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    saved = load_checkpoint(find_checkpoint(run, checkpoint))
    task = config.make_task()
    learner = config.make_learner()
    learner.load_state(saved.part("learner"))
    own = saved.part("trainer").values
    training: dict[str, Any] = {
        "steps": own["step"],
        "updates": own["updates"],
        "wall_time_s": own["wall_time"],
        "seed": config.seed,
        "command": saved_command(run),
        "on": config.on,
    }
    if config.observation.get("privileged"):
        training["critics_saw"] = "what only the simulation knows"
    if config.begin_with is not None:
        training["began_with"] = config.begin_with
    if config.randomize:
        training["randomize"] = dict(config.randomize)
    latest = own["latest"]
    for name in ("training/return", "evaluation/return"):
        if latest.get(name) is not None:
            training[name.replace("/", "_")] = latest[name]
    return export_policy(
        learner,  # type: ignore[arg-type]
        task,
        out,
        algorithm=config.algorithm,
        settings=config.algorithm_settings,
        training=training,
    )


def find_checkpoint(run: Path, wanted: str | None) -> Path:
    """The folder of one of a run's checkpoints, by step or name; the newest for None."""
    from robot_rl.training.checkpoint import checkpoints, latest_checkpoint

    folder = run / "checkpoints"
    if wanted is None:
        newest = latest_checkpoint(folder)
        if newest is None:
            raise ConfigurationError(
                f"run {run} has no checkpoint yet; continue it with: robot-rl train --resume {run}"
            )
        return newest
    known = {place.name: place for place in checkpoints(folder)}
    name = f"{int(wanted):012d}" if wanted.isdigit() else wanted
    if name not in known:
        raise UnknownName.of("checkpoint", wanted, known, f"in {folder}")
    return known[name]


def saved_command(run: Path) -> str:
    """The command line that a run was started with; empty where it is not known."""
    try:
        return " ".join(json.loads((run / "command.json").read_bytes())["command"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
