"""What is to be decided where time does not wait for the learner, as on a robot."""

from __future__ import annotations

from dataclasses import dataclass

from robot_rl.errors import ConfigurationError


@dataclass(frozen=True)
class RealTimeSettings:
    """Of training with the control loop in one process and the learner in another."""

    max_minutes: float | None = None
    """Minutes with the robot after which training ends, over all resumptions; pauses do not count, resets do."""
    max_falls: int | None = None
    """Falls (episodes ended by the task or by a safety stop) after which training ends, over all resumptions."""
    late_after: float = 0.005
    """s by which a tick may be late before its transition is marked as late."""
    keep_late: bool = True
    """Whether transitions that are marked as late go into the replay all the same."""
    learner_niceness: int = 10
    """How far the learner stands back behind the control loop for a core, 0 (not at all) to 19."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        checks = {
            "max_minutes": (self.max_minutes is None or self.max_minutes > 0, "positive"),
            "max_falls": (self.max_falls is None or self.max_falls > 0, "at least 1"),
            "late_after": (self.late_after > 0, "positive"),
            "learner_niceness": (0 <= self.learner_niceness <= 19, "from 0 to 19"),
        }
        for name, (fine, allowed) in checks.items():
            if not fine:
                raise ConfigurationError(f"real_time: {name} must be {allowed}, got {getattr(self, name)}")
