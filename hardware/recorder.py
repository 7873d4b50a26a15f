"""Records episodes, what the policy saw and did and what the robot's topics said, without delaying a control tick.

```python
recorder = Recorder("bags/today", spec, task="walk", observation_labels=task.layout.labels)
recorder.begin_episode(goal, command)
while ...:
    recorder.policy(observation, action, command, goal, robot.robot_time)   # some microseconds
recorder.end_episode("time limit", robot.robot_time)
recorder.close()
```

`hardware.topic_tap.TopicTap` feeds it the robot's topics; hardware/policy_topics.py says what the bag then holds. For
loops in real time `hardware.recorder_process.RecorderProcess` does the same in another process.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hardware import policy_topics
from hardware.bag_writer import BagWriter
from hardware.message_types import MessageTypes
from hardware.policy_topics import PolicyMessages, PolicyTick
from robot_rl.errors import ConfigurationError, StorageError
from robot_rl.spec import RobotSpec

Array = NDArray[Any]

BEFORE = 1_000_000_000
"""ns: messages of this time before an episode belong to it, and the newest of each topic."""
AFTER = 500_000_000
"""ns after an episode that still belong to it."""
_PATIENCE = 1_000_000_000
"""ns more to wait for messages of that time."""
_PAUSE = 0.005
"""s between two looks into the queue; the control loop never waits for a lock of ours."""
_BREATH = 0.0005
"""s of rest after a few messages: the interpreter is the control loop's whenever it wants it."""


class Record(NamedTuple):
    """A message as it goes into the bag."""

    time: int
    """ns since 1970."""
    topic: str
    kind: str
    content: bytes


class _Begin(NamedTuple):
    time: int
    number: int
    part: bool
    about: Mapping[str, Any]

    @property
    def file(self) -> str:
        return f"{'part' if self.part else 'episode'}_{self.number:05d}"


class _Tick(NamedTuple):
    time: int
    tick: PolicyTick


class _End(NamedTuple):
    time: int
    part: bool
    about: Mapping[str, Any]


class _Close(NamedTuple):
    """Nothing more comes."""


