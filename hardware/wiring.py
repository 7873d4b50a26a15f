"""Which motor and which encoder each joint's name is really wired to, from how the whole robot answers small bends.

Where only motors or only readings are exchanged, another reading follows than that of the joint commanded: that shows
at once. A name that is exchanged with another on both ways agrees with itself: what is commanded is read. What gives it
away is the rest of the robot. A bent leg tilts the base, shifts the weight between the feet and loads its neighbours,
each leg in its own way; `hardware.statics` says how. So every possible exchange and every flipped sign predicts another
answer, and the one that fits best is believed where it fits much better than the wiring as it should be.

Some exchanges cannot be told: where two joints move the standing robot in the same way, such as the left and the right
hip of a quadruped, and on robots without feet and contacts, such as a hand. `Judgement.alike` names them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hardware.statics import Response, standing_response
from robot_rl.robot import RobotState
from robot_rl.spec import RobotSpec

Array = NDArray[np.floating]
Index = NDArray[np.intp]

_EVIDENCE = 30.0
"""By how much a wiring must fit better than another, in squared errors of the expected size, to be believed."""
_MODEL_ERROR = 0.5
"""Of the linear statics, as a share of the size of what it predicts: joints rub, feet creep."""
_BOUND = 9.0
"""Largest squared error that counts, so that one joint that sticks does not outweigh all others."""
_FOLLOWS = 0.5
"""Share of a command from which a joint's reading follows it."""
_ROUNDS = 3
"""Most faults that are sought at once."""


@dataclass(frozen=True)
class Wiring:
    """Where each name leads: to joint `motors[name]` and `encoders[name]`, with signs; (n,) each."""

    motors: Index
    motor_signs: Array
    encoders: Index
    encoder_signs: Array

    @classmethod
    def right(cls, joints: int) -> Wiring:
        """As it should be."""
        order, signs = np.arange(joints), np.ones(joints)
        return cls(order, signs, order, signs)

    def changed(self, order: Index, signs: Array, way: str) -> Wiring:
        """With one more exchange and signs, on both ways or of motors or readings alone."""
        motors = (self.motors[order], self.motor_signs[order] * signs)
        encoders = (self.encoders[order], self.encoder_signs[order] * signs)
        if way == "motors":
            return Wiring(*motors, self.encoders, self.encoder_signs)
        if way == "readings":
            return Wiring(self.motors, self.motor_signs, *encoders)
        return Wiring(*motors, *encoders)


@dataclass(frozen=True)
class WiringFault:
    """One thing that is wrong."""

    kind: str
    """swap or flip."""
    way: str
    """both, motors, readings, or one where it is not known which."""
    joints: tuple[str, ...]

    def __str__(self) -> str:
        """As a person would say it."""
        what = {
            "both": "motors and readings",
            "motors": "the motors, not the readings",
            "readings": "the readings, not the motors",
            "one": "the motors or the readings, not both",
        }[self.way]
        if self.kind == "swap":
            return f"{self.joints[0]} and {self.joints[1]} are exchanged: {what}"
        return f"{self.joints[0]} counts the wrong way: {what}"


@dataclass(frozen=True)
class Answers:
    """What changed from before a bend to its height, one row for each joint that was commanded."""

    amplitude: Array
    """(n,), rad commanded."""
    joint_position: Array
    """(n, n)."""
    joint_effort: Array | None
    """(n, n), N m."""
    gravity: Array | None
    """(n, 3), of its direction in the base frame."""
    contacts: Array | None
    """(n, feet), N."""


@dataclass(frozen=True)
class Judgement:
    """What the answers say of the wiring."""

    faults: tuple[WiringFault, ...]
    alike: tuple[tuple[str, str], ...]
    """Pairs of joints whose exchange on both ways would not show."""
    whole: bool
    """Whether the robot's base and feet were asked, and not its joints alone."""


def identify(spec: RobotSpec, state: RobotState, answers: Answers) -> Judgement:
    """Finds the wiring that fits best.

    Args:
        spec: the robot.
        state: where it stood, as read.
        answers: to bends of every joint.
    """
    names, pairs = spec.joint_names, list(itertools.combinations(range(spec.joints), 2))
    whole = spec.legs is not None and answers.contacts is not None and bool((state.contacts > 1.0).sum() >= 3)
    wiring, faults = Wiring.right(spec.joints), []
    if not whole:
        found = tuple(fault for fault in _one_way(names, answers))
        return Judgement(found, tuple((names[a], names[b]) for a, b in pairs), False)
    for fault in _one_way(names, answers):
        ways = [(_misfit(spec, state, answers, changed), changed, way) for changed, way in _ways(names, wiring, fault)]
        (least, wiring, way), (second, _, _) = sorted(ways, key=lambda row: row[0])
        faults.append(replace(fault, way=way if second - least > _EVIDENCE else "one"))
    least = _misfit(spec, state, answers, wiring)
    for _ in range(_ROUNDS):
        tried = [(_misfit(spec, state, answers, changed), changed, fault) for fault, changed in _changes(names, wiring)]
        misfit, changed, fault = min(tried, key=lambda row: row[0])
        if misfit > least - _EVIDENCE:
            break
        least, wiring = misfit, changed
        faults.append(fault)
    return Judgement(tuple(faults), _alike(spec, state, answers), True)


