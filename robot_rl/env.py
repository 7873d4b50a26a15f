"""A robot and a task as a Gymnasium environment, one at a time or many in step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from robot_rl.errors import ConfigurationError, InvalidInput
from robot_rl.interaction import Interaction, Outcome
from robot_rl.observation_parts import CAMERA, PRIVILEGED, STATE, ObservationParts
from robot_rl.privileged import Privileged
from robot_rl.robot import BatchRobot, Punctual, Randomized, Robot, RobotState, Snapshot, Truthful
from robot_rl.task import Task

Array = NDArray[Any]


def _spaces(task: Task, parts: ObservationParts) -> tuple[gymnasium.spaces.Space[Any], gymnasium.spaces.Box]:
    of_parts: dict[str, gymnasium.spaces.Space[Any]] = {
        name: gymnasium.spaces.Box(0, 255, shape, np.uint8)
        if name == CAMERA
        else gymnasium.spaces.Box(-np.inf, np.inf, shape, np.float32)
        for name, shape in parts.shapes.items()
    }
    observation = of_parts[STATE] if parts.plain else gymnasium.spaces.Dict(of_parts)
    action = gymnasium.spaces.Box(-1.0, 1.0, (task.spec.action.size,), np.float32)
    return observation, action


def _check_fit(task: Task, robot: Robot | BatchRobot) -> None:
    if task.spec.digest != robot.spec.digest:
        given = f"task {task.name!r} was made for robot {task.spec.name!r}, not for {robot.spec.name!r}"
        if task.spec.name == robot.spec.name:
            given += " as its file is now"
        raise ConfigurationError(given)
    task.check_robot(robot.provides)


def _limit_in_ticks(task: Task, time_limit: float | None) -> int:
    seconds = task.time_limit if time_limit is None else time_limit
    ticks = seconds * task.spec.control_rate
    if not 0.5 < ticks < math.inf:
        raise ConfigurationError(
            f"time limit: expected at least one control tick, {task.spec.control_dt:g} s, and finite, got {seconds:g} s"
        )
    return round(ticks)


class _Observed:
    """What the single and the vector environment observe alike.

    Attributes:
        parts: what an observation is made of.
    """

    def __init__(self, robot: Robot | BatchRobot, task: Task, privileged: Privileged | None) -> None:
        self.parts = replace(task.parts, privileged=privileged.size if privileged else 0)
        self._robot, self._privileged, self._truthful = robot, privileged, None
        if privileged is not None:
            if not isinstance(robot, Truthful):
                raise ConfigurationError(
                    f"observation.privileged: this {robot.spec.name!r} knows no more than its sensors; "
                    "it takes robots simulated by MuJoCo, or one at a time by PyBullet"
                )
            self._truthful = robot

    def __call__(self, interaction: Interaction) -> Any:
        """(..., size) float32, or the parts by name; copies or read-only."""
        state = interaction.observation()
        if self.parts.plain:
            return state
        parts: dict[str, Array] = {STATE: state}
        if self.parts.camera:
            parts[CAMERA] = interaction.state.camera
        if self._privileged is not None and self._truthful is not None:
            drawn = _drawn(self._robot).get("randomization", {})
            parts[PRIVILEGED] = interaction.privileged(self._privileged, self._truthful.truth(), drawn)
        return parts


class RobotEnv(gymnasium.Env[Any, Array]):
    """`Robot x Task` as a Gymnasium environment.

    Observations are raw SI values in the order of `observation_layout`, float32. With a camera, or with what only the
    simulation knows, they are a dict: that vector as `state`, the picture as `camera` (height, width, 3) uint8, and
    `privileged`, which no policy is to see. Actions lie in [-1, 1]. An episode is truncated after `time_limit` by
    counting steps, and terminates when the task ends or the supervisor stops the robot.

    `info` carries `reward_terms` (name -> weighted value), `reward_values` (the same before weighting), `safety`
    (failed checks of this tick), `applied` (the command) and, from a robot in real time, `late`, the s by which this
    tick was late. What a randomised robot drew at the reset is in the reset's `info` and in the episode's last one, as
    `randomization` (name -> value).
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(
        self,
        robot: Robot,
        task: Task,
        time_limit: float | None = None,
        render_mode: str | None = None,
        camera: Callable[[Robot], Callable[[], NDArray[np.uint8]]] | None = None,
        privileged: Privileged | None = None,
    ) -> None:
        """Puts a robot and a task together.

        Args:
            robot: where to act.
            task: what to do; built for the same robot.
            time_limit: s; the task's own by default.
            render_mode: `rgb_array` or None.
            camera: makes the function that renders a frame (height, width, 3); needed with `rgb_array`.
            privileged: what is observed for the critics alone; nothing by default.

        Raises:
            MissingSensor: the robot does not provide what the reward needs, or no pictures where the task wants them.
            ConfigurationError: the task was made for another robot.
        """
        _check_fit(task, robot)
        if render_mode not in (None, "rgb_array"):
            raise ConfigurationError(f"unknown render_mode {render_mode!r}; allowed: rgb_array, None")
        if render_mode and camera is None:
            raise ConfigurationError("render_mode 'rgb_array' needs a camera")
        self.robot, self.task = robot, task
        # A picture a tick, so that Gymnasium's recorders show a film in real time.
        self.metadata = {**self.metadata, "render_fps": round(task.spec.control_rate)}
        self._punctual = robot if isinstance(robot, Punctual) else None
        self.observation_layout = task.layout
        self._observed = _Observed(robot, task, privileged)
        self.parts = self._observed.parts
        self.observation_space, self.action_space = _spaces(task, self.parts)
        self.render_mode = render_mode
        self._camera = camera
        self._frame: Callable[[], NDArray[np.uint8]] | None = None
        self._interaction = Interaction(task)
        self._limit = _limit_in_ticks(task, time_limit)
        self._tick = 0
        self._running = False

    @property
    def state(self) -> RobotState:
        """The robot's last reading."""
        return self._interaction.state

    @property
    def goal(self) -> Array:
        """The goal of this episode, (g,)."""
        return self._interaction.goal

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begins an episode; `options={"goal": (g,)}` sets the goal instead of sampling it."""
        super().reset(seed=seed)
        goal = _given_goal(self.task, options)
        start = self.task.sample_start(self.np_random)
        sampled = self.task.sample_goal(self.np_random)
        state = self.robot.reset(start, self.np_random)
        self._interaction.reset(state, start.joint_position, sampled if goal is None else goal)
        self._tick, self._running = 0, True
        return self._observed(self._interaction), _drawn(self.robot)

    def step(self, action: Array) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Runs one control tick.

        Args:
            action: (d,) in [-1, 1]; values beyond are clipped.

        Raises:
            InvalidInput: the action has another shape or is not finite.
        """
        if not self._running:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        state = self.robot.step(self._interaction.command(action))
        outcome = self._interaction.finish(state)
        self._tick += 1
        terminated = bool(outcome.terminated)
        truncated = self._tick >= self._limit and not terminated
        self._running = not (terminated or truncated)
        info = {
            "reward_terms": {name: float(value) for name, value in outcome.terms.items()},
            "reward_values": outcome.values,
            "safety": dict.fromkeys(outcome.safety, 1),
            "applied": outcome.applied,
        }
        if self._punctual is not None:
            info["late"] = self._punctual.late
        if not self._running:
            info |= _drawn(self.robot)
        return self._observed(self._interaction), float(outcome.reward), terminated, truncated, info

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """A frame (height, width, 3), or None without a render mode."""
        if self._camera is None or self.render_mode is None:
            return None
        if self._frame is None:
            self._frame = self._camera(self.robot)
        return self._frame()

    def close(self) -> None:
        """Stops and releases the robot."""
        self.robot.stop()
        self.robot.close()

    def snapshot(self) -> dict[str, Any]:
        """Everything that decides how the episode and those after it go on.

        Raises:
            ConfigurationError: this robot cannot be saved in the middle of an episode; no real one can.
        """
        return {
            **_snapshot(self.robot, self._interaction, self.np_random),
            "tick": self._tick,
            "running": self._running,
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Puts a snapshot back; the environment then goes on as the saved one would have."""
        if self._interaction.fresh:
            self.reset()
        self.robot.restore(snapshot["robot"])  # type: ignore[attr-defined]
        self._interaction.restore(snapshot["interaction"])
        self.np_random.bit_generator.state = snapshot["rng"]
        self.robot.use_rng(self.np_random)  # type: ignore[attr-defined]
        self._tick, self._running = int(snapshot["tick"]), bool(snapshot["running"])


class RobotVectorEnv(gymnasium.vector.VectorEnv[Any, Array, Array]):
    """Many copies of one robot with the same task, stepped together.

    A copy whose episode ends is reset in the same step: the observation returned is the new episode's first one, and
    `info["final_obs"]` holds the last one of the old. All else in `info` is of the step itself, for every copy; but
    `randomization`, there when an episode began, is of those that go on, and in `final_info` of those that ended.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self, robot: BatchRobot, task: Task, time_limit: float | None = None, privileged: Privileged | None = None
    ) -> None:
        """Puts a batch and a task together.

        Args:
            robot: copies of one robot.
            task: what to do; built for the same robot.
            time_limit: s; the task's own by default.
            privileged: see `RobotEnv`.
        """
        _check_fit(task, robot)
        self.robot, self.task = robot, task
        self.num_envs = robot.count
        self.observation_layout = task.layout
        self._observed = _Observed(robot, task, privileged)
        self.parts = self._observed.parts
        self.single_observation_space, self.single_action_space = _spaces(task, self.parts)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._interaction = Interaction(task, (self.num_envs,))
        self._limit = _limit_in_ticks(task, time_limit)
        self._ticks = np.zeros(self.num_envs, dtype=np.int64)
        self._all = np.arange(self.num_envs)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begins an episode in every copy; all copies draw from one generator, so `seed` is one number."""
        if isinstance(seed, (list, tuple)):
            seed = seed[0]
        super().reset(seed=seed)
        self._begin(self._all, _given_goal(self.task, options))
        return self._observed(self._interaction), _drawn(self.robot)

    def step(self, actions: Array) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """Runs one control tick in every copy; actions (num_envs, d) in [-1, 1]."""
        if self._interaction.fresh:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        state = self.robot.step(self._interaction.command(actions))
        outcome: Outcome = self._interaction.finish(state)
        self._ticks += 1
        truncated = (self._ticks >= self._limit) & ~outcome.terminated
        ended = outcome.terminated | truncated
        info: dict[str, Any] = {"reward_terms": outcome.terms, "reward_values": outcome.values}
        info |= {"safety": outcome.safety, "applied": outcome.applied}
        if ended.any():
            last = self._observed(self._interaction)
            final = np.empty(self.num_envs, dtype=object)
            for i in np.flatnonzero(ended):
                final[i] = last[i] if self.parts.plain else {name: part[i] for name, part in last.items()}
            of_ended = {**info, **_drawn(self.robot)}
            info |= {"final_obs": final, "_final_obs": ended, "final_info": of_ended, "_final_info": ended}
            self._begin(np.flatnonzero(ended))
            info |= _drawn(self.robot)
        reward = np.asarray(outcome.reward, dtype=np.float64)
        return self._observed(self._interaction), reward, outcome.terminated, truncated, info

    def _begin(self, rows: NDArray[np.intp], goal: Array | None = None) -> None:
        starts = [self.task.sample_start(self.np_random) for _ in rows]
        goals = np.stack([self.task.sample_goal(self.np_random) for _ in rows])
        if goal is not None:
            goals[:] = goal
        state = self.robot.reset(rows, starts, self.np_random)
        self._interaction.reset(state, np.stack([start.joint_position for start in starts]), goals, rows)
        self._ticks[rows] = 0

    def close_extras(self, **_kwargs: Any) -> None:
        """Releases the robots."""
        self.robot.close()

    def snapshot(self) -> dict[str, Any]:
        """Everything that decides how the episodes go on."""
        return {
            **_snapshot(self.robot, self._interaction, self.np_random),
            "ticks": self._ticks.copy(),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Puts a snapshot back."""
        if self._interaction.fresh:
            self.reset()
        self.robot.restore(snapshot["robot"])  # type: ignore[attr-defined]
        self._interaction.restore(snapshot["interaction"])
        self.np_random.bit_generator.state = snapshot["rng"]
        self.robot.use_rng(self.np_random)  # type: ignore[attr-defined]
        self._ticks[:] = snapshot["ticks"]


def _snapshot(robot: Robot | BatchRobot, interaction: Interaction, rng: np.random.Generator) -> dict[str, Any]:
    """What the single and the vector environment save alike."""
    if not isinstance(robot, Snapshot):
        raise ConfigurationError(f"robot {robot.spec.name!r} cannot be saved in the middle of an episode")
    return {"robot": robot.snapshot(), "interaction": interaction.snapshot(), "rng": rng.bit_generator.state}


def _drawn(robot: Robot | BatchRobot) -> dict[str, Any]:
    """What a randomised robot drew, for `info`; empty for any other."""
    drawn = robot.drawn if isinstance(robot, Randomized) else None
    return {"randomization": drawn} if drawn else {}


def _given_goal(task: Task, options: dict[str, Any] | None) -> Array | None:
    if not options or "goal" not in options:
        return None
    given = options["goal"]
    try:
        goal = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        goal = np.full(0, np.nan)
    if goal.shape != (len(task.goal_labels),) or not np.isfinite(goal).all():
        raise InvalidInput(
            f"goal of task {task.name!r}: expected {len(task.goal_labels)} finite numbers "
            f"({', '.join(task.goal_labels)}), got {given!r}"
        )
    return goal

