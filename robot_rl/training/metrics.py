"""Metrics of a run: one line of JSON each, the same in TensorBoard, and the plot of the learning curve."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from robot_rl.errors import StorageError
from robot_rl.training.files import finite, storing


class MetricsLog:
    """Appends metrics to `metrics.jsonl` and shows them in TensorBoard.

    `metrics.jsonl` is the record. The TensorBoard files are made from it, anew whenever a run is resumed, so that
    neither holds a line twice or one from after the checkpoint.
    """

    def __init__(self, path: Path, tensorboard: Path | None = None, size: int = 0) -> None:
        """Opens the record and cuts what was written after `size` bytes, the size that a checkpoint noted.

        Raises:
            StorageError: the record is shorter than `size`, or cannot be written.
        """
        self._path = path
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "ab")  # noqa: SIM115 - lives as long as the run
            found = self._file.tell()
            if found < size:
                self._file.close()
                raise StorageError(f"{path} is damaged: it has {found} bytes, the checkpoint was made at {size}")
            self._file.truncate(size)
            self._file.seek(size)
        self._writer: Any = None
        if tensorboard is not None:
            from torch.utils.tensorboard import SummaryWriter  # a quarter of a second, only for those who train

            shutil.rmtree(tensorboard, ignore_errors=True)
            self._writer = SummaryWriter(str(tensorboard))
            for line in read_metrics(path):
                self._show(line)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Appends one line; numbers that are not finite become null.

        Raises:
            StorageError: the disk is full.
        """
        line = {"step": step, **as_json(metrics)}
        with storing(self._path):
            self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
            self._file.flush()
        self._show(line)

    def _show(self, line: Mapping[str, Any]) -> None:
        if self._writer is not None:
            for name, value in line.items():
                if name != "step" and value is not None:
                    self._writer.add_scalar(name, value, line["step"])

    def sync(self) -> int:
        """Makes the lines durable and returns the size of the record, in bytes."""
        with storing(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Closes the record and the TensorBoard files."""
        self._file.close()
        if self._writer is not None:
            self._writer.close()


def as_json(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Metrics with null where a number is not finite, as JSON has no such numbers."""
    return finite({name: float(value) for name, value in metrics.items()})


def from_json(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """What `as_json` gave, with NaN where it has null."""
    return {name: math.nan if value is None else value for name, value in metrics.items()}


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`, oldest first; a last line that was cut short by a crash is left out.

    Raises:
        StorageError: a line before the last is not JSON.
    """
    lines = Path(path).read_bytes().split(b"\n")
    metrics = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            metrics.append(json.loads(line))
        except ValueError as error:
            if number == len(lines):
                break
            raise StorageError(f"{path}, line {number}: not JSON") from error
    return metrics


def mean_metrics(each: Iterable[Mapping[str, float]], prefix: str = "") -> dict[str, float]:
    """The mean of every name over those mappings that have it, under `prefix`."""
    sums: dict[str, list[float]] = {}
    for metrics in each:
        for name, value in metrics.items():
            sums.setdefault(name, []).append(value)
    return {f"{prefix}{name}": sum(values) / len(values) for name, values in sums.items()}


def plot_learning_curve(
    metrics_path: Path, out_png: Path, title: str = "", references: Sequence[tuple[str, float]] = ()
) -> None:
    """Draws return against steps, in training and in evaluation.

    Args:
        metrics_path: a `metrics.jsonl`.
        out_png: where the picture goes.
        title: above the axes; none if empty.
        references: name and return of horizontal lines to compare with.

    Raises:
        StorageError: the record is damaged, or the picture cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    metrics = read_metrics(metrics_path)
    figure = Figure(figsize=(8, 4.5), dpi=120)
    FigureCanvasAgg(figure)
    # Room for six digits and a sign, as many as are written out; to have it measured takes longer than all the rest.
    figure.subplots_adjust(left=0.12, right=0.97, bottom=0.12, top=0.92)
    axes = figure.add_subplot()
    curves = {"training/return": ("training (exploring)", "-"), "evaluation/return": ("evaluation (mean action)", "o-")}
    for name, (label, style) in curves.items():
        points = [(line["step"], line[name]) for line in metrics if line.get(name) is not None]
        if points:
            steps, returns = zip(*points, strict=True)
            axes.plot(steps, returns, style, label=label, markersize=4, linewidth=1.5)
    for index, (label, value) in enumerate(references):
        axes.axhline(value, color=f"C{index + 2}", linestyle="--", linewidth=1.0, label=f"{label}: {value:g}")
    axes.set_xlabel("environment steps")
    axes.set_ylabel("return of an episode")
    axes.xaxis.set_major_formatter(lambda steps, _: f"{steps / 1000:g}k" if steps else "0")
    axes.grid(alpha=0.3)
    if title:
        axes.set_title(title)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="best", frameon=False)
    with storing(out_png):
        out_png.parent.mkdir(parents=True, exist_ok=True)
        beside = out_png.with_name(f".{out_png.name}.tmp")
        figure.savefig(beside, format="png")
        os.replace(beside, out_png)