def _one_way(names: tuple[str, ...], answers: Answers) -> list[WiringFault]:
    """Where readings do not follow the command of their own name."""
    moved = answers.joint_position / answers.amplitude[:, None]  # (commanded, read)
    found, seen = [], set()
    for joint, row in enumerate(moved):
        other = int(np.argmax(np.abs(row)))
        if other != joint and abs(row[other]) > _FOLLOWS and abs(row[other]) > 2.0 * abs(row[joint]):
            if frozenset((joint, other)) not in seen:
                found.append(WiringFault("swap", "one", (names[min(joint, other)], names[max(joint, other)])))
            seen.add(frozenset((joint, other)))
        elif row[joint] < -0.5 * _FOLLOWS:
            found.append(WiringFault("flip", "one", (names[joint],)))
    return found


def _ways(names: tuple[str, ...], wiring: Wiring, fault: WiringFault) -> Iterator[tuple[Wiring, str]]:
    """The wiring with a fault on one way, and which way."""
    joints = [names.index(joint) for joint in fault.joints]
    order, signs = np.arange(len(names)), np.ones(len(names))
    if fault.kind == "swap":
        order[joints] = order[joints[::-1]]
    else:
        signs[joints] = -1.0
    yield wiring.changed(order, signs, "motors"), "motors"
    yield wiring.changed(order, signs, "readings"), "readings"


def _changes(names: tuple[str, ...], wiring: Wiring) -> Iterator[tuple[WiringFault, Wiring]]:
    """The wiring with one more fault on both ways."""
    order, signs = np.arange(len(names)), np.ones(len(names))
    for a, b in itertools.combinations(range(len(names)), 2):
        exchanged = order.copy()
        exchanged[[a, b]] = b, a
        yield WiringFault("swap", "both", (names[a], names[b])), wiring.changed(exchanged, signs, "both")
    for a, name in enumerate(names):
        flipped = np.where(order == a, -1.0, 1.0)
        yield WiringFault("flip", "both", (name,)), wiring.changed(order, flipped, "both")


def _misfit(spec: RobotSpec, state: RobotState, answers: Answers, wiring: Wiring) -> float:
    """How badly a wiring predicts the answers: sum of squared errors by their expected size."""
    expected = _predicted(spec, state, answers, wiring)
    return sum(_distance(found, wanted, noise) for found, wanted, noise in expected)


def _alike(spec: RobotSpec, state: RobotState, answers: Answers) -> tuple[tuple[str, str], ...]:
    """Exchanges that predict hardly anything else than the wiring as it should be."""
    right = Wiring.right(spec.joints)
    expected = _predicted(spec, state, answers, right)
    found = []
    for fault, changed in _changes(spec.joint_names, right):
        if fault.kind == "swap":
            # As the robot would answer, and be read, with this fault: judged by what is expected without it.
            other = _predicted(spec, state, answers, changed)
            apart = sum(_distance(a[1], b[1], a[2]) for a, b in zip(other, expected, strict=True))
            if apart < 2.0 * _EVIDENCE:
                found.append((fault.joints[0], fault.joints[1]))
    return tuple(found)


def _predicted(
    spec: RobotSpec, state: RobotState, answers: Answers, wiring: Wiring
) -> list[tuple[Array, Array, float]]:
    """What was found, what a wiring predicts, and the sensor's noise; rows are the joints commanded."""
    encoders, signs = wiring.encoders, wiring.encoder_signs
    position = np.empty(spec.joints)
    position[encoders] = signs * state.joint_position
    response: Response = standing_response(spec, replace(state, joint_position=position))
    commanded = answers.amplitude * wiring.motor_signs  # of the joint that really moves
    # The base turns by w, so what stands still, such as gravity, turns by -w in it.
    turned = -np.cross(response.turn.T, np.asarray(state.gravity)).T[:2]
    found: list[tuple[Array | None, Array, float]] = [
        (answers.joint_position, signs[:, None] * response.joint_position[encoders], spec.sensors["joint_position"]),
        (answers.joint_effort, signs[:, None] * response.joint_effort[encoders], 0.0),
        (answers.contacts, response.contacts, 0.0),
        (None if answers.gravity is None else answers.gravity[:, :2], turned, spec.sensors.get("orientation", 0.0)),
    ]
    return [(a, (slope[:, wiring.motors] * commanded).T, noise) for a, slope, noise in found if a is not None]


def _distance(found: Array, expected: Array, noise: float) -> float:
    size = (_MODEL_ERROR**2) * float((expected**2).mean()) + (0.3 * noise) ** 2 + 1e-12
    return float(_BOUND * np.tanh((found - expected) ** 2 / size / _BOUND).sum())
