"""The doctor's checks of how a robot answers when each joint in turn is bent a little: pure functions over a window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardware.finding import Finding, joints_named, judged
from hardware.window import Window
from hardware.wiring import Answers, WiringFault, identify
from robot_rl.robot import RobotState
from robot_rl.spec import RobotSpec

Array = NDArray[np.floating]

AVERAGED = 0.2
"""s of readings averaged before a bend and at its height."""
LEAP = 0.15
"""rad that a joint may stir when it is first told to stay where it is."""
_STIRS = 0.04
"""rad that a joint moves beyond its noise."""
_LONGEST = 0.5
"""s, longest delay that is sought."""
_LATE = 0.06
"""s beyond a control tick and a half, from which commands or readings are late."""
_SLUGGISH = 0.15
"""s that a leg may take to bend under its load."""


@dataclass(frozen=True)
class Bend:
    """One joint went up, stayed, and came back; times by the window's clock."""

    joint: int
    amplitude: float
    """rad, signed."""
    began: float
    ended_height: float
    """s, when it was told to come back."""
    ended: float


def stirred(spec: RobotSpec, before: Array, now: Array, leap: float = LEAP) -> Finding | None:
    """What a robot did wrong that was told to stay where it is.

    Args:
        spec: the robot.
        before: (n,), rad, where its joints were read, which is what was commanded.
        now: (n,), rad.
        leap: rad that a joint may stir.

    Returns:
        A finding, or None where it stays.
    """
    moved = now - before
    wild = np.flatnonzero(~(np.abs(moved) <= leap))  # also what is no number
    if not wild.size:
        return None
    names = spec.joint_names
    found = joints_named(f"{names[j]} went {moved[j]:+.2f} rad" for j in wild)
    clues: dict[str, None] = {}
    for j in wild:
        if abs(before[j]) > LEAP and moved[j] * before[j] < 0.0:
            clues[f"{names[j]} counts the wrong way, its motor or its reading"] = None
        # One leaps first, but both go where the other is.
        apart = before - before[j]
        trading = (np.abs(apart) > LEAP) & (moved[j] * apart > 0.0) & (moved * apart < 0.0) & (np.abs(moved) > _STIRS)
        for k in np.flatnonzero(trading):
            clues[f"{names[min(j, k)]} and {names[max(j, k)]} are exchanged, their motors or their readings"] = None
    advice = "one of: " + joints_named(clues or ["gains, limits, or the unit of commands?"], 6)
    return Finding("stays when told to", found, "stays where it is", "fail", advice, blocks=True)


def active_findings(window: Window, bends: Sequence[Bend]) -> list[Finding]:
    """All of them."""
    spec = window.spec
    rest = window.mean_state(bends[0].began - AVERAGED, bends[0].began)
    if rest is None or len(bends) < spec.joints:
        return [Finding("bends", "not all joints were bent", "every joint", "unknown")]
    answered = answers(window, bends)
    if answered is None:
        advice = "the robot's topics break off now and then: a cable, the network, a busy computer?"
        return [Finding("bends", "no joint states before or at the height of a bend", "some", "unknown", advice)]
    found = [*_wiring(window, answered, rest)]
    mixed = {joint for finding in found if finding.verdict == "fail" for joint in finding.found.split()}
    found += [*_amounts(spec, bends, answered, mixed)]
    found += [*_velocity(window, bends), *_delay(window, bends, mixed)]
    return found


def answers(window: Window, bends: Sequence[Bend]) -> Answers | None:
    """What each bend changed; None where the joints were not heard before or at the height of one."""
    rows = []
    for bend in bends:
        before = window.mean_state(bend.began - AVERAGED, bend.began)
        after = window.mean_state(bend.ended_height - AVERAGED, bend.ended_height)
        rows.append((before, after))

    def change(name: str) -> Array | None:
        parts = [(getattr(a, name), getattr(b, name)) for a, b in rows if a is not None and b is not None]
        if len(parts) < len(rows) or any(a is None or b is None for a, b in parts):
            return None
        return np.array([b - a for a, b in parts])

    position = change("joint_position")
    if position is None:
        return None
    oriented = all(a is not None and a.orientation_xyzw is not None for row in rows for a in row)
    return Answers(
        amplitude=np.array([bend.amplitude for bend in bends]),
        joint_position=position,
        joint_effort=change("joint_effort"),
        gravity=change("gravity") if oriented else None,
        contacts=change("contacts"),
    )


def _wiring(window: Window, answered: Answers, rest: RobotState) -> Iterator[Finding]:
    judgement = identify(window.spec, rest, answered)
    expected = "each name its own joint"
    for fault in judgement.faults:
        yield Finding("wiring", str(fault), expected, "fail", _cure(fault))
    if not judgement.faults:
        yield Finding("wiring", "every joint answers to its name, the right way", expected, "ok")
    if not judgement.whole:
        found = "names exchanged, or signs turned, in motors and readings at once"
        advice = "no three standing feet with contacts tell: look whether the joint that moves is the one that is named"
        yield Finding("wiring, both ways", found, "cannot be told on this robot", "unknown", advice)
    elif judgement.alike:
        pairs = joints_named(f"{a} and {b}" for a, b in judgement.alike)
        advice = "they move a standing robot alike: lift it and look which one moves"
        yield Finding("wiring, alike", f"an exchange of {pairs}", "would not show", "unknown", advice)


