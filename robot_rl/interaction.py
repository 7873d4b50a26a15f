"""One control tick between policy and robot: action -> limited command, state -> observation, reward, end.

Shared by the single and the vector environment; arrays carry the leading batch shape `...`, () or (N,).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_rl.action_map import ActionMap
from robot_rl.arrays import all_finite, frozen, within
from robot_rl.errors import InvalidInput
from robot_rl.observation import Observer
from robot_rl.privileged import Privileged
from robot_rl.robot import JointCommand, ObjectState, RobotState
from robot_rl.safety import SafetySupervisor
from robot_rl.task import Step, Task

Array = NDArray[Any]


class Outcome(NamedTuple):
    """What a control tick brought."""

    reward: Array
    """(...,)."""
    terms: dict[str, Array]
    """(...,) by name, weighted."""
    values: dict[str, Array]
    """(...,) by name, before weighting."""
    terminated: Array
    """(...,) bool: the task ended or the supervisor stopped the robot."""
    safety: dict[str, Array]
    """(...,) bool by failed check."""
    applied: Array
    """(..., n), the command after limits."""


class Interaction:
    """Holds what lasts from tick to tick: last state, action, command, goal, observation history."""

    def __init__(self, task: Task, shape: tuple[int, ...] = ()) -> None:
        """Args: task: what to do; shape: leading batch shape."""
        spec = task.spec
        self.task = task
        self._shape = shape
        self._map = ActionMap(spec, task.stepping, task.layout)
        self._supervisor = SafetySupervisor(spec)
        self._observer = Observer(task.layout, shape)
        self._action_shape = (*shape, spec.action.size)
        self._action = np.zeros(self._action_shape)
        self._previous_action = np.zeros(self._action_shape)
        self._command = np.broadcast_to(spec.home, (*shape, spec.joints)).copy()
        self._failed: dict[str, Array] = {}
        self.goal = np.zeros((*shape, len(task.goal_labels)))
        self._state: RobotState | None = None

    @property
    def fresh(self) -> bool:
        """Whether no episode has begun yet."""
        return self._state is None

    @property
    def state(self) -> RobotState:
        """The last reading."""
        if self._state is None:
            raise InvalidInput("no state yet: call reset() first")
        return self._state

    def observation(self) -> Array:
        """(..., size), float32."""
        return self._observer.observation()

    def privileged(self, privileged: Privileged, truth: RobotState, drawn: Mapping[str, Any]) -> Array:
        """What only a simulation knows of this tick, (..., size), float32; see `Privileged.read`."""
        return privileged.read(truth, self._action, self.goal, drawn)

    def reset(
        self, state: RobotState, joint_position: Array, goal: Array, rows: NDArray[np.intp] | None = None
    ) -> None:
        """Begins an episode, in all copies or in some rows.

        Args:
            state: first reading, of these rows.
            joint_position: command in force, of these rows, (k, n).
            goal: of these rows, (k, g).
            rows: which copies; None for the single robot.
        """
        where: Any = ... if rows is None else rows
        self._state = state if rows is None or self._state is None else _spliced(self._state, state, rows)
        # Fresh arrays: those of the last episode may have been handed out.
        self._action, self._previous_action = self._action.copy(), self._previous_action.copy()
        self._command, self.goal = self._command.copy(), self.goal.copy()
        self._action[where] = 0.0
        self._previous_action[where] = 0.0
        self._command[where] = joint_position
        self.goal[where] = goal
        for array in (self._action, self._previous_action, self._command, self.goal):
            frozen(array)
        self._observer.reset(state, self._action[where], self.goal[where], where)

    def in_force(self, command: Array) -> None:
        """Says which command was applied last, (..., n), where it is another than the last of `command`."""
        self._command = frozen(command)

    def command(self, action: Array) -> JointCommand:
        """Turns an action in [-1, 1], (..., d), into the joint command to apply; values beyond are clipped.

        Raises:
            InvalidInput: the action is no array of finite numbers of that shape.
        """
        try:
            action = np.array(action, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"action: expected numbers of shape {self._action_shape}, got {action!r}") from error
        if action.shape != self._action_shape:
            raise InvalidInput(f"action: expected shape {self._action_shape}, got {action.shape}")
        if not within(action, -1.0, 1.0):
            if not np.isfinite(action).all():
                raise InvalidInput(f"action is not finite in: {_not_finite(action, self.task.spec.action.coordinates)}")
            action = np.clip(action, -1.0, 1.0)
        self._previous_action, self._action = self._action, frozen(action)
        wanted = self._map.command(self._action, self._observer.newest)
        command, self._failed = self._supervisor.limit(wanted, self._command)
        self._command = frozen(command)
        return JointCommand(command)

    def finish(self, state: RobotState) -> Outcome:
        """Takes in the state that followed the command.

        Raises:
            InvalidInput: the state gives an observation that is not finite.
        """
        before, self._state = self.state, state
        values = self.task.values(Step(before, self._action, self._previous_action, state, self.goal))
        reward, terms = self.task.weigh(values)
        verdict = self._supervisor.watch(state, self._failed)
        terminated = self.task.terminated(state, self.goal)
        if verdict.counts:
            terminated = terminated | verdict.stop
        self._observer.advance(state, self._action, self.goal)
        if not all_finite(self._observer.newest):
            bad = _not_finite(self._observer.newest, self.task.layout.labels)
            raise InvalidInput(f"observation is not finite in: {bad}")
        return Outcome(reward, terms, values, terminated, verdict.counts, self._command)

    def snapshot(self) -> dict[str, Any]:
        """All that lasts, as arrays."""
        return {
            "action": self._action.copy(),
            "previous_action": self._previous_action.copy(),
            "command": self._command.copy(),
            "goal": self.goal.copy(),
            "observation": self._observer.observation(),
            "state": _state_to_arrays(self.state),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Puts a snapshot back."""
        self._action = np.array(snapshot["action"])
        self._previous_action = np.array(snapshot["previous_action"])
        self._command = np.array(snapshot["command"])
        self.goal = np.array(snapshot["goal"])
        self._observer.restore(snapshot["observation"])
        self._state = _state_from_arrays(snapshot["state"])


