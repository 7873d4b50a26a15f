"""What commands print: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from robot_rl.training.files import finite


def say(line: str) -> None:
    """Prints a line for a person who watches, on stderr."""
    print(line, file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """Prints a result for a machine; numbers that are not finite become null."""
    print(json.dumps(finite(value), indent=2, allow_nan=False))


def table(rows: Iterable[Sequence[str]], indent: str = "  ") -> str:
    """Aligned columns."""
    rows = [tuple(map(str, row)) for row in rows]
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(f"{indent}{line}".rstrip() for line in lines)


def relative(path: str | Path) -> str:
    """A path as seen from the working directory, where it lies below it."""
    absolute, here = Path(path).resolve(), Path.cwd()
    return os.path.relpath(absolute, here) if absolute.is_relative_to(here) else str(path)


def duration(seconds: float) -> str:
    """`4 min 12 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s" if seconds < 10 else f"{rest} s"


def version() -> str:
    """This project's version, where it is installed as a package."""
    try:
        return metadata.version("robot_rl")
    except metadata.PackageNotFoundError:
        return "unknown (not installed as a package)"
