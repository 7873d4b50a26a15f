"""The memory that the control loop and the learner share: transitions and episodes one way, weights the other."""

from __future__ import annotations

import json
from multiprocessing.context import BaseContext

import numpy as np

from robot_rl.training.collector import Episode, Transitions
from robot_rl.training.numpy_actor import ActorShape
from robot_rl.training.ring import Ring
from robot_rl.training.shared_weights import SharedWeights

_EPISODES = 512
"""Summaries of episodes that may wait; one that finds no room is lost, as it is for show only."""
_TEXT = 4096
"""Bytes of such a summary."""


class Link:
    """Made by the control loop and pickled into the learner's process when that starts.

    Attributes:
        transitions: with `late`, the s by which the tick of each was late.
        weights: of the actor.
    """

    def __init__(self, shape: ActorShape, slots: int, context: BaseContext) -> None:
        """Reserves the memory.

        Args:
            shape: of the actor.
            slots: transitions that may wait, and that are kept should the learner die.
            context: that starts the learner.
        """
        observation, action = (np.float32, (shape.observation_size,)), (np.float32, (shape.action_size,))
        fields = [
            ("observation", *observation), ("action", *action), ("reward", np.float32),
            ("next_observation", *observation), ("terminated", np.float32), ("late", np.float32),
        ]  # fmt: skip
        self.shape = shape
        self.transitions = Ring(fields, slots, context)
        self.weights = SharedWeights(shape.size, context)
        self._episodes = Ring([("text", np.uint8, (_TEXT,))], _EPISODES, context)
        self._figures = context.RawArray("d", 4)  # type: ignore[attr-defined]

    def send(self, rows: Transitions, late: float) -> bool:
        """Hands a transition, the only row, to the learner; False where it does not take them."""
        return self.transitions.push(
            observation=rows.observation[0],
            action=rows.action[0],
            reward=rows.reward[0],
            next_observation=rows.next_observation[0],
            terminated=rows.terminated[0],
            late=late,
        )

    def send_episode(self, episode: Episode) -> None:
        """Tells the learner's log of an episode."""
        text = json.dumps(vars(episode)).encode()
        if len(text) > _TEXT:
            text = json.dumps({**vars(episode), "reward_terms": {}, "safety": {}}).encode()
        self._episodes.push(text=np.frombuffer(text.ljust(_TEXT), dtype=np.uint8))

    def take_episodes(self) -> list[Episode]:
        """The episodes that ended since the last call."""
        return [Episode(**json.loads(text.tobytes())) for text in self._episodes.pull(_EPISODES)["text"]]

    @property
    def finishing(self) -> bool:
        """Whether nothing more will come, so that the learner shall save and end."""
        return bool(self._figures[0])

    def finish(self) -> None:
        """Says so."""
        self._figures[0] = 1.0

    @property
    def saved(self) -> int:
        """Transitions of this link that are in the newest checkpoint."""
        return int(self._figures[1])

    @saved.setter
    def saved(self, count: int) -> None:
        self._figures[1] = count

    @property
    def robot_time(self) -> float:
        """s with the robot, over all resumptions."""
        return self._figures[2]

    @robot_time.setter
    def robot_time(self, seconds: float) -> None:
        self._figures[2] = seconds

    @property
    def falls(self) -> int:
        """Episodes that ended in a terminal state, over all resumptions."""
        return int(self._figures[3])

    @falls.setter
    def falls(self, count: int) -> None:
        self._figures[3] = count
