"""Turns recorded episodes into transitions: observations, rewards and ends are computed anew from the robot's states.

So a bag can teach another task than the one it was recorded with, as long as the robot is the same. How far what is
computed is what was recorded, tells whether the task is the recorded one.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardware import messages, policy_topics
from hardware.bag import Bag, Episode, topic_of
from hardware.policy_topics import PolicyMessages, PolicyTick
from hardware.ramp import BLEND_TIME
from hardware.sensor_topics import BASE_SENSORS, sources, state_of
from robot_rl.arrays import frozen
from robot_rl.errors import ConfigurationError, InvalidInput
from robot_rl.interaction import Interaction
from robot_rl.robot import RobotState
from robot_rl.stepping import CLOCK, Strides
from robot_rl.task import Task

Array = NDArray[Any]

_SAME = 2e-6
"""s within which two stamps are one: a stamp since 1970 has no more digits as a float."""
ALIKE = 1e-3
"""In its unit: what a number of an observation or command may differ by from the recorded one and still be the same."""
_MARGIN = 1_500_000_000
"""ns around an episode in which its states are looked for."""


@dataclass(frozen=True)
class BagTransitions:
    """Transitions in the order in which they happened, ready for `Replay.add`."""

    observation: Array
    """(T, O) float32."""
    action: Array
    """(T, A), as the policy asked for it, in [-1, 1]."""
    reward: Array
    """(T,)."""
    next_observation: Array
    """(T, O) float32."""
    terminated: Array
    """(T,) bool: an end of the task or a stop of the supervisor; a time limit is none."""
    episode: Array
    """(T,) number of the episode, counted over all bags from 0."""
    stamp: Array
    """(T,) s since the episode's first state."""
    late: Array
    """(T,) bool: the next state came half a control period late or more."""

    def __len__(self) -> int:
        """T."""
        return len(self.reward)


@dataclass
class ReplayReport:
    """How well a bag could be replayed."""

    episodes: int = 0
    ticks: int = 0
    """Recorded."""
    left_out: int = 0
    """Ticks that gave no transition, because a state around them is missing or the task had ended."""
    observation_error: float = float("nan")
    """Largest difference between a recomputed observation and the recorded one; NaN where they have other entries."""
    observations_compared: int = 0
    """Ticks whose recomputed observation has the entries of the recorded one."""
    observations_differing: int = 0
    """Those of them on which the newest readings differ by more than `ALIKE`."""
    command_error: float = float("nan")
    """rad or m, largest difference between the recomputed command and the one that was sent, after the blend; NaN where
    no tick is after it."""
    commands_differing: int = 0
    """Ticks on which that is more than `ALIKE`."""
    blended: int = 0
    """Ticks at the beginning of episodes whose command is not compared: a deployment blends the policy's in."""
    other_robot_file: bool = False
    """Whether the robot's file has changed since."""

    def note(self, name: str, error: float) -> None:
        """Takes one difference in."""
        setattr(self, name, float(np.fmax(getattr(self, name), error)))

    def compare_command(self, computed: Array, recorded: Array) -> None:
        """Takes in the commands of one tick, (n,)."""
        error = float(np.abs(computed - recorded).max())
        self.note("command_error", error)
        self.commands_differing += error > ALIKE

    def compare_observation(self, computed: Array, recorded: Array, newest: NDArray[np.bool_]) -> None:
        """Takes in the observations of one tick, (size,); `newest` says which numbers are not of earlier ticks."""
        error = np.abs(computed - recorded)
        self.note("observation_error", float(error.max()))
        self.observations_compared += 1
        self.observations_differing += bool(error[newest].max() > ALIKE)


