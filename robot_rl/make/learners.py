"""Learners by name; torch is imported with the first that is made."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.make.packages import missing_package
from robot_rl.privileged import Privileged
from robot_rl.settings import from_mapping
from robot_rl.task import Task

if TYPE_CHECKING:
    import gymnasium

    from robot_rl.algorithms.learner import Learner


@dataclass(frozen=True)
class Algorithm:
    """Where a learner is found; torch is imported with it, so not before it is needed."""

    module: str
    learner: str
    settings: str
    description: str
    replay: bool = True
    """Whether it learns from a replay; others from their own last steps alone, and many more of them."""

    def load(self, name: str) -> Any:
        """A member of the algorithm's module."""
        try:
            return getattr(importlib.import_module(self.module), name)
        except ModuleNotFoundError as error:
            raise missing_package(error, "train") from error


ALGORITHMS: Mapping[str, Algorithm] = {
    "sac": Algorithm(
        "robot_rl.algorithms.sac", "SAC", "SACSettings", "soft actor-critic, twin critics, automatic temperature"
    ),
    "sac_value": Algorithm(
        "robot_rl.algorithms.sac_value",
        "SACValue",
        "SACValueSettings",
        "soft actor-critic as first published: a value network, one critic (v1) or two (v2), a reward scale",
    ),
    "soft_q": Algorithm(
        "robot_rl.algorithms.soft_q",
        "SoftQ",
        "SoftQSettings",
        "soft Q-learning: a sampler network that follows exp(Q / alpha), for policies of several modes",
    ),
    "td3": Algorithm(
        "robot_rl.algorithms.td3", "TD3", "TD3Settings", "DDPG with twin critics, a delayed actor, smoothed targets"
    ),
    "ddpg": Algorithm(
        "robot_rl.algorithms.ddpg", "DDPG", "DDPGSettings", "a deterministic actor that climbs its critic"
    ),
    "ppo": Algorithm(
        "robot_rl.algorithms.ppo",
        "PPO",
        "PPOSettings",
        "proximal policy optimisation, clipped or with a price on KL",
        replay=False,
    ),
    "trpo": Algorithm(
        "robot_rl.algorithms.trpo",
        "TRPO",
        "TRPOSettings",
        "natural gradient steps that keep to a limit of KL",
        replay=False,
    ),
    "npg": Algorithm(
        "robot_rl.algorithms.npg",
        "NPG",
        "NPGSettings",
        "natural policy gradient with steps of given KL",
        replay=False,
    ),
    "acktr": Algorithm(
        "robot_rl.algorithms.acktr",
        "ACKTR",
        "ACKTRSettings",
        "natural gradient of actor and critic by Kronecker factors, within a trust region",
        replay=False,
    ),
    "a3c": Algorithm(
        "robot_rl.algorithms.a3c",
        "A3C",
        "A3CSettings",
        "processes with a robot each that share one policy",
        replay=False,
    ),
    "reinforce": Algorithm(
        "robot_rl.algorithms.reinforce",
        "Reinforce",
        "ReinforceSettings",
        "policy gradient with a critic and entropy, or its importance-sampled surrogate",
        replay=False,
    ),
}
PARTED = ("sac",)
"""Algorithms for observations of several parts: pictures, and what only critics get."""


def algorithm_of(name: str) -> Algorithm:
    """An algorithm by name; raises UnknownName with those that exist."""
    if name not in ALGORITHMS:
        raise UnknownName.of("algorithm", name, ALGORITHMS)
    return ALGORITHMS[name]


def make_learner(
    algorithm: str,
    task: Task | gymnasium.Env,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    privileged: Privileged | None = None,
    encoder: Mapping[str, Any] | None = None,
) -> Learner:
    """A learner for a task, its observations normalised by the typical values that the layout gives.

    Args:
        algorithm: one of ALGORITHMS.
        task: what it learns; or an environment without a robot, whose observations it takes as they are.
        settings: of the algorithm that differ from their defaults, by name.
        seed: of its weights and draws.
        privileged: what critics get beside; see `make_privileged`.
        encoder: settings of the network that looks at pictures, by name, where the task observes a camera.

    Raises:
        UnknownName: no such algorithm or setting; lists those that exist.
        ConfigurationError: the algorithm is not for pictures, or not for critics that know more.
    """
    known = algorithm_of(algorithm)
    chosen = from_mapping(known.load(known.settings), settings or {}, algorithm)
    if isinstance(task, Task) and (task.camera or privileged):
        return _parted_learner(algorithm, task, chosen, seed, privileged, encoder or {})
    from robot_rl.training.normalizer import Normalizer

    if isinstance(task, Task):
        sizes = (task.layout.size, task.spec.action.size)
        normalizer = Normalizer(task.layout.offset, task.layout.scale)
    else:
        shapes = (task.observation_space.shape, task.action_space.shape)
        if None in shapes or any(len(shape) != 1 for shape in shapes if shape is not None):
            raise ConfigurationError(f"a learner takes vectors of observations and actions, not shapes {shapes}")
        sizes = tuple(shape[0] for shape in shapes if shape is not None)  # type: ignore[assignment]
        normalizer = Normalizer.identity(sizes[0])
    return known.load(known.learner)(*sizes, chosen, seed, normalizer)


def _parted_learner(
    algorithm: str,
    task: Task,
    settings: Any,
    seed: int,
    privileged: Privileged | None,
    encoder: Mapping[str, Any],
) -> Learner:
    """The learner of observations of several parts."""
    if algorithm not in PARTED:
        raise ConfigurationError(
            f"algorithm {algorithm!r} has no use for a camera or for what only the simulation knows; "
            f"algorithms that have: {', '.join(PARTED)}"
        )
    import numpy as np

    from robot_rl.algorithms.encoder import EncoderSettings
    from robot_rl.algorithms.parted_sac import PartedSAC
    from robot_rl.training.normalizer import Normalizer

    parts = replace(task.parts, privileged=privileged.size if privileged else 0)
    middle = np.full(parts.pixels, 127.5)  # pixels to [-1, 1]
    more = (privileged.offset, privileged.scale) if privileged else (np.zeros(0), np.zeros(0))
    normalizer = Normalizer(
        np.concatenate([task.layout.offset, middle, more[0]]), np.concatenate([task.layout.scale, middle, more[1]])
    )
    looks = from_mapping(EncoderSettings, encoder, "encoder")
    return PartedSAC(parts, task.spec.action.size, settings, seed, normalizer, looks)
