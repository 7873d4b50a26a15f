"""Skills: what a finished run brings to a composition, and whether several of them fit together.

Averaging Q-functions means something only where all were learnt for the same robot, from the same observations, with
the same action map, discount and handling of the temperature. What the skills' tasks reward may differ, and should.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.export import action_part, plain, robot_part
from robot_rl.algorithms.energy_policy import EnergyPolicy
from robot_rl.algorithms.networks import Actor, Critics
from robot_rl.errors import ConfigurationError
from robot_rl.task import Task
from robot_rl.training.normalizer import Normalizer

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Skill:
    """One learnt policy with its Q-functions."""

    name: str
    """By which a report and a file call it."""
    actor: Actor | EnergyPolicy
    critics: Critics
    """Q is the least of them."""
    normalizer: Normalizer
    alpha: float
    """Temperature at the end of training, > 0, reward units per nat."""
    discount: float
    task: Task
    algorithm: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the algorithm."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Steps, seed, command: whatever the run recorded."""

    @classmethod
    def of_learner(
        cls,
        learner: Any,
        task: Task,
        name: str,
        settings: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
    ) -> Skill:
        """The skill of a learner.

        Args:
            learner: SAC, soft Q-learning, or another one with critics, a temperature, and a Gaussian or an energy-based
                actor.
            task: what it was trained on.
            name: of the skill.
            settings: of the algorithm; the learner's own by default.
            training: what the run recorded.

        Raises:
            ConfigurationError: the learner has an actor of another kind, no critics, or no temperature.
        """
        known = isinstance(learner.actor, (Actor, EnergyPolicy))
        if not known or not isinstance(getattr(learner, "critics", None), Critics) or not hasattr(learner, "alpha"):
            raise ConfigurationError(
                f"skill {name!r}: a policy of {learner.name!r} cannot be composed; what is needed are critics, a "
                "temperature and an actor as 'sac' or 'soft_q' have them, with neither 'residual' nor "
                "'batch_renorm_critic'"
            )
        own = asdict(learner.settings) if settings is None else dict(settings)
        return cls(
            name,
            learner.policy,
            learner.critics,
            learner.normalizer,
            float(learner.alpha),
            float(learner.settings.discount),
            task,
            learner.name,
            plain(own),
            plain(training or {}),
        )

    def terms(self) -> dict[str, Any]:
        """What has to be equal in all skills of a composition, as nested values that a person can compare."""
        spec, layout = self.task.spec, self.task.layout
        robot = asdict(robot_part(spec))
        robot.pop("digest")  # of the whole file, in which the simulation is described too
        robot["joints"] = {joint["name"]: joint for joint in robot["joints"]}
        return {
            "robot": robot,
            "action map": asdict(action_part(self.task)),
            "observation": {
                "size": layout.size,
                "entries": list(layout.labels),
                "units": {entry.name: entry.unit for entry in layout.entries},
            },
            "goal": list(self.task.goal_labels),
            "algorithm": self.algorithm,
            "discount": self.discount,
            "temperature": self._temperature(),
        }

    def _temperature(self) -> dict[str, Any]:
        """How the temperature came about: learnt for a target entropy, or fixed at a value."""
        if self.settings.get("temperature_learning_rate", 0.0) > 0.0:
            target = self.settings.get("target_entropy")
            return {
                "kind": "learnt",
                "target_entropy": -float(self.task.spec.action.size) if target is None else target,
            }
        return {"kind": "fixed", "value": self.alpha}


def check_skills(skills: Sequence[Skill]) -> None:
    """Refuses skills that do not fit together. One skill alone is allowed; its composition is itself.

    Raises:
        ConfigurationError: there is none, two have one name, or two differ; names the first difference and both
            values.
    """
    if not skills:
        raise ConfigurationError("a composition needs at least one skill")
    names = [skill.name for skill in skills]
    if len(set(names)) < len(names):
        raise ConfigurationError(f"the skills need names of their own, got: {', '.join(names)}")
    first, wanted = skills[0], skills[0].terms()
    for skill in skills[1:]:
        found = _difference(wanted, skill.terms(), "")
        if found:
            what, ours, theirs = found
            raise ConfigurationError(
                f"skills cannot be composed, they differ in {what}: {ours} for {first.name!r}, "
                f"{theirs} for {skill.name!r}"
            )


def goal_ranges(skills: Sequence[Skill]) -> dict[str, tuple[float, float]]:
    """From the least to the greatest goal that any of the skills saw, by label."""
    ranges: dict[str, tuple[float, float]] = {}
    for skill in skills:
        for label, (low, high) in getattr(skill.task, "goal_ranges", {}).items():
            least, greatest = ranges.get(label, (low, high))
            ranges[label] = (float(min(least, low)), float(max(greatest, high)))
    return ranges


def goals_apart(skills: Sequence[Skill]) -> list[str]:
    """A sentence for every component of the goal that the skills saw in different ranges."""
    found = []
    for label in skills[0].task.goal_labels:
        seen = {skill.name: getattr(skill.task, "goal_ranges", {}).get(label) for skill in skills}
        if len({None if pair is None else tuple(map(float, pair)) for pair in seen.values()}) > 1:
            ranges = ", ".join(f"{_range(pair)} for {name!r}" for name, pair in seen.items())
            found.append(
                f"the skills are all asked for one goal, but saw {label!r} in different ranges: {ranges}; outside of "
                "its own a skill is guessing"
            )
    return found


def _range(pair: tuple[float, float] | None) -> str:
    if pair is None:
        return "an unknown one"
    return f"{pair[0]:g}" if pair[0] == pair[1] else f"{pair[0]:g} to {pair[1]:g}"


def _difference(ours: Any, theirs: Any, where: str) -> tuple[str, str, str] | None:
    """The first place where two nested values differ: its name, and both values as text."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        keys = [*ours, *(key for key in theirs if key not in ours)]
        inner = ((f"{where}.{key}" if where else str(key), key) for key in keys)
        found = (_difference(ours.get(key), theirs.get(key), place) for place, key in inner)
        return next((item for item in found if item), None)
    both_rows = isinstance(ours, (list, tuple)) and isinstance(theirs, (list, tuple))
    if both_rows and len(ours) == len(theirs):
        found = (_difference(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(ours, theirs, strict=True)))
        return next((item for item in found if item), None)
    return None if ours == theirs else (where, _shown(ours), _shown(theirs))


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "something"
    if isinstance(value, (list, tuple)):
        return f"({', '.join(map(str, value))})" if len(value) <= 6 else f"{len(value)} values"
    return f"{value:g}" if isinstance(value, float) else repr(value)
