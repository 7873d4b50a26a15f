"""What acts where the learner is not: it rolls out with the weights it is sent, and sends what it lived through.

An `Order` goes one way: weights, and how long to act by them. A `Chunk` comes back: the transitions, and which weights
acted. `robot_rl.training.pipeline` has one worker in a process beside the learner, `robot_rl.training.ray_workers` many
on many machines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch

from robot_rl.algorithms.learner import Learner
from robot_rl.algorithms.network_learner import NetworkLearner
from robot_rl.algorithms.on_policy import OnPolicy
from robot_rl.errors import ConfigurationError, InvalidInput
from robot_rl.observation_parts import ObservationParts
from robot_rl.training.collector import Collector, Environment, Episode, Transitions
from robot_rl.training.state import State, copy_into


@dataclass(frozen=True)
class Order:
    """How to act for a while."""

    weights: Mapping[str, np.ndarray]
    """See `acting_weights`."""
    version: int
    """Of the weights: how many steps the learner had learnt from."""
    ticks: int
    """K, times that every environment is stepped."""
    random: np.ndarray
    """Actions for the first R <= K ticks, which are random, (R, N, A)."""
    to_end: bool = False
    """Whether to come back sooner where all episodes have just ended."""


@dataclass(frozen=True)
class Workplace:
    """What a worker acts in."""

    observation_size: int
    action_size: int
    count: int
    """N, environments in step."""
    parts: ObservationParts
    terms: tuple[str, ...]
    """See `Collector`."""


@dataclass(frozen=True)
class Chunk:
    """What K ticks of N environments gave."""

    rows: Transitions
    """Of all ticks in their order, (R, ...)."""
    ends: np.ndarray
    """Number of rows up to the end of each tick, (K,) int64; a tick in which all environments only reset has none."""
    episodes: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """Those that ended, each with its tick."""
    version: int = 0
    """Of the weights that acted."""
    at_start: bool = False
    """Whether all environments stand at the start of an episode after it."""

    def tick(self, index: int) -> tuple[Transitions, list[Episode]]:
        """Transitions of one tick, and the episodes that ended in it."""
        start = int(self.ends[index - 1]) if index else 0
        rows = [getattr(self.rows, part.name)[start : self.ends[index]] for part in fields(Transitions)]
        return Transitions(*rows), [Episode(**values) for tick, values in self.episodes if tick == index]

    def check(self, place: Workplace, sender: str) -> None:
        """Refuses what does not fit; what another process sends may be of other sizes, or damaged.

        Args:
            place: what it should come from.
            sender: for errors.

        Raises:
            InvalidInput: an array has another shape or type, a number is not finite, or counts contradict each other.
        """
        count = int(self.ends[-1]) if self.ends.ndim == 1 and len(self.ends) else -1
        widths = {"observation": place.observation_size, "next_observation": place.observation_size}
        widths |= {"action": place.action_size, "values": len(place.terms)}
        for part in fields(Transitions):
            array = getattr(self.rows, part.name)
            shape = (count, widths[part.name]) if part.name in widths else (count,)
            if array.shape != shape or array.dtype.kind not in "fbi":
                raise InvalidInput(f"{sender} sent {part.name} of {array.dtype} {array.shape}, expected {shape}")
            if not np.isfinite(array).all():
                raise InvalidInput(f"{sender} sent a number in {part.name} that is not finite")
        if (np.diff(self.ends, prepend=0) < 0).any() or (np.diff(self.ends, prepend=0) > place.count).any():
            raise InvalidInput(f"{sender} sent ticks of other sizes than up to {place.count} environments")
        which = self.rows.environment
        if ((which < 0) | (which >= place.count)).any():
            raise InvalidInput(f"{sender} sent an environment that is not among its {place.count}")

    def state(self) -> State:
        """All of it, for a checkpoint."""
        arrays = {part.name: getattr(self.rows, part.name) for part in fields(Transitions)}
        values = {"episodes": self.episodes, "version": self.version, "at_start": self.at_start}
        return State(arrays={**arrays, "ends": self.ends}, values=values)

    @classmethod
    def of_state(cls, state: State) -> Chunk | None:
        """What `state` saved; None where there was nothing."""
        if "ends" not in state.arrays:
            return None
        rows = Transitions(**{part.name: state.arrays[part.name] for part in fields(Transitions)})
        episodes = [(tick, values) for tick, values in state.values["episodes"]]
        return cls(rows, state.arrays["ends"], episodes, state.values["version"], state.values["at_start"])


def acting_weights(learner: Learner) -> dict[str, np.ndarray]:
    """What a learner's actions depend on, copied: its actor and what normalises observations, by name."""
    found = {name: tensor.detach().cpu().numpy().copy() for name, tensor in learner.actor.state_dict().items()}
    normalizer = learner.normalizer
    return {**found, "normalizer/offset": normalizer.offset.copy(), "normalizer/scale": normalizer.scale.copy()}