class Recorder:
    """Writes a bag in a thread of its own; nothing here blocks, and nothing raises because of the disk.

    `begin_episode`, `policy`, `end_episode` and `begin_part` belong to one thread, `message` to one thread, which may
    be another.

    Attributes:
        fault: why the last file was given up; empty while all is well.
        lost: messages that were not recorded because the writing did not keep up.
    """

    def __init__(
        self,
        folder: str | Path,
        spec: RobotSpec,
        *,
        namespace: str = "",
        task: str = "",
        policy: str = "",
        observation_labels: Sequence[str] = (),
        goal_labels: Sequence[str] = (),
        memory: int = 64 * 2**20,
    ) -> None:
        """Makes the bag's folder and starts the thread; takes a second.

        Args:
            folder: of the bag; new or empty.
            spec: the robot.
            namespace: of the robot's topics.
            task: name of the task, where there is one.
            policy: name of the policy, where there is one.
            observation_labels: meaning of each number of an observation (`ObservationLayout.labels`).
            goal_labels: meaning of each number of a goal (`Task.goal_labels`).
            memory: bytes that may wait to be written; what comes beyond is lost, and counted.

        Raises:
            ConfigurationError: the folder holds something.
            StorageError: it cannot be made.
        """
        self.types = MessageTypes()
        self._messages = PolicyMessages(self.types)
        self._writer = BagWriter(Path(folder), self.types, {"robot": spec.name, "task": task, "policy": policy})
        self._joints = spec.joint_names
        self._prefix = f"/{namespace.strip('/')}/".replace("//", "/")
        self._about = {
            "robot": spec.name,
            "robot_digest": spec.digest,
            "namespace": namespace,
            "control_rate": spec.control_rate,
            "task": task,
            "policy": policy,
            "action_labels": list(spec.action.coordinates),
            "observation_labels": list(observation_labels),
            "goal_labels": list(goal_labels),
        }
        self.fault = ""
        self.lost = 0
        self._lost_before = 0
        self._memory = memory
        self._queue: deque[Record | _Begin | _Tick | _End | _Close] = deque()
        # Each of these two is written by one thread only, so no lock is needed.
        self._taken_in = 0
        self._worked_off = 0
        self._number = 0
        self._running = self._part = False
        self._closing = self._last = False
        self._failure: BaseException | None = None
        self._recent: deque[Record] = deque()
        self._newest: dict[str, Record] = {}
        self._until = 0
        self._latest = 0
        self._thread = threading.Thread(target=self._work, name="recorder")
        self._thread.start()

    # -- what is called from the loop ---------------------------------------------------------------------------------

    def begin_episode(
        self, goal: Array | None = None, command: Array | None = None, *, moment: int | None = None, **about: Any
    ) -> None:
        """Begins a file; one that is open ends.

        Args:
            goal: (g,), of the episode.
            command: (n,), joint command in force, rad or m; what the first command's change is counted from.
            moment: ns since 1970, when it began; now by default.
            about: anything else to remember; JSON values. Of a task `about_task` gives what it takes to make it again;
                `blend_time` is the time, s, in which commands grow to what the policy asks for.
        """
        given = {"goal": _listed(goal), "command": _listed(command), **about}
        self._begin(False, {name: value for name, value in given.items() if value is not None}, moment)

    def policy(
        self,
        observation: Array,
        action: Array,
        command: Array,
        goal: Array,
        stamp: float = math.nan,
        *,
        moment: int | None = None,
    ) -> None:
        """Records one control tick; takes some microseconds.

        Args:
            observation: what the policy was given, (size,).
            action: what it answered, (d,), in [-1, 1].
            command: what was sent after all limits, (n,), rad or m.
            goal: (g,).
            stamp: s, of the robot's clock, of the state that the observation was made of (`RosRobot.robot_time`);
                without it the bag cannot be turned into transitions.
            moment: ns since 1970, when the policy answered; now by default.
        """
        if self._running and self._has_room():
            tick = PolicyTick(np.array(observation), np.array(action), np.array(command), np.array(goal), stamp)
            self._queue.append(_Tick(moment or time.time_ns(), tick))

    def end_episode(self, reason: str = "", stamp: float = math.nan, *, moment: int | None = None) -> None:
        """Ends the episode; its file is complete half a second later, or when the next one begins.

        Args:
            reason: why it ended.
            stamp: s, of the robot's clock, of the last state, the one that followed the last command.
            moment: ns since 1970, when it ended; now by default.
        """
        if self._running:
            self._running = False
            about = {"reason": reason, "stamp": None if math.isnan(stamp) else stamp}
            self._queue.append(_End(moment or time.time_ns(), self._part, about))

    def begin_part(self) -> None:
        """Begins a file that holds topics only, for recordings without episodes; one that is open ends."""
        self._begin(True, {}, None)

    def message(self, topic: str, kind: str, content: bytes, moment: int | None = None) -> None:
        """Records a message as it came over the wire.

        Args:
            topic: full name.
            kind: type, such as `sensor_msgs/msg/Imu`.
            content: its bytes.
            moment: ns since 1970, when it arrived; now by default.
        """
        if self._has_room():
            self._taken_in += len(content)
            self._queue.append(Record(moment or time.time_ns(), topic, kind, content))

    def close(self) -> None:
        """Completes the file in hand and ends the thread; may be called any number of times."""
        if not self._closing:
            self.end_episode("the recording was closed")
            self._closing = True
            self._queue.append(_Close())
        if self._thread is not threading.current_thread():
            self._thread.join()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _begin(self, part: bool, about: Mapping[str, Any], moment: int | None) -> None:
        self.end_episode("the next one began", moment=moment)
        self._number += 1
        self._running, self._part = True, part
        event = {"event": "part" if part else "begin", "number": self._number, **self._about, **about}
        self._queue.append(_Begin(moment or time.time_ns(), self._number, part, event))

    def _has_room(self) -> bool:
        if self._taken_in - self._worked_off <= self._memory and len(self._queue) < 100_000:
            return True
        self.lost += 1
        return False

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while not self._is_over:
                if not threading.main_thread().is_alive():
                    self.close()  # a program that ended without doing so
                self._work_off_queue()
                time.sleep(_PAUSE)
        except BaseException as error:  # raised again by `close`
            self._failure = error
            self._writer.discard()

    @property
    def _is_over(self) -> bool:
        """Whether all is written; topics may go on talking."""
        return self._last and not self._writer.open

    def _work_off_queue(self) -> None:
        worked = 0
        while not self._is_over:
            if self._until and self._is_due():
                self._finish()
            if not self._queue:
                return
            item = self._queue.popleft()
            self._handle(item)
            worked += 4 if isinstance(item, _Tick) else 1  # messages
            waiting = len(self._queue)
            # A long queue has to be caught up with.
            if not self._closing and worked >= (4 if waiting < 100 else 16 if waiting < 1000 else 64):
                worked = 0
                time.sleep(_BREATH)

    def _is_due(self) -> bool:
        """Whether what belongs to the ended episode has come; on a busy machine messages are handed over late."""
        return self._latest >= self._until or time.time_ns() >= self._until + _PATIENCE

    def _handle(self, item: Record | _Begin | _Tick | _End | _Close) -> None:
        if isinstance(item, Record):
            self._worked_off += len(item.content)
            self._latest = max(self._latest, item.time)
            self._keep(item)
            self._write(item)
        elif isinstance(item, _Tick):
            for topic, (kind, content) in self._messages.of_tick(item.tick, self._joints).items():
                self._write(Record(item.time, self._prefix + topic, kind, content))
        elif isinstance(item, _Begin):
            self._finish()
            self._store(lambda: self._writer.begin(item.file))
            self._mark(item.time, item.about)
            for record in self._before(item):
                self._write(record)
        elif isinstance(item, _Close):
            self._last = True
        else:
            lost, self._lost_before = self.lost - self._lost_before, self.lost
            self._mark(item.time, {"event": "end", "lost": lost, **item.about})
            self._until = item.time + AFTER
            if item.part or not self._latest:
                self._finish()

    def _mark(self, moment: int, about: Mapping[str, Any]) -> None:
        kind, content = self._messages.of_episode(about)
        self._write(Record(moment, self._prefix + policy_topics.EPISODE, kind, content))

    def _keep(self, record: Record) -> None:
        """Holds on to what may belong to an episode that is yet to begin."""
        self._newest[record.topic] = record
        self._recent.append(record)
        while self._recent[0].time < record.time - BEFORE:
            self._recent.popleft()

    def _before(self, begin: _Begin) -> list[Record]:
        """What an episode needs of the time before it; parts follow each other without a gap."""
        recent = [] if begin.part else list(self._recent)
        topics = {record.topic for record in self._recent}
        return [record for topic, record in self._newest.items() if topic not in topics] + recent

    def _write(self, record: Record) -> None:
        if self._writer.open:
            try:
                self._store(lambda: self._writer.write(record.topic, record.kind, record.time, record.content))
            except ConfigurationError as error:  # a type without a definition costs its own topic only
                self.fault = str(error)
                self.lost += 1

    def _finish(self) -> None:
        self._until = 0
        if self._writer.open:
            self._store(self._writer.finish)

    def _store(self, write: Callable[[], None]) -> None:
        """Gives the file in hand up where the disk fails; the next one is tried anew."""
        try:
            write()
        except StorageError as error:
            self.fault = str(error)
            self._writer.discard()


def _listed(values: Array | None) -> list[float] | None:
    return None if values is None else np.asarray(values, dtype=np.float64).tolist()
