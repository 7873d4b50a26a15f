"""What a policy was given and what it answered, as messages of a bag.

| topic | type | holds |
|---|---|---|
| `policy/observation` | std_msgs/Float64MultiArray | (size,), raw SI values |
| `policy/action` | std_msgs/Float64MultiArray | (d,), in [-1, 1] |
| `policy/command` | sensor_msgs/JointState | position (n,), after all limits, with the joints' names |
| `policy/goal` | std_msgs/Float64MultiArray | (g,) |
| `policy/episode` | std_msgs/String | JSON: where an episode begins and ends, and what the numbers mean |

The marker of a beginning also tells the task's settings, and what was observed (`about_task`): with them the task can
be made again.

The four of one control tick share their time in the bag. The stamp of the state that the policy answered is the stamp
of the command, and the label of the dimension of the arrays, for a Float64MultiArray has no stamp.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hardware.message_types import MessageTypes
from robot_rl.observation_settings import ObservationSettings
from robot_rl.task import Task

Array = NDArray[Any]

ARRAY = "std_msgs/msg/Float64MultiArray"
JOINTS = "sensor_msgs/msg/JointState"
TEXT = "std_msgs/msg/String"

OBSERVATION, ACTION, COMMAND, GOAL = (f"policy/{name}" for name in ("observation", "action", "command", "goal"))
EPISODE = "policy/episode"


class PolicyTick(NamedTuple):
    """One answer of a policy."""

    observation: Array
    """(size,)."""
    action: Array
    """(d,), in [-1, 1]."""
    command: Array
    """(n,), rad or m, as it was sent."""
    goal: Array
    """(g,)."""
    stamp: float
    """s, of the robot's clock: of the state that the observation was made of; NaN where unknown."""


def about_settings(settings: Mapping[str, Any], observation: ObservationSettings) -> dict[str, Any]:
    """The settings of a task as the marker of a beginning tells them, JSON values; `make_task` takes both.

    Args:
        settings: of the task, by name.
        observation: what of it is observed.
    """
    chosen = {name: value for name, value in asdict(observation).items() if value not in (None, ())}
    return {"task_settings": dict(settings), "observation_settings": chosen}


def about_task(task: Task) -> dict[str, Any]:
    """What `Recorder.begin_episode` is given of a task, so that the same one can be made from the bag."""
    settings = getattr(task, "settings", None)
    given = asdict(settings) if is_dataclass(settings) and not isinstance(settings, type) else {}
    observation = ObservationSettings(task.layout.length, task.layout.history, camera=task.camera is not None)
    return about_settings(given, observation)


class PolicyMessages:
    """Writes and reads them."""

    def __init__(self, types: MessageTypes) -> None:
        """Args: types: of messages; those used here are compiled now, for it takes longer than a control tick."""
        self._types = types
        nothing = np.zeros(0)
        for kind, content in self.of_tick(PolicyTick(nothing, nothing, nothing, nothing, 0.0), ()).values():
            types.from_bytes(content, kind)
        self.read_episode(self.of_episode({"event": "end"})[1])

    def of_tick(self, tick: PolicyTick, joints: Sequence[str]) -> dict[str, tuple[str, bytes]]:
        """Type and bytes of each message of a control tick, by relative topic."""
        arrays = {OBSERVATION: tick.observation, ACTION: tick.action, GOAL: tick.goal}
        found = {topic: (ARRAY, self._array(values, tick.stamp)) for topic, values in arrays.items()}
        found[COMMAND] = (JOINTS, self._command(tick.command, tick.stamp, joints))
        return found

    def of_episode(self, about: Mapping[str, Any]) -> tuple[str, bytes]:
        """Type and bytes of a marker."""
        return TEXT, self._types.to_bytes(self._types.make(TEXT, data=json.dumps(about)), TEXT)

    def read_array(self, content: bytes) -> tuple[Array, float]:
        """The values and the stamp, s, NaN where unknown.

        Raises:
            StorageError: the message is damaged; so do the two below.
        """
        message = self._types.from_bytes(content, ARRAY)
        try:
            return np.array(message.data), float(message.layout.dim[0].label)
        except (IndexError, ValueError) as error:
            raise self._types.damaged(ARRAY, f"the label of its dimension is no stamp: {error}") from error

    def read_command(self, content: bytes) -> Array:
        """The joints' positions, (n,)."""
        return np.array(self._types.from_bytes(content, JOINTS).position)

    def read_episode(self, content: bytes) -> dict[str, Any]:
        """A marker: an `event`, and what it tells."""
        text = self._types.from_bytes(content, TEXT).data
        try:
            about = json.loads(text)
        except ValueError as error:
            raise self._types.damaged(TEXT, f"a marker of an episode is no JSON: {error}") from error
        if not isinstance(about, dict) or "event" not in about:
            raise self._types.damaged(TEXT, f"a marker of an episode is no object with an 'event': {text[:80]}")
        lacking = [key for key in ("number", "robot", "robot_digest") if key not in about]
        if about["event"] == "begin" and lacking:
            raise self._types.damaged(TEXT, f"the marker of a beginning lacks {', '.join(map(repr, lacking))}")
        for key in ("task_settings", "observation_settings"):
            if not isinstance(about.get(key, {}), dict):
                raise self._types.damaged(TEXT, f"{key!r} of the marker of a beginning is no object: {about[key]!r}")
        blend = about.get("blend_time", 0.0)
        if not isinstance(blend, (int, float)) or not np.isfinite(blend):
            raise self._types.damaged(TEXT, f"'blend_time' of the marker of a beginning is no number: {blend!r}")
        return about

    def _array(self, values: Array, stamp: float) -> bytes:
        make, size = self._types.make, len(values)
        dimension = make("std_msgs/msg/MultiArrayDimension", label=f"{stamp:.9f}", size=size, stride=size)
        layout = make("std_msgs/msg/MultiArrayLayout", dim=[dimension], data_offset=0)
        return self._types.to_bytes(make(ARRAY, layout=layout, data=np.array(values, dtype=np.float64)), ARRAY)

    def _command(self, values: Array, stamp: float, joints: Sequence[str]) -> bytes:
        make, nothing = self._types.make, np.zeros(0)
        whole = round(stamp * 1e9) if np.isfinite(stamp) else 0
        time = make("builtin_interfaces/msg/Time", sec=whole // 10**9, nanosec=whole % 10**9)
        message = make(
            JOINTS,
            header=make("std_msgs/msg/Header", stamp=time, frame_id=""),
            name=list(joints),
            position=np.array(values, dtype=np.float64),
            velocity=nothing,
            effort=nothing,
        )
        return self._types.to_bytes(message, JOINTS)
