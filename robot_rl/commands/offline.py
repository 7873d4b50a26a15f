"""Whether what another run collected means the same here, number by number."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from policies.export import action_part
from robot_rl.algorithms.on_policy import OnPolicy
from robot_rl.commands.configuration import saved_config
from robot_rl.commands.training_config import TrainingConfig
from robot_rl.errors import ConfigurationError
from robot_rl.make import algorithm_of
from robot_rl.training.run import Run


def check_offline(config: TrainingConfig, source: str) -> None:
    """Refuses offline data whose observations or actions are not those of a run.

    Args:
        config: of the run that is to learn from them.
        source: folder of the run that has them.

    Raises:
        ConfigurationError: they differ, says in what; or the algorithm learns from its own steps alone.
    """
    known = algorithm_of(config.algorithm)
    if issubclass(known.load(known.learner), OnPolicy):
        raise ConfigurationError(f"trainer.offline: {config.algorithm} learns from its own steps alone")
    Run.open(source)
    theirs = saved_config(Path(source))

    def refuse(what: str, found: object, wanted: object) -> None:
        raise ConfigurationError(f"trainer.offline: {source} differs in {what}: {found} there, {wanted} here")

    if theirs.robot is None or config.robot is None:
        if (theirs.robot, theirs.task) != (config.robot, config.task):
            refuse("task", theirs.task, config.task)
        return
    for part in ("camera", "privileged"):
        if theirs.observation.get(part) or config.observation.get(part):
            raise ConfigurationError(f"trainer.offline: not with observation.{part}, in neither run")
    if theirs.spec().name != config.spec().name:
        refuse("robot", theirs.spec().name, config.spec().name)
    other, own = theirs.make_task(), config.make_task()
    for index, (found, wanted) in enumerate(zip(other.layout.labels, own.layout.labels, strict=False)):
        if found != wanted:
            refuse(f"observation entry {index}", found, wanted)
    if other.layout.size != own.layout.size:
        refuse("observation size", other.layout.size, own.layout.size)
    parts = asdict(action_part(other)), asdict(action_part(own))
    differs = [name for name, wanted in parts[1].items() if parts[0][name] != wanted]
    if differs:
        raise ConfigurationError(
            f"trainer.offline: {source} differs in what an action does: {', '.join(differs)} "
            "(the robot's action map; stepping: task.step_height)"
        )
