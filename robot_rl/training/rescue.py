"""What the control loop saves when the learner has died: the transitions that are in no checkpoint."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from robot_rl.errors import StorageError
from robot_rl.training.files import replace_file

FILE = "rescued.npz"
"""In the run's folder, from the death of a learner to the next checkpoint."""


def save_rescued(folder: Path, first_step: int, rows: np.ndarray, robot_time: float, falls: int) -> None:
    """Writes transitions that were taken but not saved.

    Args:
        folder: of the run.
        first_step: how many transitions came before these.
        rows: with the fields of `Link.transitions`, (k,).
        robot_time: s with the robot so far.
        falls: so far.

    Raises:
        StorageError: the disk is full or not writable.
    """
    content = io.BytesIO()
    names = [name for name in rows.dtype.names or () if name not in ("number", "check")]
    counts = {"first_step": np.array(first_step), "robot_time": np.array(robot_time), "falls": np.array(falls)}
    np.savez(content, **counts, **{name: rows[name] for name in names})  # type: ignore[arg-type]
    replace_file(folder / FILE, content.getvalue())


def load_rescued(folder: Path) -> Mapping[str, np.ndarray] | None:
    """What `save_rescued` wrote, by name; None where there is nothing.

    Raises:
        StorageError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise StorageError(f"{path} is damaged: {error}; delete it to go on from the checkpoint") from error


def remove_rescued(folder: Path) -> None:
    """Deletes the file, once a checkpoint holds what is in it."""
    (folder / FILE).unlink(missing_ok=True)
