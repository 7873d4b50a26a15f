"""A recorder in a process of its own, for control loops in real time: what it does there takes no time from the loop.

The same calls as `hardware.recorder.Recorder`; each becomes one message over a local socket that never blocks. The
process listens to the robot's topics too. If the program that it records for dies, it completes the file in hand.
"""

from __future__ import annotations

import json
import math
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import ConfigurationError, RobotRLError
from robot_rl.spec import RobotSpec
from robot_rl.spec_file import load_robot

Array = NDArray[Any]

_BUFFER = 4 * 2**20
"""Bytes that may be under way; the kernel may allow less."""
_LARGEST = 2**18
"""Bytes of one message."""
_START = 60.0
"""s until the process must be ready."""
_END = 60.0
"""s in which it must have completed its files, and be gone."""
_HEAD = struct.Struct("<qd4I")  # time in ns, stamp in s, length of observation, action, command, goal
_TICK, _CALL = b"t", b"c"


class RecorderProcess:
    """See the module.

    Attributes:
        fault: why a file was given up, as far as is known here; complete after `close`.
        lost: messages that were not recorded; complete after `close`.
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
        topics: bool = True,
    ) -> None:
        """Starts the process and waits until it is ready, some seconds.

        Args:
            folder: of the bag; new or empty.
            spec: the robot, read from a file.
            namespace: of the robot's topics.
            task: name of the task, where there is one.
            policy: name of the policy, where there is one.
            observation_labels: meaning of each number of an observation (`ObservationLayout.labels`).
            goal_labels: meaning of each number of a goal (`Task.goal_labels`).
            topics: whether to record the robot's topics as well.

        Raises:
            ConfigurationError: the folder holds something, or the process does not start.
        """
        self.fault = ""
        self.lost = 0
        self._running = self._closed = self._complete = False
        self._folder = Path(folder).resolve()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        # A session of its own, so that Ctrl-C in a terminal reaches the program that is recorded and not this one.
        command = [sys.executable, "-m", "hardware.recorder_process", str(theirs.fileno())]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True)
        theirs.close()
        about = {"namespace": namespace, "task": task, "policy": policy}
        labels = {"observation_labels": list(observation_labels), "goal_labels": list(goal_labels)}
        wanted = {"folder": str(self._folder), "robot": spec.source or spec.name, "topics": topics}
        try:
            self._socket.settimeout(_START)
            self._socket.send(json.dumps({**wanted, "about": {**about, **labels}}).encode())
            answer = self._socket.recv(_LARGEST)
            if not answer:
                raise ConfigurationError("the recorder's process ended before it was ready")
            self._take(json.loads(answer))
            if self.fault:
                raise ConfigurationError(self.fault)
            self._socket.setblocking(False)
        except BaseException:
            self._end()
            raise

    def begin_episode(
        self, goal: Array | None = None, command: Array | None = None, *, moment: int | None = None, **about: Any
    ) -> None:
        """See `Recorder.begin_episode`."""
        given = {"goal": goal, "command": command}
        values = {name: np.asarray(value).tolist() for name, value in given.items() if value is not None}
        self._running = True
        self._call("begin_episode", moment=moment or time.time_ns(), **values, **about)

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
        """See `Recorder.policy`."""
        if self._running:
            arrays = [np.asarray(values, dtype=np.float64) for values in (observation, action, command, goal)]
            head = _HEAD.pack(moment or time.time_ns(), stamp, *map(len, arrays))
            self._send(b"".join([_TICK, head, *(values.tobytes() for values in arrays)]))

    def end_episode(self, reason: str = "", stamp: float = math.nan, *, moment: int | None = None) -> None:
        """See `Recorder.end_episode`."""
        if self._running:
            self._running = False
            told = None if math.isnan(stamp) else stamp
            self._call("end_episode", reason=reason, stamp=told, moment=moment or time.time_ns())

    def close(self) -> None:
        """Completes the file in hand and ends the process; may be called any number of times.

        Takes as long as the disk does, a minute at most; what was not complete by then is told by `fault`.
        """
        if not self._closed:
            self._closed = True
            self.end_episode("the recording was closed")
            ended = self._end()
            if not self._complete:  # what happens to the process after that costs no recording
                told = f": {self.fault}" if self.fault else ""
                self.fault = f"the recorder's process {ended}; what it had in hand may be in {self._folder}{told}"

    def _call(self, name: str, **values: Any) -> None:
        self._send(_CALL + json.dumps({"call": name, **values}).encode())
        self._hear()

    def _send(self, message: bytes) -> None:
        try:
            self._socket.send(message)
        except BlockingIOError:
            self.lost += 1
        except OSError as error:
            self.lost += 1
            self.fault = self.fault or f"the recorder's process is gone: {error.strerror}"

    def _hear(self) -> None:
        """Takes what the process has told so far."""
        with suppress(OSError):
            while answer := self._socket.recv(_LARGEST):
                self._take(json.loads(answer))

    def _take(self, told: Mapping[str, Any]) -> None:
        self.fault = told["fault"] or self.fault
        self.lost += told["lost"]
        self._complete = told["complete"]

    def _end(self) -> str:
        """Lets the process end, and takes its last words.

        Returns:
            How it ended, in words for a recording that is not complete.
        """
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        try:
            code = self._process.wait(_END)
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            ended = f"{how} before its files were complete"
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            ended = f"did not complete its files within {_END:g} s"
        self._socket.setblocking(False)
        self._hear()
        self._socket.close()
        return ended


def _serve(line: socket.socket) -> None:
    """What the process does, until the other end is closed."""
    try:
        from hardware.recorder import Recorder
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"recording needs the Python package {error.name!r}: pip install -c constraints.txt -e '.[bags]'"
        ) from error

    wanted = json.loads(line.recv(_LARGEST))
    spec = load_robot(wanted["robot"])
    session = None
    recorder = Recorder(wanted["folder"], spec, **wanted["about"])
    try:
        if wanted["topics"]:
            from hardware.session import RosSession
            from hardware.topic_tap import TopicTap

            session = RosSession("recorder", wanted["about"]["namespace"])
            tap = TopicTap(session.node, recorder, spec)
            session.start()
            tap.wait_ready(spec.ros.connect_timeout)
        told = 0
        _tell(line, recorder.fault, 0)
        while message := line.recv(_LARGEST):
            if message[:1] == _TICK:
                moment, stamp, *lengths = _HEAD.unpack_from(message, 1)
                values = np.frombuffer(message, dtype=np.float64, offset=1 + _HEAD.size)
                observation, action, command, goal = np.split(values, np.cumsum(lengths)[:-1])
                recorder.policy(observation, action, command, goal, stamp, moment=moment)
            else:
                call = json.loads(message[1:])
                name = call.pop("call")
                if name == "end_episode" and call["stamp"] is None:
                    call["stamp"] = math.nan
                getattr(recorder, name)(**call)
                if recorder.fault or recorder.lost > told:
                    _tell(line, recorder.fault, recorder.lost - told)
                    told = recorder.lost
        recorder.close()
        _tell(line, recorder.fault, recorder.lost - told, complete=True)
    finally:
        if session is not None:
            session.close()
        recorder.close()


def _tell(line: socket.socket, fault: str, lost: int, complete: bool = False) -> None:
    with suppress(OSError):  # whoever would hear it may have gone
        line.send(json.dumps({"fault": fault, "lost": lost, "complete": complete}).encode())


def main() -> int:
    """Runs the process; returns the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    line = socket.socket(fileno=int(sys.argv[1]))
    try:
        _serve(line)
    except RobotRLError as error:
        _tell(line, str(error), 0)
        return error.exit_code
    except Exception as error:
        _tell(line, f"{type(error).__name__}: {error}", 0)
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
