"""What the tables of several benchmarks share, and the files that they come from."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robot_rl.training.metrics import read_metrics


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def over_seeds(values: Mapping[int, float]) -> str:
    """Mean, standard deviation and every value, in the order of the seeds: `582 ± 332 (348, 817)`.

    Args:
        values: by seed. Seeds that are not 0, 1, 2 ... stand beside their values.
    """
    seeds = sorted(values)
    spread = f" ± {statistics.stdev(values.values()):.0f}" if len(seeds) > 1 else ""
    counted = seeds == list(range(len(seeds)))
    each = ", ".join(f"{values[seed]:.0f}" if counted else f"seed {seed}: {values[seed]:.0f}" for seed in seeds)
    return f"{statistics.mean(values.values()):.0f}{spread} ({each})"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a results file; none if there is no file."""
    return read_metrics(path) if path.exists() else []
