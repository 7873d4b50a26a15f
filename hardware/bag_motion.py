"""Motion logs from a bag: every reading and every command with its own moment, for identification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hardware import policy_topics
from hardware.bag import Bag, topic_of
from hardware.sensor_topics import sources
from robot_rl.errors import ConfigurationError, InvalidInput
from robot_rl.motion_log import MotionLog
from robot_rl.spec import RobotSpec

_ONE_CLOCK = 10_000_000_000
"""ns; a reading that seems older, or younger than it can be, has its stamp from another clock."""
_FEWEST = 20
"""Readings and commands; less is no motion."""


class _Stretch(NamedTuple):
    """One episode, or all of a bag that has none."""

    about: Mapping[str, Any]
    begin: int | None
    end: int | None
    files: list[Path] | None


def motion_logs(bag: Bag, spec: RobotSpec, base: str | None = None) -> list[MotionLog]:
    """What a robot was told and did, a log for each episode, or one for a bag without episodes.

    Where the stamps are of the recording's clock, readings count from their stamps and commands from when they were
    sent, and how old readings were is known. Otherwise a command counts from the stamp of the reading that it answers,
    if it has one.

    Args:
        bag: with joint states and commands, the policy's or those on the robot's command topic.
        spec: the robot that was recorded.
        base: held or standing; a fixed base is always held.

    Raises:
        ConfigurationError: topics are missing, another robot, times that run backwards.
        StorageError: a file is damaged.
    """
    base = base or ("held" if spec.base == "fixed" else None)
    if base is None:
        raise ConfigurationError(f"bag {bag.path} does not say how the base was; give --base held or standing")
    logs = [log for stretch in _stretches(bag) if (log := _log(bag, stretch, spec, base)) is not None]
    if not logs:
        raise ConfigurationError(f"{bag.path} has no stretch with {_FEWEST} joint readings and as many commands")
    return logs


def _stretches(bag: Bag) -> Iterator[_Stretch]:
    episodes = bag.episodes()
    for episode in episodes:
        yield _Stretch(episode.about, episode.begin, episode.end + 1, [episode.file])
    if not episodes:
        markers = bag.markers()
        yield _Stretch(markers[0][2] if markers else {}, None, None, None)


def _log(bag: Bag, stretch: _Stretch, spec: RobotSpec, base: str) -> MotionLog | None:
    about = stretch.about
    if about.get("robot", spec.name) != spec.name:
        raise ConfigurationError(f"{bag.path} was recorded with robot {about['robot']!r}, not {spec.name!r}")
    source = sources(spec)["joint_states"]
    states = topic_of(about, source.topic)
    by_policy, by_other = topic_of(about, policy_topics.COMMAND), topic_of(about, spec.ros.command_topic)
    kinds = bag.kinds()
    commanded = by_policy if by_policy in kinds else by_other
    if states not in kinds or commanded not in kinds:
        missing = [states] * (states not in kinds) + [f"{by_policy} or {by_other}"] * (commanded not in kinds)
        raise ConfigurationError(
            f"{bag.path} lacks {' and '.join(missing)}, so nothing can be identified; it has: "
            f"{', '.join(sorted(kinds)) or 'no topics'}; record with: robot-rl record {spec.name}"
        )
    if kinds[commanded] not in (policy_topics.JOINTS, policy_topics.ARRAY):
        raise ConfigurationError(
            f"{bag.path}: {commanded} is of type {kinds[commanded]}; expected {policy_topics.JOINTS} or "
            f"{policy_topics.ARRAY} with positions"
        )
    if commanded == by_other and spec.ros.command != "position":
        raise ConfigurationError(f"{bag.path}: {commanded} has {spec.ros.command} commands; expected positions")
    readings, told, refused = [], [], ""
    for record in bag.records([states, commanded], stretch.begin, stretch.end, stretch.files):
        message = bag.types.from_bytes(record.content, record.kind)
        if record.topic == commanded:
            values = message.position if record.kind == policy_topics.JOINTS else message.data
            stamp = _nanoseconds(message) if record.kind == policy_topics.JOINTS else 0
            told.append((record.time, stamp, np.array(values, dtype=np.float64)))
            continue
        try:
            readings.append((record.time, _nanoseconds(message), source.read(message)))
        except InvalidInput as error:
            refused = str(error)
    if refused and not readings:
        raise ConfigurationError(f"{bag.path}: every message of {states} is refused: it {refused}")
    if len(readings) < _FEWEST or len(told) < _FEWEST:
        return None
    return _timed(bag, readings, told, spec, base)


def _timed(bag: Bag, readings: list[Any], told: list[Any], spec: RobotSpec, base: str) -> MotionLog:
    came, stamps = (np.array([row[k] for row in readings], dtype=np.int64) for k in (0, 1))
    sent, answered = (np.array([row[k] for row in told], dtype=np.int64) for k in (0, 1))
    ages: NDArray[np.int64] = came - stamps
    age = None
    if 0 <= np.median(ages) < _ONE_CLOCK:
        measured = stamps
        age = (1e-9 * float(ages.mean()), 1e-9 * float(ages.std()))
    elif answered.all():
        measured, sent = stamps, answered
    else:
        measured = came
    # What was sent twice, for fear of losing it, counts once.
    new = np.concatenate([[True], np.diff(measured) != 0])
    fresh = np.concatenate([[True], np.diff(sent) != 0])
    efforts = [row[2][2] for row in readings]
    origin = measured[0]
    return MotionLog(
        robot=spec.name,
        joints=spec.joint_names,
        base=base,
        time=1e-9 * (measured - origin)[new],
        position=np.array([row[2][0] for row in readings])[new],
        velocity=np.array([row[2][1] for row in readings])[new],
        effort=None if any(effort is None for effort in efforts) else np.array(efforts)[new],
        sent=1e-9 * (sent - origin)[fresh],
        command=np.array([row[2] for row in told])[fresh],
        age=age,
        source=str(bag.path),
    )


def _nanoseconds(message: Any) -> int:
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
