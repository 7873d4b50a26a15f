"""Stepping environments: one Gymnasium environment, or a vector of them, seen as N environments.

The one difficulty is the end of an episode. A transition must carry the last observation of its episode, never the
first of the next one, and the step in which a vector environment only resets is no transition at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

from robot_rl.errors import ConfigurationError, InvalidInput, StorageError
from robot_rl.observation_parts import CAMERA, PRIVILEGED, STATE, ObservationParts
from robot_rl.training.state import State

Environment = gymnasium.Env | VectorEnv

DIMENSIONS = {STATE: 1, CAMERA: 3, PRIVILEGED: 1}
"""Of the parts that an observation may have."""


def _parts(space: gymnasium.Space) -> ObservationParts:
    """What the observations of a space are made of."""
    spaces = space.spaces if isinstance(space, gymnasium.spaces.Dict) else {STATE: space}
    shapes = {
        name: part.shape
        for name, part in spaces.items()
        if isinstance(part, gymnasium.spaces.Box) and len(part.shape) == DIMENSIONS.get(name)
    }
    if STATE not in shapes or len(shapes) != len(spaces):
        raise ConfigurationError(
            f"the observation space must be a Box of one dimension, got {space}; "
            "flatten it with gymnasium.wrappers.FlattenObservation"
        )
    height_width_channels: Any = shapes.get(CAMERA)
    return ObservationParts(shapes[STATE][0], height_width_channels, shapes.get(PRIVILEGED, (0,))[0])


@dataclass(frozen=True)
class Transitions:
    """What one step of N environments gave; M <= N rows, without those that only reset."""

    observation: np.ndarray
    """(M, O)."""
    action: np.ndarray
    """In [-1, 1], as requested, (M, A)."""
    reward: np.ndarray
    """(M,)."""
    next_observation: np.ndarray
    """(M, O), the last one of the episode where it ended."""
    terminated: np.ndarray
    """(M,) bool."""
    ended: np.ndarray
    """Whether it was the last step of its episode, by a terminal state or by a time limit, (M,) bool."""
    environment: np.ndarray
    """Which of the N, (M,) int."""
    values: np.ndarray
    """Of the reward's terms before weighting, in the order of `Collector.terms`, (M, T)."""


@dataclass
class Episode:
    """Sums over one episode."""

    length: int = 0
    total_reward: float = 0.0
    terminated: bool = False
    reward_terms: dict[str, float] = field(default_factory=dict)
    safety: dict[str, float] = field(default_factory=dict)
    randomization: dict[str, float] = field(default_factory=dict)
    """What was drawn for this episode, by name; empty for a robot that is always the same."""

    def metrics(self) -> dict[str, float]:
        """Return, length, mean of every reward term per step, and every safety count of the episode."""
        return {
            "return": self.total_reward,
            "length": float(self.length),
            "terminated": float(self.terminated),
            **{f"reward_terms/{name}": value / self.length for name, value in self.reward_terms.items()},
            **{f"safety/{name}": value for name, value in self.safety.items()},
        }


class Source(Protocol):
    """Where a trainer's transitions come from: a Collector, or another process that collects."""

    observation_size: int
    action_size: int

    @property
    def count(self) -> int:
        """N, how many environments are stepped."""

    @property
    def at_start(self) -> bool:
        """See `Collector`."""

    @property
    def has_snapshots(self) -> bool:
        """See `Collector`."""

    def restart(self, seed: int) -> None:
        """See `Collector`."""

    def state(self) -> State:
        """See `Collector`."""

    def load_state(self, state: State, seed: int) -> None:
        """See `Collector`."""


