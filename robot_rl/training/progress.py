"""Progress of a training run on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TextIO

from tqdm import tqdm


class Progress:
    """Shows how far a run is and how fast it goes."""

    def __init__(self, total_steps: int, step: int = 0, stream: TextIO | None = None) -> None:
        """Starts at `step` of `total_steps`; the stream is stderr unless given."""
        self._stream = stream or sys.stderr
        self._total = total_steps
        self._bar: tqdm | None = None
        if self._stream.isatty():
            self._bar = tqdm(total=total_steps, initial=step, unit="step", file=self._stream, dynamic_ncols=True)

    def advance(self, steps: int) -> None:
        """Moves the bar."""
        if self._bar is not None:
            self._bar.update(steps)

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        """Shows the figures of an interval: on the bar, or as one line."""
        shown = {
            "return": ("training/return", "{:.1f}"),
            "evaluation": ("evaluation/return", "{:.1f}"),
            "alpha": ("learner/alpha", "{:.4f}"),
            "updates/s": ("speed/updates_per_second", "{:.0f}"),
            "steps/s": ("speed/steps_per_second", "{:.0f}"),
        }
        figures = {label: form.format(metrics[name]) for label, (name, form) in shown.items() if name in metrics}
        stops = sum(value for name, value in metrics.items() if name.startswith("training/safety/"))
        if stops:
            figures["safety"] = f"{stops:.1f}"
        if self._bar is not None:
            figures.pop("steps/s", None)  # the bar has its own
            self._bar.set_postfix(figures)
            return
        speed = metrics.get("speed/steps_per_second")
        if speed and metrics.get("speed/updates_per_second"):
            # The speed of this interval. The random steps at the start, which are followed by no update, are no measure
            # of what comes after them.
            figures["left"] = _clock((self._total - step) / speed)
        words = "  ".join(f"{label} {figure}" for label, figure in figures.items())
        self.say(f"step {step}/{self._total}  {words}")

    def say(self, line: str) -> None:
        """Prints a line without breaking the bar."""
        if self._bar is not None:
            self._bar.write(line, file=self._stream)
        else:
            print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
