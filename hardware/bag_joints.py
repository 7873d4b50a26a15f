"""What the joints were told and did in a bag, sampled evenly: what motors are fitted from."""

from __future__ import annotations

import numpy as np

from hardware import policy_topics
from hardware.bag import Bag, Episode, topic_of
from hardware.policy_topics import PolicyMessages
from hardware.sensor_topics import sources
from robot_rl.errors import ConfigurationError, InvalidInput
from robot_rl.joint_log import JointLog
from robot_rl.spec import RobotSpec

_GAP = 3.0
"""Sampling intervals without a reading, after which a new log begins."""


def joint_logs(bag: Bag, spec: RobotSpec) -> list[JointLog]:
    """The joints' commands and readings in every episode, at the rate of the readings.

    Args:
        bag: with the robot's topics and the policy's.
        spec: the robot that was recorded.

    Raises:
        ConfigurationError: another robot, no episodes, or no efforts among the readings.
        StorageError: a file is damaged.
    """
    found: list[JointLog] = []
    for episode in bag.episodes():
        if episode.about["robot"] != spec.name:
            other = episode.about["robot"]
            raise ConfigurationError(f"{bag.path} was recorded with robot {other!r}, not {spec.name!r}")
        found += _logs(bag, episode, spec)
    if not found:
        raise ConfigurationError(
            f"{bag.path} has no episode with both joint readings and the policy's commands; "
            "record with: robot-rl deploy POLICY --record BAG"
        )
    return found


def _logs(bag: Bag, episode: Episode, spec: RobotSpec) -> list[JointLog]:
    source = sources(spec)["joint_states"]
    states, commanded = topic_of(episode.about, source.topic), topic_of(episode.about, policy_topics.COMMAND)
    policy = PolicyMessages(bag.types)
    times, readings, command_times, commands = [], [], [], []
    for record in bag.records([states, commanded], episode.begin, episode.end + 1, [episode.file]):
        if record.topic == commanded:
            command_times.append(record.time)
            commands.append(policy.read_command(record.content))
            continue
        try:
            reading = source.read(bag.types.from_bytes(record.content, record.kind))
        except InvalidInput:
            continue
        if reading[2] is None:
            raise ConfigurationError(f"{bag.path}: the joint readings have no efforts, so motors cannot be fitted")
        times.append(record.time)
        readings.append(np.concatenate(reading))
    if len(times) < 2 or not commands:
        return []
    interval = 1.0 / (spec.ros.rate or spec.control_rate)
    seconds = 1e-9 * (np.array(times) - times[0])
    told = 1e-9 * (np.array(command_times) - times[0])
    cuts = np.flatnonzero(np.diff(seconds) > _GAP * interval) + 1
    logs = []
    for rows in np.split(np.arange(len(seconds)), cuts):
        begin = max(seconds[rows[0]], told[0])
        grid = np.arange(begin, seconds[rows[-1]], interval)
        if len(grid) < 2:
            continue
        columns = np.array(readings)[rows].T
        even = np.array([np.interp(grid, seconds[rows], column) for column in columns]).T  # (T, 3 n)
        newest = np.searchsorted(told, grid, side="right") - 1
        position, velocity, effort = np.split(even, 3, axis=1)
        logs.append(JointLog(interval, np.array(commands)[newest], position, velocity, effort))
    return logs