def _not_finite(array: Array, names: Sequence[str]) -> str:
    return ", ".join(names[i] for i in np.unique(np.nonzero(~np.isfinite(array))[-1]))


def _spliced(state: RobotState, rows: RobotState, index: NDArray[np.intp]) -> RobotState:
    """`state` with the readings of some rows replaced."""

    def put(old: Array | None, new: Array | None) -> Array | None:
        if old is None or new is None:
            return old
        merged = np.array(old)
        merged[index] = new
        return frozen(merged)

    changed: dict[str, Any] = {
        f.name: put(getattr(state, f.name), getattr(rows, f.name)) for f in fields(state) if f.name != "objects"
    }
    changed["objects"] = {
        name: ObjectState(*(put(getattr(item, f.name), getattr(rows.objects[name], f.name)) for f in fields(item)))  # type: ignore[arg-type]
        for name, item in state.objects.items()
    }
    return replace(state, **changed)


def _state_to_arrays(state: RobotState) -> dict[str, Any]:
    readings = {f.name: getattr(state, f.name) for f in fields(state) if f.name != "objects"}
    arrays = {name: np.asarray(value) for name, value in readings.items() if value is not None}
    for name, item in state.objects.items():
        arrays |= {f"objects/{name}/{f.name}": np.asarray(getattr(item, f.name)) for f in fields(item)}
    return arrays


def _state_from_arrays(arrays: dict[str, Any]) -> RobotState:
    plain = {name: np.asarray(value) for name, value in arrays.items() if "/" not in name}
    grouped: dict[str, dict[str, Array]] = {}
    for path, value in arrays.items():
        if "/" in path:
            _, name, part = path.split("/")
            grouped.setdefault(name, {})[part] = np.asarray(value)
    stamp = plain.pop("stamp")
    return RobotState(
        stamp=float(stamp) if stamp.ndim == 0 else stamp,
        objects={name: ObjectState(**parts) for name, parts in grouped.items()},
        **plain,
    )