def take_weights(learner: Learner, weights: Mapping[str, np.ndarray]) -> None:
    """Lets a learner act by the weights of another one of the same kind.

    Raises:
        StorageError: they are of other sizes.
    """
    normalizer = learner.normalizer
    targets = {
        **learner.actor.state_dict(),
        "normalizer/offset": torch.from_numpy(normalizer.offset),
        "normalizer/scale": torch.from_numpy(normalizer.scale),
    }
    copy_into(targets, {name: torch.from_numpy(array) for name, array in weights.items()}, "weights to act by")


def check_takes_others_steps(learner: Learner) -> None:
    """Refuses learners that cannot learn from what another process, with older weights, has done.

    Raises:
        ConfigurationError: it is one of those.
    """
    if isinstance(learner, OnPolicy) or not isinstance(learner, NetworkLearner):
        raise ConfigurationError(
            f"{type(learner).__name__} learns from its own steps; only learners with a replay can be parted from what "
            "acts: trainer.pipeline and workers on Ray are not for it"
        )


class RolloutWorker:
    """Acts in an environment of its own by weights that it is sent."""

    def __init__(
        self,
        make_env: Callable[[], Environment],
        make_learner: Callable[[], Learner],
        seed: int,
        keep_terms: bool = False,
    ) -> None:
        """Makes environment and actor.

        Args:
            make_env: makes the environment, or several in step.
            make_learner: makes the learner, of which the actor is used here.
            seed: of what explores.
            keep_terms: see `TrainerSettings`.
        """
        self._collector = Collector(make_env())
        if keep_terms:
            self._collector.keep_terms()
        self._learner = make_learner()
        check_takes_others_steps(self._learner)
        self._random = self._learner._generator  # type: ignore[attr-defined]
        self._random.manual_seed(seed)

    def workplace(self) -> Workplace:
        """See `Workplace`."""
        own = self._collector
        return Workplace(own.observation_size, own.action_size, own.count, own.parts, own.terms)

    def restart(self, seed: int, exploration: int | None = None) -> dict[str, bool]:
        """New episodes from `seed`; those in progress are cut short.

        Args:
            seed: of the environments.
            exploration: seed of what explores; None to go on with its random numbers.
        """
        if exploration is not None:
            self._random.manual_seed(exploration)
        self._collector.restart(seed)
        return self._standing()

    def roll_out(self, order: Order) -> Chunk:
        """Acts as ordered."""
        take_weights(self._learner, order.weights)
        rows: list[Transitions] = []
        episodes = []
        while len(rows) < order.ticks and not (order.to_end and rows and self._collector.at_start):
            tick = len(rows)
            random = tick < len(order.random)
            action = order.random[tick] if random else self._learner.act(self._collector.observation)  # (N, A)
            rows.append(self._collector.step(action))
            episodes += [(tick, vars(episode)) for episode in self._collector.take_finished()]
        ends = np.cumsum([len(one.reward) for one in rows], dtype=np.int64)
        parts = [np.concatenate([getattr(one, part.name) for one in rows]) for part in fields(Transitions)]
        return Chunk(Transitions(*parts), ends, episodes, order.version, self._collector.at_start)

    def state(self) -> State:
        """What only this worker knows: its environment and its random numbers."""
        own = State(arrays={"random": self._random.get_state().numpy().copy()})
        return State.join({"collector": self._collector.state(), "own": own})

    def load_state(self, state: State, seed: int) -> dict[str, bool]:
        """Goes on from `state`; an environment without snapshots starts afresh from `seed`."""
        self._random.set_state(torch.from_numpy(state.part("own").arrays["random"]))
        self._collector.load_state(state.part("collector"), seed)
        return self._standing()

    def close(self) -> None:
        """Closes the environment."""
        self._collector.env.close()

    def _standing(self) -> dict[str, bool]:
        return {"at_start": self._collector.at_start, "has_snapshots": self._collector.has_snapshots}
