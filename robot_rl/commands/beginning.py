"""What a new run begins with: a new learner, or what another run has come to."""

from __future__ import annotations

from pathlib import Path

from robot_rl.algorithms.learner import Learner
from robot_rl.commands.configuration import saved_config
from robot_rl.commands.exporting import find_checkpoint
from robot_rl.commands.policy_files import is_run
from robot_rl.commands.training_config import TrainingConfig
from robot_rl.errors import ConfigurationError
from robot_rl.training.checkpoint import load_checkpoint
from robot_rl.training.run import runs_within
from robot_rl.training.worker_trainer import workers_of


def first_learner(config: TrainingConfig) -> Learner:
    """The learner that a run starts with.

    Another run gives its networks, optimisers and temperature, and what it normalises observations by. It keeps its
    replay and its random numbers: the new run has a seed of its own, may be on another robot of the kind, such as one
    that differs from episode to episode, or be paid otherwise.

    Raises:
        ConfigurationError: what it shall begin with is no run, has no checkpoint, or observes or learns otherwise.
        StorageError: the checkpoint is damaged, or of networks of other sizes.
    """
    learner = config.make_learner()
    if config.begin_with is None:
        return learner
    where, folder = f"--begin-with {config.begin_with}", Path(config.begin_with)
    if not is_run(folder):
        raise ConfigurationError(f"{where}: not a run, it has no config.json{runs_within(folder)}")
    if config.real_time or config.ray or workers_of(learner):
        raise ConfigurationError(f"{where}: not for training {'in real time' if config.real_time else 'with workers'}")
    other = saved_config(folder)
    for what, theirs, ours in (
        ("learns with", other.algorithm, config.algorithm),
        ("observes", _observed(other), _observed(config)),
    ):
        if theirs != ours:
            raise ConfigurationError(f"{where}: that run {what} {theirs}, this one {ours}")
    saved = load_checkpoint(find_checkpoint(folder, None)).part("learner")
    running = (saved.part("normalizer").values["running"], learner.normalizer.running)
    if running[0] != running[1]:
        theirs, ours = ("their running mean and deviation" if one else "fixed ones" for one in running)
        raise ConfigurationError(f"{where}: that run normalises observations by {theirs}, this one by {ours}")
    learner.begin_with(saved)
    return learner


def _observed(config: TrainingConfig) -> str:
    """What a policy takes, for a message."""
    if config.robot is None:
        return config.task
    layout = config.make_task().layout
    entries = ", ".join(f"{entry.name}[{entry.age}]" for entry in layout.entries)
    return f"{layout.size} numbers of {config.spec().name} ({entries})"
