"""Reads NPZ files that people hand over."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import ConfigurationError


def read_npz(path: str | Path, what: str) -> dict[str, NDArray[Any]]:
    """All arrays of an NPZ file, by name.

    Args:
        path: of the file.
        what: it should be, for the message.

    Raises:
        ConfigurationError: no such file, no NPZ file, or a damaged one.
    """
    try:
        # A damaged archive is left open by NumPy, so it never gets the file itself.
        with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as content:
            return {name: np.array(content[name]) for name in content.files}
    except Exception as error:  # what a damaged archive brings about is of any type
        reason = " ".join(map(str, error.args)) or type(error).__name__
        raise ConfigurationError(f"cannot read {what} {path}: {reason}") from error
