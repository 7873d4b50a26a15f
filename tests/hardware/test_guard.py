"""The guard before motors that have no watchdog: they follow the last command for ever."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from hardware import messages
from hardware.session import RosSession
from robot_rl.make import make_guard
from robot_rl.spec import RobotSpec
from robot_rl.spec_file import load_robot

SLOW = {"command_timeout": 20.0, "state_timeout": 20.0}
"""So that no silence stops the robot before it is asked for."""


class Motors:
    """The robot's side of the guard, and the policy on the other one."""

    def __init__(self, spec: RobotSpec) -> None:
        """Args: spec: the robot."""
        self.spec, self.commands = spec, []
        self.position = np.array(spec.home) + 0.1
        self.session = RosSession("motors")
        node = self.session.node
        self._states = node.create_publisher(JointState, "joint_states", 1)
        self._asked = node.create_publisher(Float64MultiArray, "guard/commands", 1)
        node.create_subscription(
            Float64MultiArray, "commands", lambda message: self.commands.append(np.array(message.data)), 100
        )
        node.create_timer(0.02, self._tell)
        self.session.start()

    def _tell(self) -> None:
        still = np.zeros(self.spec.joints)
        stamp = time.monotonic()
        self._states.publish(messages.write_joints(stamp, self.spec.joint_names, self.position, still + 3.0, still))

    def send(self, value: float) -> None:
        """Asks the guard for a command once."""
        self._asked.publish(messages.write_command(np.full(self.spec.joints, value), 0.0))

    def ask(self, value: float, until: Callable[..., None]) -> None:
        """Asks the guard for a command until it is passed on."""

        def passed() -> bool:
            self.send(value)
            time.sleep(0.02)
            return bool(self.commands)

        until(passed, "the guard passes nothing on")


@pytest.fixture
def motors_of(domain: int) -> Iterator[Callable[[str], Motors]]:
    made: list[Motors] = []

    def make(path: str) -> Motors:
        made.append(Motors(load_robot(path)))
        return made[-1]

    yield make
    for motors in made:
        motors.session.close()


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("position", signal.SIGINT),
        ("effort", signal.SIGTERM),
        pytest.param("velocity", signal.SIGINT, marks=pytest.mark.long),
    ],
)
def test_guard_that_is_ended_leaves_nothing_in_force_that_moves_the_robot(
    kind: str,
    number: int,
    start: Callable[..., Any],
    robot_file: Callable[..., str],
    motors_of: Callable[[str], Motors],
    until: Callable[..., None],
) -> None:
    path = robot_file("dclaw", ros={"command": kind, **SLOW})
    motors = motors_of(path)
    guard = start("-m", "robot_rl.cli", "guard", path)
    guard.wait_for("guard of dclaw")
    motors.ask(0.5, until)
    assert motors.commands[-1] != pytest.approx(0.0)
    assert guard.end(number) == 0, guard.output
    time.sleep(0.2)
    still = motors.position if kind == "position" else np.zeros(motors.spec.joints)
    assert motors.commands[-1] == pytest.approx(still)


def test_a_second_commander_behind_the_guard_stops_the_robot(
    start: Callable[..., Any],
    robot_file: Callable[..., str],
    motors_of: Callable[[str], Motors],
    operator: Any,
    until: Callable[..., None],
) -> None:
    path = robot_file("dclaw", ros={"command": "effort", **SLOW})
    motors = motors_of(path)
    guard = start("-m", "robot_rl.cli", "guard", path)
    guard.wait_for("guard of dclaw")
    motors.ask(0.5, until)

    def told() -> str:
        return operator.motors["guard"].message if "guard" in operator.motors else ""

    assert told() == ""
    second = operator.node.create_publisher(Float64MultiArray, "commands", 1)
    reason = "somebody else commands the robot too: node 'operator'"
    until(lambda: told() == reason, "the guard goes on", timeout=20.0)
    operator.trigger("guard/clear")
    until(lambda: told() == reason, "it is commanded by two again", timeout=20.0)
    operator.node.destroy_publisher(second)
    time.sleep(2.5)
    assert operator.trigger("guard/clear").success
    motors.commands.clear()
    motors.ask(0.5, until)
    time.sleep(2.5)
    assert told() == ""


@pytest.mark.parametrize("asks", ["from the start", pytest.param("later", marks=pytest.mark.long)])
def test_guard_passes_nothing_on_where_somebody_commands_already(
    asks: str,
    start: Callable[..., Any],
    robot_file: Callable[..., str],
    motors_of: Callable[[str], Motors],
    operator: Any,
    until: Callable[..., None],
) -> None:
    path = robot_file("dclaw", ros={"command": "effort", **SLOW})
    operator.node.create_publisher(Float64MultiArray, "commands", 1)
    motors = motors_of(path)
    if asks == "from the start":
        motors.session.node.create_timer(0.02, lambda: motors.send(0.5))
    guard = start("-m", "robot_rl.cli", "guard", path)
    guard.wait_for("guard of dclaw")
    if asks == "later":
        time.sleep(2.5)
        assert motors.commands == []  # a guard that commands nothing disturbs nobody
    motors.ask(0.5, until)
    assert not any((command == 0.5).all() for command in motors.commands)
    until(lambda: "guard" in operator.motors, "it does not tell")
    until(lambda: "somebody else" in operator.motors["guard"].message, "it does not stop")


@contextmanager
def guarding(path: str) -> Iterator[Any]:
    """A guard in this process, and what it raised in the end."""
    guard, raised = make_guard(load_robot(path)), []

    def run() -> None:
        try:
            guard.run()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield guard, thread, raised
    finally:
        guard.end()
        thread.join()


def test_guard_that_fails_stops_the_robot_first(
    robot_file: Callable[..., str], motors_of: Callable[[str], Motors], until: Callable[..., None]
) -> None:
    path = robot_file("dclaw", ros={"command": "effort", **SLOW})
    motors = motors_of(path)
    with guarding(path) as (guard, thread, raised):
        motors.ask(0.5, until)

        def fail() -> None:
            raise ValueError("a bug")

        guard.session.node.create_timer(0.01, fail)
        thread.join(20.0)
        assert [str(error) for error in raised] == ["a bug"]
        time.sleep(0.2)
        assert motors.commands[-1] == pytest.approx(np.zeros(motors.spec.joints))


def test_guard_that_has_passed_nothing_on_commands_nothing_when_it_ends(
    robot_file: Callable[..., str], motors_of: Callable[[str], Motors], until: Callable[..., None]
) -> None:
    path = robot_file("dclaw", ros=SLOW)
    motors = motors_of(path)
    with guarding(path) as (guard, _, _):
        until(lambda: guard._joints is not None and guard._publisher.get_subscription_count(), "nothing is heard")
    time.sleep(0.2)
    assert motors.commands == []