class Collector:
    """Steps N environments and keeps the books of their episodes.

    Attributes:
        count: N.
        terms: names of the T reward terms whose values are taken along; none, unless `keep_terms` was called.
        observation: current observations, (N, O) float32.
        finished: episodes that ended and were not taken yet, oldest first.
    """

    def __init__(self, env: Environment) -> None:
        """Looks at the spaces; `restart` or `load_state` comes before the first step.

        Raises:
            ConfigurationError: the observation is not a vector, or the action not a bounded one.
        """
        self.env = env
        self.is_vector = isinstance(env, VectorEnv)
        self.count = env.num_envs if isinstance(env, VectorEnv) else 1
        observation_space = env.single_observation_space if isinstance(env, VectorEnv) else env.observation_space
        action_space = env.single_action_space if isinstance(env, VectorEnv) else env.action_space
        self.parts = _parts(observation_space)
        if not isinstance(action_space, gymnasium.spaces.Box) or len(action_space.shape) != 1:
            raise ConfigurationError(f"the action space must be a Box of one dimension, got {action_space}")
        if not (np.isfinite(action_space.low).all() and np.isfinite(action_space.high).all()):
            raise ConfigurationError(f"the action space must have finite bounds, got {action_space}")
        self.observation_size = self.parts.size
        self.action_size = action_space.shape[0]
        self._low = action_space.low.astype(np.float32)
        self._range = action_space.high.astype(np.float32) - self._low
        self._autoreset = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP) if self.is_vector else None
        self.observation = np.zeros((self.count, self.observation_size), dtype=np.float32)
        self.finished: list[Episode] = []
        self._episodes = [Episode() for _ in range(self.count)]
        # Environments whose next step ignores the action and only resets (AutoresetMode.NEXT_STEP).
        self._resetting = np.zeros(self.count, dtype=bool)
        self.terms: tuple[str, ...] = ()

    def keep_terms(self) -> None:
        """From now on transitions carry the values of the reward's terms.

        Raises:
            ConfigurationError: the environment's reward has no named terms.
        """
        self.terms = tuple(getattr(getattr(self.env.unwrapped, "task", None), "terms", ()))
        if not self.terms:
            raise ConfigurationError("trainer: keep_terms needs the reward's terms, and this environment names none")

    @property
    def at_start(self) -> bool:
        """Whether every environment stands at the start of an episode, so that a restart cuts nothing short."""
        return all(episode.length == 0 for episode in self._episodes)

    def restart(self, seed: int) -> None:
        """Seeds all environments and starts new episodes; those in progress are cut short."""
        observation, _ = self.env.reset(seed=seed)
        self.observation = self._rows(observation)
        self._episodes = [Episode() for _ in range(self.count)]
        self._resetting[:] = False

    def step(self, action: np.ndarray) -> Transitions:
        """Steps every environment once.

        Args:
            action: in [-1, 1], (N, A); mapped linearly onto the environment's own bounds.

        Returns:
            The transitions, without environments that only reset.

        Raises:
            InvalidInput: an action, observation or reward is not finite.
        """
        self._check_finite("action", action)
        command = self._low + (0.5 * (action + 1.0)) * self._range
        *results, info = self.env.step(command if self.is_vector else command[0])
        observation = self._rows(results[0])  # (N, O)
        reward = np.array(results[1], dtype=np.float64).reshape(self.count)
        terminated = np.array(results[2], dtype=bool).reshape(self.count)
        ended = terminated | np.array(results[3], dtype=bool).reshape(self.count)
        real = ~self._resetting
        self._check_finite("reward", reward)
        self._account(real, reward, terminated, ended, info)

        next_observation = observation
        self._resetting = np.zeros(self.count, dtype=bool)
        if ended.any():
            next_observation, observation = self._follow(ended, observation, info)
        values = np.empty((self.count, len(self.terms)))
        for index, name in enumerate(self.terms):
            values[:, index] = info["reward_values"][name]
        which = np.arange(self.count)
        transitions = Transitions(self.observation, action, reward, next_observation, terminated, ended, which, values)
        if not real.all():
            transitions = Transitions(*(getattr(transitions, name)[real] for name in Transitions.__annotations__))
        self.observation = observation
        return transitions

    def _follow(
        self, ended: np.ndarray, observation: np.ndarray, info: Mapping[str, Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The last observations of this step's transitions, and those that the next actions answer to; (N, O) each."""
        if not self.is_vector:
            return observation, self.parts.rows(self.env.reset()[0], 1)
        if self._autoreset == AutoresetMode.SAME_STEP:
            last = observation.copy()
            for index in np.flatnonzero(ended):
                last[index] = self.parts.rows(info["final_obs"][index], 1)[0]
            self._check_finite("final observation", last)
            return last, observation
        if self._autoreset == AutoresetMode.DISABLED:
            started, _ = self.env.reset(options={"reset_mask": ended})
            return observation, np.where(ended[:, None], self.parts.rows(started, self.count), observation)
        self._resetting = ended.copy()
        return observation, observation

    def _rows(self, observation: Any) -> np.ndarray:
        rows = self.parts.rows(observation, self.count)
        if not np.isfinite(rows).all():
            parts = observation if isinstance(observation, Mapping) else {"observation": observation}
            for name, part in parts.items():
                self._check_finite(name, part)
        return rows

    def _account(
        self,
        real: np.ndarray,
        reward: np.ndarray,
        terminated: np.ndarray,
        ended: np.ndarray,
        info: Mapping[str, Any],
    ) -> None:
        for index in np.flatnonzero(real):
            episode = self._episodes[index]
            episode.length += 1
            episode.total_reward += float(reward[index])
            last = info
            if ended[index] and self._autoreset == AutoresetMode.SAME_STEP:
                last = info.get("final_info", info)
            self._add_terms(episode.reward_terms, last.get("reward_terms"), index)
            self._add_terms(episode.safety, last.get("safety"), index)
            if ended[index]:
                episode.terminated = bool(terminated[index])
                drawn = last.get("randomization") or {}
                episode.randomization = {
                    name: float(value[index] if self.is_vector else value)
                    for name, value in drawn.items()
                    if not name.startswith("_")
                }
                self.finished.append(episode)
                self._episodes[index] = Episode()

    def _add_terms(self, sums: dict[str, float], terms: Mapping[str, Any] | None, index: int | np.integer) -> None:
        for name, value in (terms or {}).items():
            if not name.startswith("_"):  # Gymnasium's vector info says under `_name` who has a value at all
                sums[name] = sums.get(name, 0.0) + float(value[index] if self.is_vector else value)

    @staticmethod
    def _check_finite(name: str, array: Any) -> None:
        if not np.isfinite(array).all():
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise InvalidInput(f"{name}{list(where)} is {np.asarray(array)[where]}; all numbers must be finite")

    def take_finished(self) -> list[Episode]:
        """The episodes that ended since the last call."""
        finished, self.finished = self.finished, []
        return finished

    # -- snapshots ----------------------------------------------------------------------------------------------------

    @cached_property
    def has_snapshots(self) -> bool:
        """Whether the environment can be saved at any step; asked after the first `restart`.

        It must offer `snapshot() -> dict` and `restore(dict)`, and its wrappers must have no state that we do not know.
        """
        layer: Any = self.env
        while isinstance(layer, gymnasium.Wrapper | VectorWrapper):
            if type(layer) not in (OrderEnforcing, PassiveEnvChecker, TimeLimit):
                return False
            layer = layer.env
        if not (callable(getattr(layer, "snapshot", None)) and callable(getattr(layer, "restore", None))):
            return False
        try:
            layer.snapshot()
        except ConfigurationError:  # offered, but not by this robot
            return False
        return True

    def _time_limits(self) -> list[TimeLimit]:
        layer: Any = self.env
        limits = []
        while isinstance(layer, gymnasium.Wrapper):
            if isinstance(layer, TimeLimit):
                limits.append(layer)
            layer = layer.env
        return limits

    def state(self) -> State:
        """The books, and with `has_snapshots` the environments in the middle of their episodes too."""
        state = State(values={"finished": [vars(episode) for episode in self.finished]})
        if self.has_snapshots:
            state.arrays = {"observation": self.observation.copy(), "resetting": self._resetting.copy()}
            state.values["episodes"] = [vars(episode) for episode in self._episodes]
            state.values["elapsed"] = [limit._elapsed_steps for limit in self._time_limits()]
            snapshot = State.of_tree(self.env.unwrapped.snapshot())  # type: ignore[union-attr]
            return State.join({"books": state, "snapshot": snapshot})
        return State.join({"books": state})

    def load_state(self, state: State, seed: int) -> None:
        """Continues the episodes of a snapshot; without one starts new episodes from `seed`.

        Raises:
            StorageError: there is a snapshot but this environment takes none.
        """
        books, snapshot = state.part("books"), state.part("snapshot")
        self.restart(seed)
        self.finished = [Episode(**values) for values in books.values["finished"]]
        if "episodes" not in books.values:
            return
        if not self.has_snapshots:
            raise StorageError("the checkpoint holds a snapshot of the environment, which this environment cannot take")
        self.env.unwrapped.restore(snapshot.tree())  # type: ignore[union-attr]
        for limit, elapsed in zip(self._time_limits(), books.values["elapsed"], strict=True):
            limit._elapsed_steps = elapsed
        self.observation = books.arrays["observation"].copy()
        self._resetting = books.arrays["resetting"].copy()
        self._episodes = [Episode(**values) for values in books.values["episodes"]]
