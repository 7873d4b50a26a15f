"""The twin of a robot in a process of its own, for the benchmarks that run over ROS 2."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

_TIMEOUT = 120.0
"""s until a twin must run."""


@contextmanager
def twin(robot: str, *flags: str) -> Iterator[None]:
    """A twin in another process, for as long as the block lasts.

    Args:
        robot: name or file.
        flags: of `robot-rl twin`.
    """
    with tempfile.TemporaryFile("w+") as output:
        command = [sys.executable, "-m", "robot_rl.cli", "twin", robot, *flags]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + _TIMEOUT
            while True:
                output.seek(0)
                said = output.read()
                if "twin of" in said:
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"the twin did not start:\n{said}")
                time.sleep(0.1)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)
