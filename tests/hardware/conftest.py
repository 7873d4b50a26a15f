"""Real ROS 2 between real processes, each test in a network of its own."""

from __future__ import annotations

import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from robot_rl.spec_file import BUILTIN, load_robot

if TYPE_CHECKING:
    from hardware.ros_robot import RosRobot

pytest.importorskip("rclpy", reason="ROS 2 is not installed (extra 'ros')")

# Each worker of pytest-xdist (gw0, gw1, ...) has domains of its own, so that none meets what another has just left.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
# Domains above 101 collide with the ports that Linux hands out by itself.
_DOMAINS = itertools.count(os.getpid() + 25 * _WORKER)
_FIRST_PORT = 28000

_LONGEST = (
    "test_real_time_training.py", "test_bad_days.py", "test_policy_node.py", "test_doctor.py",
    "test_policy_node_stops.py", "test_ros_robot.py", "test_lock_step_training.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first, so that the workers of pytest-xdist end at about the same time."""
    here, places = Path(__file__).parent, {name: place for place, name in enumerate(_LONGEST)}

    def place(item: pytest.Item) -> int:
        return places.get(item.path.name, len(places)) if item.path.is_relative_to(here) else len(places)

    items.sort(key=place)


PATIENCE = 90.0
"""s that anything may take on a busy machine; where it comes sooner, nobody waits."""


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

    def wait(self, timeout: float = PATIENCE) -> int:
        """Waits until it has ended by itself; returns the exit code."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {timeout:g} s:\n{self.output}") from None

    def wait_for(self, pattern: str, timeout: float = PATIENCE) -> str:
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

    def end(self, number: int = signal.SIGINT, timeout: float = PATIENCE) -> int:
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
def _free_domain() -> Iterator[int]:
    """A ROS domain that no test run on this machine uses; a port that is held says so to the others."""
    for _ in range(100):
        number = next(_DOMAINS) % 100 + 1
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as held:
            try:
                held.bind(("127.0.0.1", _FIRST_PORT + number))
            except OSError:
                continue
            yield number
            return
    raise RuntimeError("all ROS domains are taken by other test runs")


@contextmanager
def own_network() -> Iterator[int]:
    """A ROS network that nothing else uses, on this machine only."""
    with _free_domain() as number, pytest.MonkeyPatch.context() as patch:
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
                _end(started)

    return network


@pytest.fixture
def start(domain: int, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts programs in that network and ends those that are left."""
    started: list[Process] = []

    def begin(*arguments: str) -> Process:
        started.append(Process(arguments, tmp_path / f"output{len(started)}.txt"))
        return started[-1]

    yield begin
    _end(started)


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
        path.write_text(yaml.safe_dump(values, sort_keys=False))
        return str(path)

    return write


@pytest.fixture(scope="session")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`compose("one", "two")`: the file of a composition of Go2's skills of these names, which hardly move."""
    # Here, because torch takes seconds to load, and each worker of pytest-xdist loads every file of tests.
    import torch

    from policies import composed_export
    from policies.candidates import CandidatePolicy
    from policies.composed_q import ComposedQ
    from policies.skills import Skill
    from robot_rl.algorithms.sac import SAC, SACSettings
    from robot_rl.tasks.walk import Walk

    folder, task = tmp_path_factory.mktemp("composed"), Walk(load_robot("go2"))

    def make(*names: str) -> Path:
        skills = []
        for seed, name in enumerate(names):
            learner = SAC(task.layout.size, 12, SACSettings(hidden_sizes=(8,)), seed)
            with torch.no_grad():
                learner.actor.head.weight *= 0.01
                learner.actor.head.bias *= 0.01
            skills.append(Skill.of_learner(learner, task, name))
        path = folder / f"{'-'.join(names)}.onnx"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(composed_export, "OBSERVATIONS", 200)  # to compare with torch on: enough for these tests
            composed_export.export_composed(CandidatePolicy(ComposedQ(skills)), path)
        return path

    return make


class Operator:
    """A person at the robot: calls services, publishes, and watches what the motors follow."""

    def __init__(self) -> None:
        """Joins the network that the environment names."""
        from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

        from hardware.robot_side import KEPT
        from hardware.session import RosSession

        self.session = RosSession("operator")
        self.node = self.session.node
        self.motors: dict[str, Any] = {}
        """Newest status by who sent it, `twin` or `guard`."""
        self.diagnostics: list[Any] = []
        for name in ("twin", "guard"):
            self.node.create_subscription(
                DiagnosticStatus, f"{name}/motors", lambda status, name=name: self.motors.update({name: status}), KEPT
            )
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self.diagnostics.append, 10)
        self._publishers: dict[str, Any] = {}
        self._clients: dict[str, Any] = {}
        self.session.start()

    def call(self, kind: type, service: str, request: Any, timeout: float = PATIENCE, tries: int = 1) -> Any:
        """The answer of a service; one that does not mind being called twice may be asked in several tries."""
        for _ in range(tries):
            answered = threading.Event()
            future = self.send(kind, service, request)
            future.add_done_callback(lambda _, answered=answered: answered.set())
            if answered.wait(timeout / tries):
                return future.result()
        raise AssertionError(f"{service} did not answer")

    def send(self, kind: type, service: str, request: Any, timeout: float = PATIENCE) -> Any:
        """The future answer of a service."""
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, service)
        client = self._clients[service]
        if not client.service_is_ready():
            assert client.wait_for_service(timeout), f"no service {service}"
            # The other side may not know yet where to send its answer.
            time.sleep(0.5)
        return client.call_async(request)

    def trigger(self, service: str) -> Any:
        """Calls a std_srvs/Trigger."""
        from std_srvs.srv import Trigger

        return self.call(Trigger, service, Trigger.Request(), tries=9)

    def set(self, node: str, **values: Any) -> Any:
        """Sets parameters, `__` for a dot; returns the result of the last one."""
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        given = [Parameter(name.replace("__", "."), value=value).to_parameter_msg() for name, value in values.items()]
        answer = self.call(SetParameters, f"{node}/set_parameters", SetParameters.Request(parameters=given))
        return answer.results[-1]

    def publish(self, topic: str, message: Any) -> None:
        """Publishes once somebody listens."""
        if topic not in self._publishers:
            publisher = self._publishers[topic] = self.node.create_publisher(type(message), topic, 10)
            until(lambda: publisher.get_subscription_count() > 0, f"nobody listens to {topic}")
            # The other side may not know yet from whom to take it.
            time.sleep(0.3)
        publisher = self._publishers[topic]
        until(lambda: publisher.get_subscription_count() > 0, f"nobody listens to {topic}")
        publisher.publish(message)

    def close(self) -> None:
        """Leaves."""
        self.session.close()


