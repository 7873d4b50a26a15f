"""When a policy walks: what the benchmarks of learning to walk share."""

from __future__ import annotations

from dataclasses import dataclass

from robot_rl.env import RobotEnv
from robot_rl.evaluation import Act, evaluate

EPISODES = 10
NEEDED = 9
"""Episodes of 10 s without a fall and within 20 % of the commanded speed."""


class Walks(Exception):
    """Ends a training that has reached its aim."""


@dataclass(frozen=True)
class Verdict:
    """What a policy did in its episodes."""

    good: int
    """Episodes without a fall and within 20 % of the commanded speed."""
    speed: float
    """m/s, mean."""
    speed_error: float
    """Mean share of the commanded speed by which it is missed."""
    reward: float
    """Mean return."""

    @property
    def walks(self) -> bool:
        """Whether that is walking."""
        return self.good >= NEEDED


def judge(env: RobotEnv, act: Act) -> Verdict:
    """Tries a policy."""
    found = evaluate(env, act, EPISODES)
    rewards = [episode.reward for episode in found.episodes]
    figures = (found.mean("forward_velocity"), found.mean("speed_error"))
    return Verdict(found.successes or 0, *figures, sum(rewards) / len(rewards))
