"""Tries where a result is to go, before the work that it is the result of."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from robot_rl.errors import StorageError


def make_ready(path: str | Path) -> None:
    """Makes the folder of a file, or of a folder to be, and tries to write there; nothing but the folder stays.

    A command calls it when all else has been checked, and before it measures, fits or moves a robot: what cannot be
    written afterwards is lost.

    Raises:
        StorageError: nothing can be written there.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}."):
            pass
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}: {error.filename}") from error
