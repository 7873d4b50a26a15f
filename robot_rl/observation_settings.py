"""What a policy is shown where a person wants another observation than the task's own."""

from __future__ import annotations

from dataclasses import dataclass

from robot_rl.settings import check

LONGEST_HISTORY = 100
"""Control ticks; a longer one is a slip of the pen, not an observation."""


@dataclass(frozen=True)
class ObservationSettings:
    """Settings of what is observed, for any task on any robot."""

    history: int | None = None
    """Control ticks whose readings are stacked, newest first; the task's own number by default."""
    history_of: tuple[str, ...] | None = None
    """Which of the quantities that the task observes are stacked; the task's own choice by default."""
    camera: bool = False
    """Whether the robot's camera is observed, and nothing that says directly where objects are."""
    privileged: bool = False
    """Whether the critics get what only the simulation knows: exact readings, and what randomisation drew."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        fine = self.history is None or 1 <= self.history <= LONGEST_HISTORY
        check(self, "observation", history=(fine, f"from 1 to {LONGEST_HISTORY} control ticks"))
