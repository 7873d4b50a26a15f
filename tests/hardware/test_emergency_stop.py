"""An emergency stop over real topics, however its publisher publishes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Joy
from std_msgs.msg import Bool

from hardware.emergency_stop import EmergencyStop
from hardware.session import RosSession
from robot_rl.errors import RobotFault
from robot_rl.safety import StopLatch

RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
VOLATILE, KEPT = DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL


class Listener:
    """An emergency stop with a latch, on a node of its own."""

    def __init__(self) -> None:
        self.latch, self.calls = StopLatch(), 0
        self.stop = EmergencyStop(self._stop, self.latch.clear, lambda: self.latch.reason)
        self.session = RosSession("listener")
        self.stop.listen(self.session.node, "listener", 1)
        self.session.start()

    def _stop(self, reason: str) -> None:
        self.calls += 1
        self.latch.set(reason)


@pytest.fixture
def person(domain: int) -> Iterator[RosSession]:
    session = RosSession("person")
    session.start()
    yield session
    session.close()


@pytest.fixture
def listener(domain: int) -> Iterator[Listener]:
    made = Listener()
    yield made
    made.session.close()


def heard(publisher: Any, message: Any, condition: Callable[[], Any]) -> bool:
    """Whether it is noticed when it is said again and again, as joysticks and buttons do."""
    deadline = time.monotonic() + 3.0
    while not condition() and time.monotonic() < deadline:
        publisher.publish(message)
        time.sleep(0.05)
    return bool(condition())


@pytest.mark.parametrize("durability", [VOLATILE, KEPT])
@pytest.mark.parametrize("reliability", [RELIABLE, BEST_EFFORT])
@pytest.mark.parametrize(
    ("topic", "down", "up"),
    [("estop", Bool(data=True), Bool(data=False)), ("joy", Joy(buttons=[0, 1]), Joy(buttons=[0, 0]))],
)
def test_any_publisher_is_heard(
    topic: str, down: Any, up: Any, reliability: Any, durability: Any, person: RosSession, listener: Listener, capfd
) -> None:
    quality = QoSProfile(depth=1, reliability=reliability, durability=durability)
    publisher = person.node.create_publisher(type(down), topic, quality)
    assert heard(publisher, down, lambda: listener.latch.reason)
    with pytest.raises(RobotFault, match="still stopped by"):
        listener.stop.reset()
    assert heard(publisher, up, lambda: not listener.stop.held)
    time.sleep(0.1)
    assert listener.stop.reset().startswith("emergency stop: ")
    assert not listener.latch.reason
    if reliability == RELIABLE:  # a false warning of an emergency stop would cost it its trust
        assert "incompatible" not in capfd.readouterr().err


def test_what_was_said_once_before_anybody_listened_is_heard(
    person: RosSession, domain: int, until: Callable[..., None]
) -> None:
    publisher = person.node.create_publisher(Bool, "estop", QoSProfile(depth=1, durability=KEPT))
    publisher.publish(Bool(data=True))
    time.sleep(0.2)
    listener = Listener()
    try:
        until(lambda: listener.latch.reason, "it is not heard", timeout=5.0)
    finally:
        listener.session.close()


def test_what_is_still_held_down_stops_again_whoever_ended_the_stop(person: RosSession, listener: Listener) -> None:
    publisher = person.node.create_publisher(Bool, "estop", 1)
    assert heard(publisher, Bool(data=True), lambda: listener.latch.reason)
    listener.latch.clear()
    assert heard(publisher, Bool(data=True), lambda: listener.latch.reason)
    calls = listener.calls
    for _ in range(10):
        publisher.publish(Bool(data=True))
        time.sleep(0.02)
    assert listener.calls == calls  # once for each stop, not for each message


def test_a_stop_that_comes_while_one_is_ended_counts() -> None:
    latch = StopLatch()
    latch.set("before")

    def reset() -> str:
        stop._set("topic estop", True)  # as the node's thread would, before the latch is open
        return latch.clear()

    stop = EmergencyStop(latch.set, reset, lambda: latch.reason)
    with pytest.raises(RobotFault, match="still stopped by: topic estop"):
        stop.reset()
    assert latch.reason == "emergency stop: topic estop"


def test_another_button_is_not_waited_for_after_a_new_configuration(person: RosSession, listener: Listener) -> None:
    publisher = person.node.create_publisher(Joy, "joy", 1)
    assert heard(publisher, Joy(buttons=[0, 1, 0]), lambda: listener.latch.reason)
    person.node.destroy_publisher(publisher)
    listener.stop.listen(person.node, "again", 2)
    assert listener.stop.reset() == "emergency stop: joystick button 1"
