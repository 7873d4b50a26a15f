"""Tasks of the dm_control suite as Gymnasium environments: seeded, float32, observations as one vector or as pixels."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from dm_control import suite
from dm_control.rl.control import PhysicsError
from numpy.typing import NDArray

from robot_rl.errors import ConfigurationError, InvalidInput, RobotFault, UnknownName

Array = NDArray[Any]

WIDTH, HEIGHT = 320, 240
"""Of the frames that `render` makes."""
_UNBOUNDED = 1e6
"""Bounds beyond this, as those of lqr, are no bounds; such actions are kept to [-1, 1]."""


@contextlib.contextmanager
def _unhurt_by_old_models() -> Iterator[None]:
    """Silences what MuJoCo says of the suite's older models, which no user of a task can change."""
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def names() -> list[str]:
    """All tasks, as DOMAIN-TASK."""
    return [f"{domain}-{task}" for domain, task in suite.ALL_TASKS]


class SuiteEnv(gymnasium.Env[Array, Array]):
    """One task of the suite.

    The observation is the suite's own, its parts flattened and put one after the other in the suite's order. An episode
    terminates where the suite ends one with discount 0, and is truncated where its time is over.

    Attributes:
        suite_env: the suite's own environment.
        repeat: of its control steps, in one of ours.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(
        self,
        name: str,
        pixels: tuple[int, int] | None = None,
        camera: int = 0,
        render_mode: str | None = None,
        repeat: int = 1,
    ) -> None:
        """Loads the task.

        Args:
            name: DOMAIN-TASK, such as `quadruped-walk`.
            pixels: height and width of the picture that is observed instead, (height, width, 3) uint8.
            camera: of the pictures, observed or rendered.
            render_mode: `rgb_array` or None.
            repeat: control steps of the suite for which an action is held; their rewards are summed.

        Raises:
            UnknownName: no such task; lists those that exist.
        """
        if name not in names():
            raise UnknownName.of("task of the dm_control suite", name, names())
        if repeat < 1:
            raise ConfigurationError(f"repeat: expected a whole number of at least 1, got {repeat}")
        if pixels is not None and (len(pixels) != 2 or min(pixels) < 1):
            raise ConfigurationError(f"pixels: expected height and width, got {pixels}")
        if render_mode not in (None, "rgb_array"):
            raise ConfigurationError(f"unknown render_mode {render_mode!r}; allowed: rgb_array, None")
        domain, task = name.split("-", 1)
        self.name, self.render_mode, self.repeat = name, render_mode, repeat
        self._repetitions = range(repeat - 1)
        # The suite draws everything from here, so that seeding it seeds all that happens; models too are drawn at
        # random by some domains, and are the same in every environment.
        self._random = np.random.RandomState(0)
        with _unhurt_by_old_models():
            self.suite_env = suite.load(domain, task, task_kwargs={"random": self._random})
        self.metadata = {**self.metadata, "render_fps": round(1.0 / self.control_dt)}
        self._pixels, self._camera = pixels, camera
        parts = self.suite_env.observation_spec()
        sizes = [int(np.prod(part.shape)) for part in parts.values()]
        ends = np.cumsum(sizes).tolist()
        self._size = ends[-1]
        self._vectors = all(len(part.shape) == 1 for part in parts.values())
        self._parts = [
            (key, part.shape == (), end - size, end)
            for (key, part), size, end in zip(parts.items(), sizes, ends, strict=True)
        ]
        self.observation_space = (
            gymnasium.spaces.Box(-np.inf, np.inf, (self._size,), np.float32)
            if pixels is None
            else gymnasium.spaces.Box(0, 255, (*pixels, 3), np.uint8)
        )
        actions = self.suite_env.action_spec()
        free = np.maximum(np.abs(actions.minimum), np.abs(actions.maximum)) > _UNBOUNDED
        low, high = np.where(free, -1.0, actions.minimum), np.where(free, 1.0, actions.maximum)
        self.action_space = gymnasium.spaces.Box(low.astype(np.float32), high.astype(np.float32))
        self._shape = actions.shape
        self._running = False

    @property
    def control_dt(self) -> float:
        """s of a step."""
        return self.repeat * float(self.suite_env.control_timestep())

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begins an episode; everything random in it and in those after it follows from `seed`."""
        super().reset(seed=seed)
        if seed is not None:
            self._random.seed(self.np_random.integers(2**32))
        self._running = True
        return self._observed(self.suite_env.reset().observation), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """One control step of the policy, so `repeat` of the suite, or fewer where the episode ends.

        Args:
            action: within `action_space`.

        Raises:
            InvalidInput: the action has another shape, or is not finite, which also ends the episode.
            RobotFault: the simulation diverged.
        """
        if not self._running:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        if action.shape != self._shape:
            raise self._unusable(action)
        try:
            moment = self.suite_env.step(action)
            reward = moment.reward
            for _ in self._repetitions:
                if moment.last():
                    break
                moment = self.suite_env.step(action)
                reward += moment.reward
        except PhysicsError as error:
            # The simulation refuses numbers that are not finite itself; to look for them first would cost every step.
            self._running = False
            if not np.isfinite(action).all():
                raise self._unusable(action) from error
            raise RobotFault(f"the simulation of {self.name} diverged: {' '.join(str(error).split())}") from error
        over = moment.last()
        self._running = not over
        terminated = over and moment.discount == 0.0
        return self._observed(moment.observation), float(reward), terminated, over and not terminated, {}

    def _unusable(self, action: Array) -> InvalidInput:
        return InvalidInput(f"action of {self.name}: expected {self._shape[0]} finite numbers, got {action}")

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """A frame (HEIGHT, WIDTH, 3), or None without a render mode."""
        return self._picture(HEIGHT, WIDTH) if self.render_mode else None

    def close(self) -> None:
        """Releases the simulation."""
        with contextlib.suppress(Exception):  # OpenGL may be gone already
            self.suite_env.close()

    def _observed(self, parts: dict[str, Any]) -> Array:
        if self._pixels is not None:
            return self._picture(*self._pixels)
        if self._vectors:
            return np.concatenate(tuple(parts.values()), dtype=np.float32, casting="same_kind")
        vector = np.empty(self._size, dtype=np.float32)
        for key, is_number, start, end in self._parts:
            if is_number:
                vector[start] = parts[key]
            else:
                vector[start:end] = parts[key].ravel()
        return vector

    def _picture(self, height: int, width: int) -> NDArray[np.uint8]:
        return np.asarray(self.suite_env.physics.render(height, width, camera_id=self._camera), dtype=np.uint8)
