"""The certificate of transfer: how much of its nominal return a policy keeps under each condition, and how surely."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import ConfigurationError
from robot_rl.evaluation import Evaluation
from robot_rl.section import Section

Array = NDArray[np.floating]

CONFIDENCE = 0.95
NOMINAL_SHARE = 0.7
"""Least share of nominal episodes that must go well, by the lower end of its interval: a policy that does nothing keeps
all of its return under any condition."""
_RESAMPLES = 10_000
_Z = 1.959964
"""Of a normal distribution, for CONFIDENCE."""

PASS, FAIL, UNSURE, NOT_RUN, NO_PART = "pass", "fail", "unsure", "not run", "does not apply"


@dataclass(frozen=True)
class Condition:
    """One way in which a robot may differ from its simulation."""

    name: str
    description: str
    threshold: float
    """Least share of the nominal return."""
    terms: tuple[Mapping[str, Any], ...] = ()
    """Randomisations; the first that the robot has parts for is taken."""
    other_engine: bool = False


@dataclass(frozen=True)
class Share:
    """A share with its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Finding:
    """How a policy did under one condition."""

    name: str
    description: str
    verdict: str
    """pass, fail, unsure (the interval holds the threshold: more episodes would tell), not run, does not apply."""
    threshold: float
    kept: Share | None = None
    """Share of the nominal return; of the nominal condition, share of episodes that went well."""
    completed: Share | None = None
    """Share of episodes that ran to their end."""
    success: Share | None = None
    """Share of episodes that succeeded, where the task has such a notion."""
    returns: tuple[float, ...] = ()
    """Of each episode."""
    figures: Mapping[str, float] | None = None
    terms: Mapping[str, Any] | None = None
    engine: str = ""
    diverged: int = 0
    """Episodes in which the simulation diverged; they count as failures, and one of them fails the condition."""
    reason: str = ""
    """Why it was not run, or why it fails whatever its interval says."""


def read_conditions(values: Any, where: str) -> tuple[Condition, ...]:
    """Reads conditions by name.

    Args:
        values: content of a file such as conditions.yaml.
        where: the file, for messages.

    Raises:
        ConfigurationError: a key is missing, unknown or has a wrong value.
    """
    top = Section(values, where)
    found = []
    for name in top.names():
        section = top.section(name)
        engine = section.choice("engine", ("other", "same"), "same") == "other"
        terms = section.value("terms", [])
        terms = [terms] if isinstance(terms, Mapping) else terms
        if not isinstance(terms, list) or not all(isinstance(one, Mapping) and one for one in terms):
            raise ConfigurationError(f"{section.where}.terms: expected a mapping of terms, or a list of them")
        if bool(terms) == engine:
            raise ConfigurationError(f"{section.where}: expected either terms or engine: other")
        threshold = section.number("threshold", 0.8, above=0.0)
        found.append(Condition(name, section.text("description", name), threshold, tuple(terms), engine))
        section.finish()
    if not found:
        raise ConfigurationError(f"{where}: expected at least one condition")
    return tuple(found)


def nominal_finding(evaluation: Evaluation, engine: str) -> Finding:
    """How the policy does where nothing differs: its episodes must go well for a certificate to mean anything."""
    well = went_well(evaluation)
    kept = proportion(int(well.sum()), len(well))
    return _finding("nominal", "as it was trained", NOMINAL_SHARE, kept, evaluation, None, engine)


def finding(
    condition: Condition, nominal: Evaluation, evaluation: Evaluation, terms: Mapping[str, Any] | None, engine: str
) -> Finding:
    """How the policy does under a condition, on the same starts and goals as in the nominal one."""
    kept = kept_share(score(nominal, nominal), score(evaluation, nominal))
    return _finding(condition.name, condition.description, condition.threshold, kept, evaluation, terms, engine)


def without(condition: Condition, verdict: str, reason: str) -> Finding:
    """A condition that was not measured."""
    return Finding(condition.name, condition.description, verdict, condition.threshold, reason=reason)


def overall(findings: Sequence[Finding]) -> bool:
    """Whether the certificate is given: every condition that applies was run and passed."""
    return all(one.verdict in (PASS, NO_PART) for one in findings)


def score(evaluation: Evaluation, nominal: Evaluation) -> Array:
    """What is compared, of each episode: the return; whether it went well where the nominal return is not above 0."""
    if np.mean([episode.reward for episode in nominal.episodes]) > 0.0:
        return np.array([episode.reward for episode in evaluation.episodes])
    return went_well(evaluation).astype(np.float64)


def went_well(evaluation: Evaluation) -> NDArray[np.bool_]:
    """(episodes,): success, or for a task without such a notion, running to the end."""
    return np.array([not e.ended_early if e.success is None else e.success for e in evaluation.episodes])


def kept_share(nominal: Array, found: Array) -> Share:
    """Ratio of two means over the same seeds, with a bootstrap interval.

    Args:
        nominal: (N,), by seed, of a mean above 0.
        found: (N,), by the same seeds.
    """
    if nominal.mean() <= 0.0:
        return Share(0.0, 0.0, 0.0)
    # Pairs are drawn together, so that what a seed does to both cancels.
    rows = np.random.default_rng(0).integers(len(nominal), size=(_RESAMPLES, len(nominal)))
    below = nominal[rows].mean(axis=1)
    ratios = found[rows].mean(axis=1)[below > 0.0] / below[below > 0.0]
    tail = 0.5 * (1.0 - CONFIDENCE)
    low, high = np.quantile(ratios, [tail, 1.0 - tail])
    return Share(float(found.mean() / nominal.mean()), float(low), float(high))


def proportion(count: int, of: int) -> Share:
    """A share of events with Wilson's interval."""
    share, spread = count / of, _Z**2 / of
    middle = (share + 0.5 * spread) / (1.0 + spread)
    half = _Z * math.sqrt(share * (1.0 - share) / of + 0.25 * spread / of) / (1.0 + spread)
    return Share(share, max(0.0, middle - half), min(1.0, middle + half))


def to_dict(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """JSON values."""
    return [asdict(one) for one in findings]


def _finding(
    name: str,
    description: str,
    threshold: float,
    kept: Share,
    evaluation: Evaluation,
    terms: Mapping[str, Any] | None,
    engine: str,
) -> Finding:
    count = len(evaluation.episodes)
    successes, diverged = evaluation.successes, evaluation.faults
    return Finding(
        name,
        description,
        FAIL if diverged else PASS if kept.low >= threshold else FAIL if kept.high < threshold else UNSURE,
        threshold,
        kept,
        proportion(evaluation.completed, count),
        None if successes is None else proportion(successes, count),
        tuple(episode.reward for episode in evaluation.episodes),
        dict(evaluation.summary()["figures"]),
        None if terms is None else dict(terms),
        engine,
        diverged,
        f"the simulation diverged in {diverged} of {count} episodes" if diverged else "",
    )
