"""What the policy's side knows of the robot's own side: whether it is stopped, and how to stop and release it.

The twin and the guard tell on `twin/motors` and `guard/motors` (diagnostic_msgs/DiagnosticStatus, kept for those who
come late) what the motors follow: OK, WARN after a silence, ERROR while a stop is latched. Both take `stop` and `clear`
(std_srvs/Trigger).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_srvs.srv import Trigger

TOPIC = "motors"
NODES = ("twin", "guard")
"""Who may stand on the robot's side, each with services of its own name."""
_CLEARING = 1.0
"""s in which a stop that is being cleared may still be reported."""
KEPT = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def motors_status(mode: str, reason: str, latched: bool) -> DiagnosticStatus:
    """What the robot's side tells.

    Args:
        mode: what the motors follow: position, velocity, effort, damp, limp or hold.
        reason: why they do not follow commands; empty if they do.
        latched: whether only `clear` ends that.
    """
    level = DiagnosticStatus.ERROR if latched else DiagnosticStatus.WARN if reason else DiagnosticStatus.OK
    return DiagnosticStatus(level=level, name=TOPIC, message=reason, hardware_id=mode)


class RobotSide:
    """Services and status of the robot's own side, where it has any.

    Attributes:
        on_latched: called with the reason when it stops, in the thread that receives.
    """

    def __init__(self, node: Node) -> None:
        """Args: node: to call and listen with."""
        self.on_latched: Callable[[str], None] = lambda _: None
        self._changed = threading.Condition()
        self._status: dict[str, str] = {}
        self._clearing_until = 0.0
        self._stops = [node.create_client(Trigger, f"{name}/stop") for name in NODES]
        self._clears = [node.create_client(Trigger, f"{name}/clear") for name in NODES]
        for name in NODES:
            node.create_subscription(DiagnosticStatus, f"{name}/{TOPIC}", partial(self._take, name), KEPT)

    @property
    def latched(self) -> str:
        """Why it says that it is stopped; empty if it is not, or says nothing."""
        return "; ".join(reason for reason in self._status.values() if reason)

    @property
    def present(self) -> bool:
        """Whether something on the robot's side can be told to stop."""
        pairs = zip(self._stops, self._clears, strict=True)
        return any(stop.service_is_ready() and clear.service_is_ready() for stop, clear in pairs)

    def stop(self) -> None:
        """Asks all to stop, without waiting."""
        for client in self._stops:
            if client.service_is_ready():
                client.call_async(Trigger.Request())

    def clear(self) -> None:
        """Asks all to end their stops, without waiting."""
        self._clearing_until = time.monotonic() + _CLEARING
        for client in self._clears:
            if client.service_is_ready():
                client.call_async(Trigger.Request())

    def wait_present(self, timeout: float) -> bool:
        """Whether something on the robot's side can be told to stop, after looking for it for so many s."""
        deadline = time.monotonic() + timeout
        while not self.present and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.present

    def wait(self, latched: bool, timeout: float) -> bool:
        """Waits until it says that it is stopped, or that it is not; returns whether it does."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self.latched) == latched, timeout)

    def _take(self, name: str, status: Any) -> None:
        reason = (status.message or "stopped") if status.level == DiagnosticStatus.ERROR else ""
        with self._changed:
            before = self.latched
            self._status[name] = reason
            self._changed.notify_all()
        if reason and not before and time.monotonic() > self._clearing_until:
            self.on_latched(reason)
