"""The timing of the control loop that a bag was recorded with: when it ticked, and how old what it answered was."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hardware import policy_topics
from hardware.bag import Bag, topic_of
from hardware.policy_topics import PolicyMessages
from robot_rl.errors import ConfigurationError
from robot_rl.timing import TimingTrace

_OLDEST = 10.0
"""s; a state that seems older, or younger than it can be, has its stamp from another clock."""


class BagTiming(NamedTuple):
    """A timing log, and what it is worth."""

    trace: TimingTrace
    """The time of an answer is that of its tick, so the policy's work is part of the state's age."""
    same_clock: bool
    """Whether states are stamped by the clock of the recording; otherwise ages are counted from the least one."""


def bag_timing(bag: Bag) -> BagTiming:
    """Computes the timing of all episodes, one after the other.

    Raises:
        ConfigurationError: the bag holds no episodes of a policy, or no stamps.
        StorageError: a file is damaged.
    """
    reader = PolicyMessages(bag.types)
    periods, ages = [], []
    for episode in bag.episodes():
        topic = topic_of(episode.about, policy_topics.ACTION)
        records = list(bag.records([topic], episode.begin, episode.end + 1, [episode.file]))
        times = np.array([record.time for record in records], dtype=np.int64)
        stamps = np.array([reader.read_array(record.content)[1] for record in records])
        periods.append(1e-9 * np.diff(times))
        # Nanoseconds since 1970 have more digits than a float: the whole seconds go first.
        whole = np.floor(stamps)
        ages.append((1e-9 * (times - (whole * 1e9).astype(np.int64)) - (stamps - whole))[1:] if len(times) else stamps)
    period, age = np.concatenate([np.zeros(0), *periods]), np.concatenate([np.zeros(0), *ages])
    if not len(period):
        raise ConfigurationError(f"{bag.path} holds no episodes of a policy, so it has no timing of a control loop")
    if not np.isfinite(age).all():
        raise ConfigurationError(f"{bag.path} lacks the stamps of the states, so their age is unknown")
    same = bool(0.0 <= np.median(age) < _OLDEST)
    age = np.maximum(age if same else age - age.min(), 0.0)
    return BagTiming(TimingTrace(period, np.zeros(len(period)), age), same)
