"""Real ROS 2 between real processes, each test in a network of its own."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from robot_rl.spec import BUILTIN, load_robot

if TYPE_CHECKING:
    from hardware.ros_robot import RosRobot

pytest.importorskip("rclpy", reason="ROS 2 is not installed (extra 'ros')")

# Domains above 101 collide with the ports that Linux hands out by itself.
_DOMAINS = itertools.count(os.getpid())


class Process:
    """A program in another process; what it prints goes to a file."""

    def __init__(self, arguments: Sequence[str], place: Path) -> None:
        """Starts `python arguments...`."""
        self._place = place
        with place.open("w") as file:
            self.process = subprocess.Popen([sys.executable, *arguments], stdout=file, stderr=subprocess.STDOUT)

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._place.read_text()

    def wait_for(self, pattern: str, timeout: float = 30.0) -> str:
        """Waits until it has printed a line that matches, and returns that line."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            ended = self.process.poll() is not None
            for line in self.output.splitlines():
                if re.search(pattern, line):
                    return line
            assert not ended, f"ended with {self.process.returncode}:\n{self.output}"
            time.sleep(0.02)
        raise AssertionError(f"no line like {pattern!r} within {timeout:g} s in:\n{self.output}")

    def end(self, number: int = signal.SIGINT, timeout: float = 20.0) -> int:
        """Sends a signal and waits; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"did not end within {timeout:g} s of signal {number}:\n{self.output}") from None


@contextmanager
def own_network() -> Iterator[int]:
    """A ROS network that nothing else uses, on this machine only."""
    number = next(_DOMAINS) % 100 + 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(number))
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        yield number


@pytest.fixture
def domain() -> Iterator[int]:
    """See `own_network`."""
    with own_network() as number:
        yield number


@pytest.fixture(scope="module")
def lock_step_twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RosRobot]:
    """Go2 over ROS, a simulator that waits for commands; one for all tests of a file."""
    from hardware.ros_robot import RosRobot, RosSettings

    with own_network():
        process = Process(
            ["-m", "robot_rl.cli", "twin", "go2", "--lock-step"], tmp_path_factory.mktemp("twin") / "output.txt"
        )
        process.wait_for("twin of")
        robot = RosRobot(load_robot("go2"), RosSettings(lock_step=True))
        yield robot
        robot.close()
        process.end()


@pytest.fixture(scope="session")
def network_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., object]:
    """A context for fixtures of any scope: a network of its own, in which it starts programs and ends them."""

    @contextmanager
    def network() -> Iterator[Callable[..., Process]]:
        started: list[Process] = []

        def begin(*arguments: str) -> Process:
            started.append(Process(arguments, tmp_path_factory.mktemp("program") / "output.txt"))
            return started[-1]

        with own_network():
            try:
                yield begin
            finally:
                for process in started:
                    if process.process.poll() is None:
                        process.process.kill()
                        process.process.wait()

    return network


@pytest.fixture
def start(domain: int, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts programs in that network and ends those that are left."""
    started: list[Process] = []

    def begin(*arguments: str) -> Process:
        started.append(Process(arguments, tmp_path / f"output{len(started)}.txt"))
        return started[-1]

    yield begin
    for process in started:
        if process.process.poll() is None:
            process.process.kill()
            process.process.wait()


@pytest.fixture
def twin(start: Callable[..., Process]) -> Callable[..., Process]:
    """Starts `robot-rl twin ...` and waits until it runs."""

    def begin(*arguments: str) -> Process:
        process = start("-m", "robot_rl.cli", "twin", *arguments)
        process.wait_for("twin of")
        return process

    return begin


@pytest.fixture
def robot_file(tmp_path: Path) -> Callable[..., str]:
    """Writes a built-in robot's file with some sections changed, and gives its path."""

    def write(name: str, **sections: dict[str, object]) -> str:
        values = yaml.safe_load((BUILTIN / f"{name}.yaml").read_text())
        values["simulation"]["model"] = str((BUILTIN / values["simulation"]["model"]).resolve())
        for section, changes in sections.items():
            values[section] = {**values.get(section, {}), **changes}
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(values))
        return str(path)

    return write