def until(condition: Callable[[], Any], otherwise: str, timeout: float = PATIENCE) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)


@pytest.fixture(name="until")
def _until() -> Callable[..., None]:
    """See `until`."""
    return until


@dataclass
class Network:
    """A twin and a person in a network of their own, for all tests of a file."""

    twin: Process
    robot: str
    """The twin's file, or name."""
    operator: Operator
    place: Path
    _started: list[Process] = field(default_factory=list)

    def start(self, *arguments: str) -> Process:
        """Starts another program there."""
        self._started.append(Process(arguments, self.place / f"program{len(self._started)}.txt"))
        return self._started[-1]

    def end_programs(self) -> None:
        """Ends what was started beside the twin, so that no test finds its robot commanded by one that failed."""
        _end(self._started)
        self._started.clear()

    def end(self) -> None:
        """Ends everything."""
        _end((*self._started, self.twin))


def _end(processes: Iterable[Process]) -> None:
    for process in processes:
        if process.process.poll() is None:
            process.process.kill()
            process.process.wait()


@contextmanager
def network(place: Path, robot: str, *arguments: str) -> Iterator[Network]:
    """Starts `robot-rl twin ROBOT arguments...` in a network of its own."""
    with own_network():
        twin = Process(["-m", "robot_rl.cli", "twin", robot, *arguments], place / "twin.txt")
        twin.wait_for("twin of")
        operator = Operator()
        found = Network(twin, robot, operator, place)
        try:
            yield found
        finally:
            operator.close()
            found.end()


@pytest.fixture(scope="session", name="network")
def _network() -> Callable[..., Any]:
    """See `network`."""
    return network


@pytest.fixture(scope="module")
def _lock_step_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with network(tmp_path_factory.mktemp("network"), "go2", "--lock-step") as found:
        yield found


@pytest.fixture
def lock_step_network(_lock_step_network: Network) -> Iterator[Network]:
    """Go2's twin, waiting for commands; one for all tests of a file."""
    yield _lock_step_network
    _lock_step_network.end_programs()


@pytest.fixture
def operator(domain: int) -> Iterator[Operator]:
    """A person in the network of the test."""
    person = Operator()
    yield person
    person.close()
