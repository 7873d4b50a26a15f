"""Identifies a simulated robot from logs of a real one: which numbers make the simulation move as it did.

First the joints and the delay, from logs of a robot that is held, where nothing else acts on them; then what its body
carries, from logs of it on its feet, with the joints as found. What is not known of the first widens the second.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import CheckFailed, ConfigurationError
from robot_rl.motion_log import MotionLog
from robot_rl.spec import RobotSpec
from sim.identification_fit import Progress
from sim.identification_parameters import KINDS, OBSERVATION_DELAY, applicable, check_kinds
from sim.identification_stage import Stage
from sim.identified import Found, Identification

Array = NDArray[np.floating]

_DOUBTED = ("friction_loss", "damping")
"""What moves a standing robot otherwise than its file says, where nobody looked for it."""
_ON_TIME = 1e-6
"""s: readings that are late by less are not late; stamps are rounded."""
_STILL = 0.02
"""rad: a joint that covers less does not move."""


def identify(
    spec: RobotSpec,
    logs: Sequence[MotionLog],
    kinds: Sequence[str] | None = None,
    threads: int = 1,
    progress: Progress = lambda _: None,
) -> Identification:
    """Fits the simulation to logs.

    Args:
        spec: the robot.
        logs: of it, held or standing.
        kinds: what to identify, of KINDS; by default what the logs may show.
        threads: simulations at once.
        progress: told what is done.

    Returns:
        Every number with its interval, or why it is not known; and how well motion is simulated that was not fitted.

    Raises:
        UnknownName: no such kind.
        ConfigurationError: a log of another robot, too short, or with too little motion; a kind that no log shows.
    """
    check_kinds(kinds or ())
    logs = [log.ordered(spec) for log in logs]
    if not logs:
        raise ConfigurationError("an identification needs at least one log")
    if not kinds or any(kind in KINDS for kind in kinds):  # what is read off the stamps needs no motion
        for log in logs:
            _check_motion(log, spec)
    wanted = tuple(kinds) if kinds else tuple(name for name, kind in KINDS.items() if kind.by_default)
    if not kinds and any(log.effort is None for log in logs if log.base == "held"):
        # Without torques a gain acts like damping, inertia and delay together; it is what the controller was told.
        wanted = tuple(kind for kind in wanted if kind != "gains")
    stages: list[Stage] = []
    known: dict[str, float] = {}
    taken: set[str] = set()
    for base in ("held", "standing"):
        of_base = [log for log in logs if log.base == base]
        if not of_base:
            continue
        shown = [k for k in wanted if k in KINDS and k not in taken and (kinds or base in KINDS[k].bases)]
        # Friction that no held log was asked for, nor this one, is nevertheless not exactly what the file says.
        doubted = [kind for kind in _DOUBTED if base == "standing" and kind not in taken and kind not in shown]
        shown, doubted = (list(applicable(some, spec, base)) for some in (shown, doubted))
        if not shown:
            continue
        stage = Stage(spec, base, of_base, shown, doubted, known, threads, progress)
        stage.run(stages[-1] if stages else None)
        known |= stage.values
        taken |= {parameter.kind for parameter in stage.parameters}
        stages.append(stage)
    missing = [kind for kind in (kinds or ()) if kind in KINDS and kind not in taken]
    if missing:
        raise ConfigurationError(
            f"{', '.join(missing)}: robot {spec.name!r} has no part for it in {', '.join(log.source for log in logs)}; "
            f"log bases: {', '.join(sorted({log.base for log in logs}))}"
        )
    found = [one for stage in stages for one in stage.found()]
    delay, jitter = _observation_delay(logs)
    if kinds is None or OBSERVATION_DELAY in kinds:
        found.append(delay)
    # By default stamps alone are too little to call it an identification; whoever asks for them gets them.
    if not any(one.identified for one in found if kinds or one.name != delay.name):
        raise CheckFailed(
            f"nothing can be identified from {', '.join(log.source for log in logs)}: "
            + "; ".join(f"{one.name}: {one.reason}" for one in found[:3])
            + (f"; and {len(found) - 3} more" if len(found) > 3 else "")
        )
    written = {one.name: one.value for one in found if one.identified}
    validation = [one for stage in stages for one in stage.validate(written)]
    return Identification(
        robot=spec.name,
        found=tuple(found),
        validation=tuple(validation),
        correlation=_joined([stage.correlation() for stage in stages]),
        jitter=jitter,
        seconds=sum(stage.seconds for stage in stages),
    )


def _check_motion(log: MotionLog, spec: RobotSpec) -> None:
    """Refuses a log in which nothing moves.

    Raises:
        CheckFailed: names the joints and what cannot be identified.
    """
    moved = np.ptp(log.command, axis=0)
    if (moved < _STILL).all():
        names = ", ".join(log.joints)
        kinds = ", ".join(name for name, kind in KINDS.items() if log.base in kind.bases)
        raise CheckFailed(
            f"{log.source}: too little motion: no joint is told to move by {_STILL:g} rad or more (the most is "
            f"{moved.max():.3f} rad, {log.joints[int(moved.argmax())]}), so nothing of {kinds} can be identified; "
            f"joints: {names}; record with: robot-rl excite {spec.name}"
        )


def _observation_delay(logs: Sequence[MotionLog]) -> tuple[Found, float]:
    """The mean age of the readings by their stamps, and its deviation from reading to reading, s."""
    ages = [(log.age, len(log.time)) for log in logs if log.age is not None]
    name = f"{OBSERVATION_DELAY}.delay"
    if len(ages) < len(logs):
        reason = "collinear: without stamps by the program's clock it acts like actuation_delay.delay, which has both"
        return Found(name, "s", 0.0, np.nan, np.nan, np.nan, np.nan, reason), 0.0
    count = sum(weight for _, weight in ages)
    mean = float(sum(weight * age[0] for age, weight in ages) / count)
    jitter = float(np.sqrt(sum(weight * (age[1] ** 2 + (age[0] - mean) ** 2) for age, weight in ages) / count))
    mean, jitter = (value if abs(value) >= _ON_TIME else 0.0 for value in (mean, jitter))
    deviation = float(jitter / np.sqrt(count))
    low, high = max(0.0, mean - 1.96 * deviation), mean + 1.96 * deviation
    return Found(name, "s", 0.0, mean, deviation, low, high, note="by the stamps of the readings"), jitter


def _joined(parts: Sequence[tuple[tuple[str, ...], Array]]) -> tuple[tuple[str, ...], Array]:
    """Correlations of several stages as one matrix; between stages none is stated."""
    names = tuple(name for of, _ in parts for name in of)
    joined, at = np.zeros((len(names), len(names))), 0
    for of, matrix in parts:
        joined[at : at + len(of), at : at + len(of)] = matrix
        at += len(of)
    return names, joined