def _cure(fault: WiringFault) -> str:
    if fault.kind == "flip":
        return "turn its sign in the driver, or its polarity"
    return "exchange the plugs, the bus addresses or the names in the driver"


def _amounts(spec: RobotSpec, bends: Sequence[Bend], answered: Answers, mixed: set[str]) -> Iterator[Finding]:
    """Whether each joint moves about as far as told."""
    share = np.array([answered.joint_position[k, bend.joint] / bend.amplitude for k, bend in enumerate(bends)])
    names = [spec.joint_names[bend.joint] for bend in bends]
    good = True
    for name, part in zip(names, share, strict=True):
        if name in mixed:
            continue
        if abs(part) < 0.1:
            advice = "motor without power, jammed, or the joint carries too much for its gains"
            yield Finding("amount", f"{name} moves {part:.0%} of what is told", "most of it", "fail", advice)
            good = False
        elif part > 1.7:
            advice = "degrees for radians, or a gear ratio" if part > 20 else "a gear ratio?"
            yield Finding("amount", f"{name} moves {part:.1f} times as far as told", "as far", "fail", advice)
            good = False
    if good:
        yield Finding("amount", f"{share.min():.0%} to {share.max():.0%} of what is told", "most of it", "ok")


def _velocity(window: Window, bends: Sequence[Bend]) -> Iterator[Finding]:
    """Whether velocities are the slope of positions: their integral over each half of a bend is the way covered."""
    times, _, velocity, _ = window.joints()
    expected = "about 1 times the way covered"
    told = way = 0.0
    for bend in bends:
        turns = (bend.began, bend.ended_height, bend.ended)
        states = [window.mean_state(turn - AVERAGED, turn) for turn in turns]
        for k in (0, 1):
            # Between the middles of the means.
            rows = (times >= turns[k] - 0.5 * AVERAGED) & (times <= turns[k + 1] - 0.5 * AVERAGED)
            first, last = states[k], states[k + 1]
            if rows.sum() < 5 or first is None or last is None:
                continue
            moved = float((last.joint_position - first.joint_position)[bend.joint])
            v = velocity[rows, bend.joint]
            told += moved * float((0.5 * (v[1:] + v[:-1]) * np.diff(times[rows])).sum())
            way += moved**2
    if way == 0.0 or not np.isfinite(told):
        yield Finding("unit of velocities", "no velocities", expected, "unknown")
        return
    ratio = told / way
    in_degrees = 20.0 < ratio < 100.0
    advice = "degrees a second: convert in the driver" if in_degrees else "another unit or sign, or too slow a filter"
    yield judged(0.3 < ratio < 2.0, "unit of velocities", f"integral {ratio:.2f} times the way", expected, advice)


def _delay(window: Window, bends: Sequence[Bend], mixed: set[str]) -> Iterator[Finding]:
    """How long after a command the robot follows.

    A leg that carries weight bends slowly, but the torque of its joint answers at once: the command that a joint
    follows is its position plus (torque + kd velocity) / kp. Where torques are not told, positions alone must do.
    """
    spec = window.spec
    times, position, velocity, effort = window.joints()
    when = np.array([time for time, _ in window.commands])
    commands = np.array([command for _, command in window.commands])
    lags = np.arange(0.0, _LONGEST, 0.005)
    followed = position if effort is None else position + (effort + spec.kd * velocity) / spec.kp
    found = []
    for bend in bends:
        rows = (times >= bend.began - AVERAGED) & (times <= bend.ended)
        signal = followed[rows, bend.joint]
        if spec.joint_names[bend.joint] in mixed or len(signal) < 10 or np.ptp(signal) < 0.2 * abs(bend.amplitude):
            continue
        alike = [np.corrcoef(np.interp(times[rows] - lag, when, commands[:, bend.joint]), signal)[0, 1] for lag in lags]
        best = int(np.argmax(alike))
        if alike[best] > 0.7:
            found.append(lags[best])
    if not found:
        yield Finding("delay", "no joint followed clearly", "", "unknown")
        return
    lag = float(np.median(found))
    allowed = 1.5 / spec.control_rate + _LATE
    if effort is None:
        allowed += float(np.median(spec.kd / spec.kp)) + (_SLUGGISH if spec.base == "floating" else 0.0)
    late = window.mean_age()
    where = f"; readings are {late:.2f} s old on arrival if clocks agree" if late is not None and late > 0.05 else ""
    advice = f"a policy cannot balance with that{where}; look at queues, network and driver"
    yield judged(lag < allowed, "delay", f"{lag:.3f} s from command to reading", f"below {allowed:.2f} s", advice)
