"""Offline data: what another run collected, as half of every batch.

The run that uses it keeps it: it does not depend on what becomes of the other one.

Source: Ball et al. 2023, "Efficient Online Reinforcement Learning with Offline Data" (RLPD, arXiv 2302.02948).
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from robot_rl.algorithms.learner import Batch
from robot_rl.errors import ConfigurationError
from robot_rl.training.checkpoint import latest_checkpoint, load_checkpoint
from robot_rl.training.files import storing
from robot_rl.training.replay import Replay
from robot_rl.training.run import Run
from robot_rl.training.state import State


def offline_replay(source: Path | str, observation_size: int, action_size: int, seed: int) -> Replay:
    """The replay of another run, as its newest checkpoint has it.

    Args:
        source: folder of the other run.
        observation_size: of the run that uses it.
        action_size: likewise.
        seed: of what is drawn from it.

    Raises:
        ConfigurationError: there is no run, it has no replay, or one of other sizes or with pictures.
        StorageError: its checkpoint or replay is damaged.
    """
    run = Run.open(source)
    place = latest_checkpoint(run.checkpoints)
    saved = load_checkpoint(place).part("replay") if place is not None else State()
    if not saved.values.get("segments"):
        raise ConfigurationError(f"trainer.offline: the run {source} has no replay, as those of sac and td3 have")
    for name, wanted in (("observation", observation_size), ("action", action_size)):
        found = saved.values[f"{name}_size"]
        if found != wanted:
            raise ConfigurationError(
                f"trainer.offline: the run {source} has {name}s of {found} numbers, this one has {wanted}; "
                f"{name}s must be the same"
            )
    if any(segment["file"].endswith(".npz") for segment in saved.values["segments"]):
        raise ConfigurationError(f"trainer.offline: the run {source} has pictures, which are not mixed")
    generator = np.random.PCG64(seed).state
    return _load(run.replay, replace(saved, values={**saved.values, "generator": generator}))


def kept_replay(folder: Path, saved: State) -> Replay:
    """What `keep` put into a run's folder, to go on with it as `saved` says.

    Raises:
        StorageError: a segment is missing or damaged.
    """
    return _load(folder, saved)


def keep(replay: Replay, source: Path, folder: Path) -> None:
    """Puts the segments of a replay from `source` into a run's folder, without taking room where the disk allows.

    Raises:
        StorageError: the disk is full or not writable.
    """
    with storing(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in replay.segments:
            try:
                os.link(source / name, folder / name)  # segments are never changed
            except OSError:
                shutil.copyfile(source / name, folder / name)


def mixed(replay: Replay, offline: Replay, batch_size: int) -> Batch:
    """A batch of which half, rounded down, is offline data; that comes last."""
    half = batch_size // 2
    own, other = vars(replay.sample(batch_size - half)), vars(offline.sample(half)) if half else {}
    return Batch(**{name: np.concatenate([own[name], other[name]]) if half else own[name] for name in own})


def _load(folder: Path, saved: State) -> Replay:
    values = saved.values
    terms = values.get("terms", [])  # named since replays can keep them
    replay = Replay(values["capacity"], values["observation_size"], values["action_size"], terms=terms)
    replay.load_from(folder, saved)
    return replay