def transitions(bags: Sequence[Bag], task: Task, goal: Array | None = None) -> tuple[BagTransitions, ReplayReport]:
    """Computes the transitions of all episodes.

    Args:
        bags: one, or several of the same time, such as the policy's own and one of the robot's topics.
        task: for the robot that was recorded.
        goal: (g,), of all episodes; the recorded ones by default.

    Raises:
        ConfigurationError: another robot, no episode, no stamps, or goals that are not the task's.
        MissingSensor: the reward needs what was not recorded.
        StorageError: a file is damaged.
    """
    report = ReplayReport()
    rows: list[tuple[Any, ...]] = []
    for bag in bags:
        for episode in bag.episodes():
            _check(episode, task, report)
            rows += [(*row[:5], report.episodes, *row[5:]) for row in _replay(bags, bag, episode, task, goal, report)]
            report.episodes += 1
    if not report.episodes:
        raise ConfigurationError(f"no episodes in {', '.join(str(bag.path) for bag in bags)}: nothing to replay")
    report.left_out = report.ticks - len(rows)
    size, actions = task.layout.size, task.spec.action.size
    empty = [np.zeros((0, size)), np.zeros((0, actions)), [], np.zeros((0, size)), [], [], [], []]
    columns = [np.array(column) for column in zip(*rows, strict=True)] if rows else [np.array(e) for e in empty]
    kinds = [np.float32, np.float64, np.float64, np.float32, bool, np.int64, np.float64, bool]
    names = [f.name for f in fields(BagTransitions)]
    arrays = {name: column.astype(kind) for name, column, kind in zip(names, columns, kinds, strict=True)}
    return BagTransitions(**arrays), report


def _check(episode: Episode, task: Task, report: ReplayReport) -> None:
    spec, about = task.spec, episode.about
    if about["robot"] != spec.name:
        raise ConfigurationError(f"{episode.file} was recorded with robot {about['robot']!r}, not {spec.name!r}")
    report.other_robot_file |= about["robot_digest"] != spec.digest


def _replay(
    bags: Sequence[Bag], bag: Bag, episode: Episode, task: Task, goal: Array | None, report: ReplayReport
) -> list[tuple[Any, ...]]:
    """Observation, action, reward, next observation, terminated, stamp, late of each transition."""
    ticks = [tick._replace(goal=_goal(tick, episode, task, goal)) for tick in _ticks(bag, episode)]
    report.ticks += len(ticks)
    if not ticks:
        return []
    if np.isnan([tick.stamp for tick in ticks]).any():
        raise ConfigurationError(f"{episode.file} lacks the stamps of the states, so nothing can be paired")
    states = _States(bags, episode, task)
    task.check_robot(states.provides)
    comparable = list(episode.about.get("observation_labels", ())) == list(task.layout.labels)
    newest = _newest(task)
    blended = _blended(episode, task)
    strides = Strides() if CLOCK in task.layout.labels else None
    last = episode.ended.get("stamp")
    stamps = [tick.stamp for tick in ticks] + ([] if last is None else [float(last)])
    epoch, dt = stamps[0], task.spec.control_dt
    interaction = Interaction(task)
    found: list[tuple[Any, ...]] = []
    settling = 0  # ticks until the observation's history holds nothing from before a gap
    running = False
    in_force = np.array(episode.about.get("command", task.spec.home))
    for k in range(len(stamps) - 1):
        tick = ticks[k]
        applied = frozen(in_force)
        if strides is not None:
            strides.at(stamps[k] - epoch, float(tick.goal[-1]))
        ahead = 0.0 if strides is None else strides.ahead
        if not running or not np.array_equal(interaction.goal, tick.goal):
            state = states.at(stamps[k], epoch - ahead, applied)
            if state is None:
                continue
            interaction.reset(state, applied, tick.goal)
            settling = task.layout.length if k else 0
        observation = interaction.observation()
        after = states.at(stamps[k + 1], epoch - ahead, frozen(tick.command))
        if k >= blended:
            interaction.in_force(applied)
        command = interaction.command(tick.action)
        in_force = tick.command
        running = after is not None
        if after is None:
            continue
        outcome = interaction.finish(after)
        if settling:
            settling -= 1
            continue
        if k < blended:
            report.blended += 1
        else:
            report.compare_command(command.position, tick.command)
        if comparable:
            report.compare_observation(observation, tick.observation, newest)
        late = stamps[k + 1] - stamps[k] >= 1.5 * dt
        row = (float(outcome.reward), interaction.observation(), bool(outcome.terminated), stamps[k] - epoch, late)
        found.append((observation, tick.action, *row))
        if outcome.terminated:
            break
    return found


def _newest(task: Task) -> NDArray[np.bool_]:
    """Which numbers of an observation are of its own tick, (size,)."""
    newest = np.zeros(task.layout.size, dtype=bool)
    for entry in task.layout.entries:
        newest[entry.start : entry.start + entry.size] = entry.age == 0
    return newest


def _blended(episode: Episode, task: Task) -> int:
    """Ticks of an episode in which the policy's commands were blended in; the time may be missing in older bags."""
    return max(0, math.ceil(float(episode.about.get("blend_time", BLEND_TIME)) / task.spec.control_dt - 1e-9) - 1)


def _ticks(bag: Bag, episode: Episode) -> list[PolicyTick]:
    """The policy's answers; its messages of one tick share their time."""
    reader = PolicyMessages(bag.types)
    names = (policy_topics.OBSERVATION, policy_topics.ACTION, policy_topics.COMMAND, policy_topics.GOAL)
    topics = {topic_of(episode.about, name): name for name in names}
    at: dict[int, dict[str, bytes]] = {}
    for record in bag.records(topics, episode.begin, episode.end + 1, [episode.file]):
        at.setdefault(record.time, {})[topics[record.topic]] = record.content
    found = []
    for contents in (at[time] for time in sorted(at) if len(at[time]) == len(names)):
        observation, stamp = reader.read_array(contents[policy_topics.OBSERVATION])
        action, _ = reader.read_array(contents[policy_topics.ACTION])
        goal, _ = reader.read_array(contents[policy_topics.GOAL])
        command = reader.read_command(contents[policy_topics.COMMAND])
        found.append(PolicyTick(observation, action, command, goal, stamp))
    return found


def _goal(tick: PolicyTick, episode: Episode, task: Task, given: Array | None) -> Array:
    """The goal that counts for a tick, (g,)."""
    if not task.goal_labels:
        return np.zeros(0)
    if given is not None:
        if given.shape != (len(task.goal_labels),):
            raise ConfigurationError(f"goal: expected {len(task.goal_labels)} numbers ({', '.join(task.goal_labels)})")
        return given
    recorded = list(episode.about.get("goal_labels", ()))
    if len(tick.goal) != len(task.goal_labels) or (recorded and recorded != list(task.goal_labels)):
        named = ", ".join(recorded) or f"{len(tick.goal)} numbers"
        raise ConfigurationError(
            f"the recorded goals, {named}, are not those of task {task.name!r}, {', '.join(task.goal_labels)}; give one"
        )
    return tick.goal


class _States:
    """The robot's states around one episode, by the stamp of their joint readings."""

    def __init__(self, bags: Sequence[Bag], episode: Episode, task: Task) -> None:
        """Reads what the robot's topics said; what is not fit to be read is left out, as on the robot."""
        self._spec = task.spec
        known = sources(task.spec)
        names = {topic_of(episode.about, source.topic): name for name, source in known.items()}
        self._values: dict[str, dict[float, Any]] = {name: {} for name in known}
        for bag in bags:
            for record in bag.records(names, episode.begin - _MARGIN, episode.end + _MARGIN):
                name = names[record.topic]
                message = bag.types.from_bytes(record.content, record.kind)
                try:
                    value = known[name].read(message)
                except InvalidInput:
                    continue
                self._values[name].setdefault(messages.seconds(message.header.stamp), value)
        self._stamps = {name: sorted(values) for name, values in self._values.items()}
        with_base = bool(self._values.get("odometry"))
        self.provides = frozenset({*task.spec.sensors, *(BASE_SENSORS if with_base else ())})
        self._needed = [name for name in known if name != "odometry" or with_base]

    def at(self, stamp: float, epoch: float, applied: Array) -> RobotState | None:
        """The state whose joints were read then, with the newest of the other sensors; None where one is missing."""
        values: dict[str, Any] = {}
        for name in self._needed:
            stamps = self._stamps[name]
            index = bisect.bisect_right(stamps, stamp + _SAME) - 1
            allowed = _SAME if name == "joint_states" else self._spec.ros.state_timeout
            if index < 0 or stamp - stamps[index] > allowed:
                return None
            values[name] = self._values[name][stamps[index]]
        return state_of(self._spec, stamp - epoch, values, applied)
